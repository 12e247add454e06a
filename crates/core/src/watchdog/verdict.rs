//! The cause of a block, judged from all looks at it.
//!
//! **What a look is worth.** Between two looks lies a stretch of time. The kernel's counts say how much of it the step
//! had a processor, and how much it could have run and had none; in the rest it waited. What it computed is put down to
//! those of the two looks that found it running, what it waited to those that found it waiting; where both did, each
//! gets half. So a block of 150 ms in one place and 800 ms in another has both, each with about that, and a line that
//! comes after a long one is never taken for it.
//!
//! **What counts.** A step answers for the time in which it had a processor or waited in a system call or at a lock: that is
//! [`Looks::charged`], and by it reports are due. It does not answer for the time in which it had no processor, its control
//! group was throttled, or the process was stopped: [`Looks::lost`].
//!
//! **Where the kernel does not count**, the look alone decides: who runs has had a processor, less what the watchdog has
//! overslept.
//!
//! **Which cause.** In this order:
//! 1. *Starved*, if more than half of the time is lost, and what is left would not be reported by itself. Half: a step
//!    that computes beside one other busy thread loses about that, and would still be told of in the end.
//! 2. *A collection*, or *another thread that has the global lock*, if that is more than half of what counts: then it
//!    does not matter how many steps there were.
//! 3. *Many steps*, if the looks found several.
//! 4. What took most of the time that counts. Things of one kind are added up, as a connection is read in many calls.
//!    If two took the same, the one that says more: as the list in [`Looks::judge`] goes.

use crate::sys::{Kind, State, SystemCall, Thing};
use crate::watchdog::cause::Cause;
use crate::watchdog::evidence::{Evidence, Holder, Stretch, scale};
use crate::watchdog::suspect::Doing;
use crate::watchdog::tally::Tally;

/// So many different places, things and threads are told apart in a block.
const PLACES: usize = 32;
const THINGS: usize = 8;
const THREADS: usize = 8;

/// A judgement of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<Position> {
    pub cause: Cause,
    /// The time since which the last look's cause goes on at the same position.
    pub since: u64,
    /// Nanoseconds that the block has lasted. They are the sum of `shares`, `elsewhere` and `lost`.
    pub lasted: u64,
    /// Where the time went that the step answers for, most first.
    pub shares: Vec<(Position, u64)>,
    /// Such time at positions that were too many to tell apart.
    pub elsewhere: u64,
    /// The time for which nobody answers.
    pub lost: u64,
    /// CPU time of the step since the first look, and the time it waited for a processor; None: the kernel does not
    /// tell.
    pub cpu: Option<u64>,
    pub delay: Option<u64>,
    /// The threads that had the global lock while the step waited for it, and how long, most first. None: unknown.
    pub holders: Vec<(Option<u32>, u64)>,
}

/// The doings of a step at one look, as they are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// For the thing at this place of the table.
    Waits(usize),
    WaitsForLock(Option<u32>),
    Collects,
    Imports,
    Program,
    Native,
    /// And waits for the thing at this place of the table, if it does not run.
    HoldsLock(Option<usize>),
    Unknown,
}

impl Class {
    fn can_wait(self) -> bool {
        !matches!(self, Self::Program | Self::Native | Self::HoldsLock(None))
    }

    fn can_run(self) -> bool {
        !matches!(self, Self::Waits(_) | Self::WaitsForLock(_) | Self::HoldsLock(Some(_)))
    }
}

/// A thing that the step waited for, how long, and how long with the global lock in its hands.
#[derive(Clone, Debug)]
struct Waiting {
    thing: Thing,
    free: u64,
    held: u64,
}

/// All looks at one block.
#[derive(Clone, Debug)]
pub struct Looks<Position> {
    since: u64,
    /// The time until which all is put down.
    until: u64,
    first: Option<Evidence<Position>>,
    last: Option<(Evidence<Position>, Class)>,
    /// The time since which looks have found that class at that position.
    unchanged: u64,
    places: Tally<Position, PLACES>,
    things: Vec<Waiting>,
    holders: Tally<Option<u32>, THREADS>,
    collects: u64,
    imports: u64,
    program: u64,
    native: u64,
    holds_lock: u64,
    unknown: u64,
    total: Stretch,
    /// The last of the stretches.
    stretch: Stretch,
    steps: u64,
}

impl<Position: Copy + Eq> Looks<Position> {
    /// The block began at `since`.
    pub fn new(since: u64) -> Self {
        Self {
            since,
            until: since,
            first: None,
            last: None,
            unchanged: since,
            places: Tally::default(),
            things: Vec::new(),
            holders: Tally::default(),
            collects: 0,
            imports: 0,
            program: 0,
            native: 0,
            holds_lock: 0,
            unknown: 0,
            total: Stretch::default(),
            stretch: Stretch::default(),
            steps: 0,
        }
    }

    /// The time at which the block began.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// True if there was no look yet.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The time that the step answers for, up to the last look. It is due for a report when this is long enough.
    pub fn charged(&self) -> u64 {
        self.total.ran + self.total.waited
    }

    /// The time for which nobody answers, up to the last look.
    pub fn lost(&self) -> u64 {
        self.total.lost
    }

    /// Adds a look. `describe` says what a thread waits for that is in a system call; it is asked only if the call is
    /// another one than at the look before.
    pub fn add(&mut self, seen: Evidence<Position>, describe: impl FnOnce(SystemCall) -> Thing) {
        let class = self.classify(&seen, describe);
        self.steps += seen.steps;
        let is_first = self.first.is_none();
        self.first.get_or_insert(seen);
        // Nothing is known of the time before the first look to a step that runs: what the next ones show holds for
        // it, too.
        if !is_first || seen.doing == Doing::Waits || seen.doing == Doing::WaitsForGlobalLock {
            let stretch = Stretch::new(&seen, self.last.as_ref().map(|(before, _)| before), self.until);
            self.put_down(stretch, &seen, class);
            self.until = seen.now.max(self.until);
        }
        if self.last.is_none_or(|(before, was)| before.position != seen.position || was != class) && !is_first {
            self.unchanged = self.last.map_or(self.since, |(before, _)| before.now.midpoint(seen.now));
        }
        self.last = Some((seen, class));
    }

    /// The class of a look.
    fn classify(&mut self, seen: &Evidence<Position>, describe: impl FnOnce(SystemCall) -> Thing) -> Class {
        let before = self.last.filter(|(before, _)| before.position == seen.position);
        match seen.doing {
            Doing::Waits => match self.thing(seen, describe) {
                // What an import waits for beside files is a matter of the code that it runs.
                at if seen.importing && self.things[at].thing.kind == Kind::File => Class::Imports,
                at if seen.holder == Holder::Step => Class::HoldsLock(Some(at)),
                at => Class::Waits(at),
            },
            Doing::WaitsForGlobalLock if seen.collecting => Class::Collects,
            Doing::WaitsForGlobalLock => match seen.holder {
                Holder::Other(thread) => Class::WaitsForLock(Some(thread)),
                _ => Class::WaitsForLock(None),
            },
            Doing::Runs if seen.collecting && !matches!(seen.holder, Holder::Other(_)) => Class::Collects,
            Doing::Runs if seen.importing => Class::Imports,
            Doing::Runs => match seen.holder {
                Holder::Step if seen.moves == Some(true) => Class::Program,
                Holder::Step if seen.moves == Some(false) || before.is_some() => Class::HoldsLock(None),
                Holder::Step => Class::Program,
                Holder::Other(_) | Holder::Nobody => Class::Native,
                Holder::Unknown if seen.moves == Some(true) => Class::Program,
                Holder::Unknown => Class::Unknown,
            },
            // A piece of a file that is mapped into memory.
            Doing::Unknown if seen.state == State::SleepsDeep => {
                Class::Waits(self.thing_at(Thing::new(Kind::File, None)))
            }
            // A call that goes on after the process was stopped has lost its name.
            Doing::Unknown => match (before, seen.holder) {
                (Some((_, class)), _) => class,
                (None, Holder::Other(thread)) => Class::WaitsForLock(Some(thread)),
                (None, _) => Class::Unknown,
            },
        }
    }

    /// The place in the table of what the step waits for.
    fn thing(&mut self, seen: &Evidence<Position>, describe: impl FnOnce(SystemCall) -> Thing) -> usize {
        if let Some((before, Class::Waits(at) | Class::HoldsLock(Some(at)))) = self.last
            && before.call == seen.call
            && before.resolving == seen.resolving
        {
            return at;
        }
        let mut thing = seen.call.map_or(Thing::new(Kind::Lock, None), describe);
        if seen.resolving && thing.kind != Kind::Lock {
            thing.kind = Kind::Dns;
        }
        self.thing_at(thing)
    }

    fn thing_at(&mut self, thing: Thing) -> usize {
        if let Some(at) = self.things.iter().position(|known| known.thing == thing) {
            return at;
        }
        if self.things.len() < THINGS {
            self.things.push(Waiting { thing, free: 0, held: 0 });
            return self.things.len() - 1;
        }
        // One of the same kind stands for it. Without one, the last place does.
        let same = self.things.iter().position(|known| known.thing.kind == thing.kind);
        let at = same.unwrap_or(THINGS - 1);
        self.things[at].thing = Thing::new(thing.kind, None);
        at
    }

    /// Puts down what a stretch has shown.
    fn put_down(&mut self, stretch: Stretch, seen: &Evidence<Position>, class: Class) {
        let now = (seen.position, class);
        let before = self.last.map(|(before, class)| (before.position, class));
        let mut divide = |time: u64, suits: fn(Class) -> bool, otherwise: Class| match (
            before.filter(|(_, class)| suits(*class)),
            Some(now).filter(|_| suits(class)),
        ) {
            (Some(before), Some(now)) => {
                self.count(before, time / 2);
                self.count(now, time - time / 2);
            }
            (Some(only), None) | (None, Some(only)) => self.count(only, time),
            (None, None) => self.count((seen.position, otherwise), time),
        };
        // Who computes between two looks that found it waiting runs the program's own code: it waits for its turn.
        divide(stretch.ran, Class::can_run, Class::Program);
        divide(stretch.waited, Class::can_wait, Class::Unknown);
        self.total.add(stretch);
        self.stretch = stretch;
    }

    fn count(&mut self, (position, class): (Position, Class), time: u64) {
        if time == 0 {
            return;
        }
        self.places.add(position, time);
        match class {
            Class::Waits(at) => self.things[at].free += time,
            Class::WaitsForLock(thread) => self.holders.add(thread, time),
            Class::Collects => self.collects += time,
            Class::Imports => self.imports += time,
            Class::Program => self.program += time,
            Class::Native => self.native += time,
            Class::HoldsLock(None) => self.holds_lock += time,
            Class::HoldsLock(Some(at)) => self.things[at].held += time,
            Class::Unknown => self.unknown += time,
        }
    }

    /// Judges the block, which goes on, or ended at `now` at the latest. Steps are reported after `report_after`.
    /// What came after the last look is taken to be like what came before it.
    pub fn judge(&self, now: u64, report_after: u64) -> Verdict<Position> {
        let mut looks = self.clone();
        if let Some((last, class)) = looks.last {
            let tail = now.saturating_sub(looks.until);
            let lost = scale(looks.stretch.lost, tail, looks.stretch.time().max(1));
            looks.count((last.position, class), tail - lost);
            looks.total.ran += tail - lost;
            looks.total.lost += lost;
            looks.until = looks.until.max(now);
        }
        looks.sum_up(report_after)
    }

    fn sum_up(self, report_after: u64) -> Verdict<Position> {
        let lasted = self.until - self.since;
        let counts = self.charged();
        let growth = |of: fn(&Evidence<Position>) -> Option<u64>| {
            let (last, _) = self.last?;
            Some(of(&last)?.saturating_sub(of(&self.first?)?))
        };
        let (cpu, delay) = (growth(|of| of.cpu), growth(|of| of.delay));
        let holders = self.holders.sorted();
        let waits_for_lock = self.holders.total();

        let cause = if self.total.lost > lasted / 2 && counts < report_after {
            Cause::Starved(self.total.shortage())
        } else if self.steps > 0 && self.collects.max(waits_for_lock) <= counts / 2 {
            Cause::ManySteps(self.steps)
        } else {
            self.heaviest()
        };
        Verdict {
            cause,
            since: self.unchanged,
            lasted,
            shares: self.places.sorted(),
            elsewhere: self.places.others(),
            lost: self.total.lost,
            cpu,
            delay,
            holders,
        }
    }

    /// What took most of the time; of two that took the same, the one that says more.
    fn heaviest(&self) -> Cause {
        let held: u64 = self.things.iter().map(|known| known.held).sum();
        let (waits_for, waits) = self.most_awaited(|known| known.free);
        let (held_for, _) = self.most_awaited(|known| known.held);
        let candidates = [
            (self.collects, Cause::Collects),
            (self.imports, Cause::Imports),
            (waits, waits_for.map_or(Cause::Unknown, Cause::WaitsFor)),
            (self.holds_lock + held, Cause::HoldsGlobalLock(held_for.filter(|_| held > self.holds_lock))),
            (self.native, Cause::ComputesNative),
            (self.program, Cause::Computes),
            (self.holders.total(), Cause::GlobalLockHeldBy(self.main_holder())),
            (self.unknown, Cause::Unknown),
        ];
        let most = candidates.iter().map(|(time, _)| *time).max().unwrap_or(0);
        candidates.into_iter().find(|(time, _)| *time == most && most > 0).map_or(Cause::Unknown, |(_, cause)| cause)
    }

    /// What the step waited for longest, of the kind that it waited for longest, and how long it waited for that kind.
    fn most_awaited(&self, time: impl Fn(&Waiting) -> u64) -> (Option<Thing>, u64) {
        let of_kind = |kind| self.things.iter().filter(|known| known.thing.kind == kind).map(&time).sum::<u64>();
        let most = self.things.iter().rev().max_by_key(|known| (of_kind(known.thing.kind), time(known)));
        most.map_or((None, 0), |known| (Some(known.thing.clone()), of_kind(known.thing.kind)))
    }

    /// The thread that had the global lock for more than half of the time in which the step waited for it.
    fn main_holder(&self) -> Option<u32> {
        let (thread, time) = self.holders.sorted().first().copied()?;
        thread.filter(|_| time > self.holders.total() / 2)
    }
}
