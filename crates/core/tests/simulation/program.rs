//! Random programs, each of which ends if there is always a thread for a step that can run.
//!
//! Nobody waits in a circle: a task takes locks in their order, and gives back all that it takes. While it has one it
//! waits for tasks only that take none and wait for none (the *leaves*); without one, for tasks that came before it.

/// Random numbers (splitmix64): the same seed gives the same program, and the same run of it.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `low..high`.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.within(0, 100) < chance
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.within(0, from.len() as u64) as usize]
    }
}

pub const MICROSECOND: u64 = 1_000;
pub const MILLISECOND: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;

/// What a task does next. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `await asyncio.sleep(time)`: the step ends.
    Sleep(u64),
    /// `await asyncio.to_thread(...)`, which takes so long.
    CallElsewhere(u64),
    /// `await` of another task.
    Await(usize),
    /// `block_on()` of another task.
    BlockOn(usize),
    /// `time.sleep(time)`
    Nap(u64),
    /// A threading.Lock, a semaphore or a pool of connections is taken: a place of that number.
    Acquire(usize),
    /// And given back.
    GiveBack(usize),
}

impl Op {
    /// True if the thread may block in it.
    pub fn blocks(self) -> bool {
        matches!(self, Self::Nap(_) | Self::Acquire(_))
    }

    /// True if it may stand inside `with blocking():`.
    fn is_call(self) -> bool {
        self.blocks() || matches!(self, Self::GiveBack(_))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub op: Op,
    /// It stands in `with blocking():`.
    pub blocking: bool,
    /// The block goes on with the next line.
    pub goes_on: bool,
    /// Where it stands in the source: what is learned there holds for all tasks.
    pub site: usize,
}

#[derive(Debug)]
pub struct Program {
    pub tasks: Vec<Vec<Line>>,
    /// For each lock, semaphore and pool: how many may have it.
    pub places: Vec<u32>,
    pub max_relief: u32,
    /// None: no rescue, and each call that blocks says so.
    pub rescue_after: Option<u64>,
    /// The sites that are learned already.
    pub learned: Vec<bool>,
    /// Steps that compute are divided.
    pub divides: bool,
    /// The system refuses threads from the one time to the other.
    pub refused: (u64, u64),
    /// The longest time that a thread takes to get up.
    pub latency: u64,
}

impl Program {
    pub fn new(random: &mut Random) -> Self {
        // Small ones are the most telling; a few are large.
        let count = match random.within(0, 100) {
            0..60 => random.within(1, 20),
            60..95 => random.within(20, 200),
            _ => random.within(200, 2500),
        };
        let places: Vec<u32> = (0..random.within(1, 6)).map(|_| random.pick(&[1, 1, 1, 2, 3, 10])).collect();
        let sites = 2 * (places.len() + 1);
        let rescue_after =
            random.percent(80).then(|| random.pick(&[MILLISECOND / 2, MILLISECOND, 5 * MILLISECOND, 50 * MILLISECOND]));
        let learned = random.pick(&[0, 30, 100]);
        let begin = random.pick(&[0, 0, MILLISECOND, 50 * MILLISECOND]);
        let refuses = random.percent(50);
        let lasts = if refuses { random.pick(&[5 * MILLISECOND, 100 * MILLISECOND, 3 * SECOND]) } else { 0 };
        let writer = Writer {
            leaves: random.within(0, count.div_ceil(3) + 1) as usize,
            blocking: if rescue_after.is_none() { 100 } else { random.pick(&[0, 20, 50]) },
            places: places.len(),
            long: random.pick(&[100 * MICROSECOND, 2 * MILLISECOND, 30 * MILLISECOND]),
        };
        Self {
            tasks: (0..count as usize).map(|task| writer.task(random, task)).collect(),
            max_relief: match random.within(0, 3) {
                0 => random.within(0, 4) as u32,
                1 => random.within(0, 129) as u32,
                _ => random.pick(&[0, 1, 8, 32, 128]),
            },
            rescue_after,
            learned: (0..sites).map(|_| random.percent(learned)).collect(),
            refused: (begin, begin + lasts),
            latency: random.pick(&[20 * MICROSECOND, 200 * MICROSECOND, 5 * MILLISECOND]),
            divides: random.percent(50),
            places,
        }
    }

    /// All that its lines take, if one comes after the other.
    pub fn sleeps(&self) -> u64 {
        let time = |line: &Line| match line.op {
            Op::Sleep(time) | Op::CallElsewhere(time) | Op::Nap(time) => time,
            _ => 0,
        };
        self.tasks.iter().flatten().map(time).sum()
    }
}

/// Writes the tasks of one program.
struct Writer {
    /// So many tasks, the first ones, are leaves.
    leaves: usize,
    /// The share of calls that stand in `with blocking():`, in percent.
    blocking: u64,
    places: usize,
    /// The longest sleep.
    long: u64,
}

impl Writer {
    fn task(&self, random: &mut Random, task: usize) -> Vec<Line> {
        let mut ops = Vec::new();
        for _ in 0..random.within(1, 5) {
            if task < self.leaves {
                ops.push(self.pause(random));
            } else if random.percent(25) && task > 0 {
                let other = random.within(0, task as u64) as usize;
                ops.push(if random.percent(50) { Op::Await(other) } else { Op::BlockOn(other) });
            } else {
                self.section(random, 0, &mut ops);
            }
        }
        let mut lines: Vec<_> = ops.iter().map(|op| self.line(random, *op)).collect();
        for at in 1..lines.len() {
            let [before, line] = [lines[at - 1], lines[at]];
            if before.blocking && line.op.is_call() && random.percent(30) {
                lines[at - 1].goes_on = true;
                lines[at].blocking = true;
            }
        }
        lines
    }

    /// Something that takes time, and needs nobody.
    fn pause(&self, random: &mut Random) -> Op {
        let time = random.within(0, self.long);
        match random.within(0, 4) {
            0 => Op::Sleep(0),
            1 => Op::Sleep(time),
            2 => Op::CallElsewhere(time),
            _ => Op::Nap(time),
        }
    }

    /// What is done while a place at `lowest` or above is taken; or a pause.
    fn section(&self, random: &mut Random, lowest: usize, ops: &mut Vec<Op>) {
        if lowest == self.places || random.percent(15) {
            return ops.push(self.pause(random));
        }
        let place = random.within(lowest as u64, self.places as u64) as usize;
        ops.push(Op::Acquire(place));
        for _ in 0..random.within(0, 3) {
            match random.within(0, 10) {
                0..2 => self.section(random, place + 1, ops),
                2 if self.leaves > 0 => ops.push(Op::Await(random.within(0, self.leaves as u64) as usize)),
                3 if self.leaves > 0 => ops.push(Op::BlockOn(random.within(0, self.leaves as u64) as usize)),
                _ => ops.push(self.pause(random)),
            }
        }
        ops.push(Op::GiveBack(place));
    }

    fn line(&self, random: &mut Random, op: Op) -> Line {
        let blocking = op.blocks() && random.percent(self.blocking);
        // Each call stands at two places of the source.
        let kind = if let Op::Acquire(place) = op { place + 1 } else { 0 };
        Line { op, blocking, goes_on: false, site: 2 * kind + random.within(0, 2) as usize }
    }
}
