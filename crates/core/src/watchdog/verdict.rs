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
use crate::watchdog::cause::{Cause, Shortage};
use crate::watchdog::pulse::period;
use crate::watchdog::suspect::Doing;
use crate::watchdog::tally::Tally;

/// The watchdog oversleeps by less than this, in nanoseconds, on any host.
const NOISE: u64 = 5_000_000;
/// The shortest and the longest time between two looks at a step that lasts, in nanoseconds.
const SHORTEST_STEP: u64 = 5_000_000;
const LONGEST_STEP: u64 = 10_000_000_000;
/// After the first looks the next one comes when the block has lasted by so much longer: a tenth.
const GROWTH: u64 = 10;
const SECOND: u64 = 1_000_000_000;
/// So many different places, things and threads are told apart in a block.
const PLACES: usize = 32;
const THINGS: usize = 8;
const THREADS: usize = 8;

/// How long a block will have lasted at the next look at it, if it has lasted for so long now: often enough at first
/// that at least four looks come before it is reported, then at each tenth more. In nanoseconds.
pub fn next_look(lasted: u64, report_after: u64) -> u64 {
    let step = SHORTEST_STEP.max(period(report_after, None)).max(lasted / GROWTH);
    lasted.saturating_add(step.min(LONGEST_STEP))
}

/// How long a block will have lasted when it is told of next, if it has lasted for so long now. A second, since whoever
/// reads the report at 0.1 s wants to know whether it was a hiccup; ten seconds, since then somebody waits; each
/// minute, since a log must show a program that hangs, and when it hung, without growing by much.
pub fn next_telling(lasted: u64) -> u64 {
    let minute = 60 * SECOND;
    let next = [SECOND, 10 * SECOND].into_iter().find(|at| *at > lasted);
    next.unwrap_or_else(|| (lasted / minute + 1).saturating_mul(minute))
}

/// The holder of the global lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// The thread of the step.
    Step,
    /// Another thread, by its number.
    Other(u32),
    Nobody,
    /// It cannot be told. So it is if the watchdog has it.
    #[default]
    Unknown,
}

/// What one look has found.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<Position> {
    pub now: u64,
    /// Where the step stands.
    pub position: Position,
    /// True: the program's own code was seen to go on since the look before, as the position changed while it was read,
    /// or as the global lock was asked for, and came. False: it was read several times, and did not change.
    pub moves: Option<bool>,
    pub doing: Doing,
    /// The system call that the step waits in.
    pub call: Option<SystemCall>,
    pub state: State,
    /// CPU time of the thread so far, and the time it has waited for a processor; in nanoseconds.
    pub cpu: Option<u64>,
    pub delay: Option<u64>,
    pub holder: Holder,
    /// Garbage is being collected.
    pub collecting: bool,
    /// The innermost code that matters is the one that imports.
    pub importing: bool,
    /// The innermost code is one that asks for the address that belongs to a name.
    pub resolving: bool,
    /// The steps that have begun since the look before: 0 as long as it is one step that lasts.
    pub steps: u64,
    /// Nanoseconds that the watchdog has overslept since the look before, in all its sleeps.
    pub overslept: u64,
    /// The time so far that the watchdog has waited for a processor.
    pub watchdog_delay: Option<u64>,
    /// The time so far that the control group was throttled.
    pub throttled: Option<u64>,
}

impl<Position> Evidence<Position> {
    /// A look that has found nothing but this.
    pub fn new(now: u64, position: Position, doing: Doing) -> Self {
        Self {
            now,
            position,
            moves: None,
            doing,
            call: None,
            state: State::Unknown,
            cpu: None,
            delay: None,
            holder: Holder::Unknown,
            collecting: false,
            importing: false,
            resolving: false,
            steps: 0,
            overslept: 0,
            watchdog_delay: None,
            throttled: None,
        }
    }
}

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
    HoldsLock,
    Unknown,
}

impl Class {
    fn can_wait(self) -> bool {
        !matches!(self, Self::Program | Self::Native | Self::HoldsLock)
    }

    fn can_run(self) -> bool {
        !matches!(self, Self::Waits(_) | Self::WaitsForLock(_))
    }
}

/// A stretch of time between two looks, in parts.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    ran: u64,
    waited: u64,
    lost: u64,
    /// The part of `lost` in which the process was stopped.
    stopped: u64,
    /// The time in it that the control group was throttled.
    throttled: u64,
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
    things: Vec<(Thing, u64)>,
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
            let stretch = self.stretch(&seen);
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
                at if seen.importing && self.things[at].0.kind == Kind::File => Class::Imports,
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
                Holder::Step if seen.moves == Some(false) || before.is_some() => Class::HoldsLock,
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
        if let Some((before, Class::Waits(at))) = self.last
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
        if let Some(at) = self.things.iter().position(|(known, _)| *known == thing) {
            return at;
        }
        if self.things.len() < THINGS {
            self.things.push((thing, 0));
            return self.things.len() - 1;
        }
        // One of the same kind stands for it. Without one, the last place does: it loses its name.
        let same = self.things.iter().position(|(known, _)| known.kind == thing.kind);
        let at = same.unwrap_or(THINGS - 1);
        self.things[at].0 = Thing::new(thing.kind, None);
        at
    }

    /// The parts of the time since all was put down last.
    fn stretch(&self, seen: &Evidence<Position>) -> Stretch {
        let whole = seen.now.saturating_sub(self.until);
        let before = self.last.map(|(before, _)| before);
        let growth = |of: fn(&Evidence<Position>) -> Option<u64>| {
            let before = before.as_ref()?;
            let growth = of(seen)?.saturating_sub(of(before)?);
            // What was counted between the first two looks holds for the time before them.
            let counted = seen.now.saturating_sub(before.now);
            Some(if counted < whole && counted > 0 { scale(growth, whole, counted) } else { growth })
        };
        let throttled = growth(|of| of.throttled).unwrap_or(0);
        // The watchdog oversleeps because it has no processor, its group was throttled, or all of the process was stopped.
        let explained = growth(|of| of.watchdog_delay).map(|delay| delay.saturating_add(throttled));
        let overslept = if seen.overslept < NOISE { 0 } else { seen.overslept.min(whole) };
        let stopped = match (seen.state, explained) {
            (State::Stopped, _) => whole,
            (_, Some(explained)) if explained < overslept => overslept - explained,
            _ => 0,
        };
        let awake = whole - stopped;
        let delay = growth(|of| of.delay);
        let ran = match growth(|of| of.cpu) {
            Some(cpu) => cpu.min(awake),
            // Unknown, so who runs has had a processor whenever the watchdog had.
            None if seen.doing == Doing::Runs => awake - delay.unwrap_or(overslept - stopped).min(awake),
            None => 0,
        };
        let delayed = delay.unwrap_or(0).min(awake - ran);
        let rest = awake - ran - delayed;
        let waited_before = self.last.is_some_and(|(before, class)| before.doing != Doing::Runs && class.can_wait());
        let waited = match seen.doing {
            // It could run, and did not: the kernel counts that once it is over.
            Doing::Runs if !waited_before => 0,
            // Whoever has the lock may have been throttled, too.
            Doing::WaitsForGlobalLock => rest - throttled.min(rest),
            _ => rest,
        };
        Stretch { ran, waited, lost: whole - ran - waited, stopped, throttled }
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
        self.total.ran += stretch.ran;
        self.total.waited += stretch.waited;
        self.total.lost += stretch.lost;
        self.total.stopped += stretch.stopped;
        self.total.throttled += stretch.throttled;
        self.stretch = stretch;
    }

    fn count(&mut self, (position, class): (Position, Class), time: u64) {
        if time == 0 {
            return;
        }
        self.places.add(position, time);
        match class {
            Class::Waits(at) => self.things[at].1 += time,
            Class::WaitsForLock(thread) => self.holders.add(thread, time),
            Class::Collects => self.collects += time,
            Class::Imports => self.imports += time,
            Class::Program => self.program += time,
            Class::Native => self.native += time,
            Class::HoldsLock => self.holds_lock += time,
            Class::Unknown => self.unknown += time,
        }
    }

    /// Judges the block, which goes on, or ended at `now` at the latest. Steps are reported after `report_after`.
    /// What came after the last look is taken to be like what came before it.
    pub fn judge(&self, now: u64, report_after: u64) -> Verdict<Position> {
        let mut looks = self.clone();
        if let Some((last, class)) = looks.last {
            let tail = now.saturating_sub(looks.until);
            let before = looks.stretch;
            let lost = scale(before.lost, tail, (before.ran + before.waited + before.lost).max(1));
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
        let of_kind = |kind| self.things.iter().filter(|(thing, _)| thing.kind == kind).map(|(_, time)| time).sum();
        let thing = self.things.iter().rev().max_by_key(|(thing, time)| (of_kind(thing.kind), *time));
        let (thing, waits) = thing.map_or((None, 0), |(thing, _)| (Some(thing), of_kind(thing.kind)));
        let waits_for_lock: u64 = self.holders.total();
        let candidates = [
            (self.collects, Cause::Collects),
            (self.imports, Cause::Imports),
            (waits, thing.map_or(Cause::Unknown, |thing| Cause::WaitsFor(thing.clone()))),
            (self.holds_lock, Cause::HoldsGlobalLock),
            (self.native, Cause::ComputesNative),
            (self.program, Cause::Computes),
            (waits_for_lock, Cause::GlobalLockHeldBy(self.main_holder())),
            (self.unknown, Cause::Unknown),
        ];
        let most = candidates.iter().map(|(time, _)| *time).max().unwrap_or(0);
        candidates.into_iter().find(|(time, _)| *time == most && most > 0).map_or(Cause::Unknown, |(_, cause)| cause)
    }

    /// The thread that had the global lock for more than half of the time in which the step waited for it.
    fn main_holder(&self) -> Option<u32> {
        let (thread, time) = self.holders.sorted().first().copied()?;
        thread.filter(|_| time > self.holders.total() / 2)
    }
}

impl Stretch {
    fn shortage(self) -> Shortage {
        if self.stopped > self.lost / 2 {
            Shortage::Stopped
        } else if self.throttled > self.lost / 2 {
            Shortage::Throttled
        } else {
            Shortage::NoProcessor
        }
    }
}

/// `growth` of a part, for the whole.
fn scale(growth: u64, whole: u64, part: u64) -> u64 {
    u64::try_from(u128::from(growth) * u128::from(whole) / u128::from(part)).unwrap_or(u64::MAX)
}
