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
//! group was throttled, or the process was stopped: [`Verdict::lost`].
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
//!    If two took the same, the one that says more: as `Sums::heaviest` lists them.

use crate::sys::{Kind, State, SystemCall, Thing};
use crate::watchdog::cause::Cause;
use crate::watchdog::class::Class;
use crate::watchdog::evidence::{Evidence, Holder, Stretch, scale};
use crate::watchdog::sums::Sums;
use crate::watchdog::suspect::Doing;
use crate::watchdog::tally::Tally;

/// So many different places are told apart in a block.
const PLACES: usize = 32;
/// Who has used so much CPU time, in nanoseconds, while another thread asked for the global lock, gives it to nobody: the
/// program's own code would have seen that by then.
const KEEPS: u64 = 12_000_000;

/// A judgement of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<Position> {
    pub cause: Cause,
    /// The time since which the last look's cause goes on at the same position.
    pub since: u64,
    /// Nanoseconds that the block has lasted. They are the sum of `shares`, `elsewhere` and `lost`.
    pub lasted: u64,
    /// What [`Looks::charged`] was at the last look: by it a report is due. What came after that look is only likely.
    pub charged: u64,
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
    sums: Sums,
    /// CPU time that the step has used while another thread asked for the global lock, which the step kept.
    kept: u64,
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
            sums: Sums::default(),
            kept: 0,
            total: Stretch::default(),
            stretch: Stretch::default(),
            steps: 0,
        }
    }

    /// The time that the step answers for, up to the last look. It is due for a report when this is long enough.
    pub fn charged(&self) -> u64 {
        self.total.ran + self.total.waited
    }

    /// Adds a look. `describe` says what a thread waits for that is in a system call; it is asked only if the call is
    /// another one than at the look before.
    pub fn add(&mut self, seen: Evidence<Position>, describe: impl FnOnce(SystemCall) -> Thing) {
        let class = self.classify(&seen, describe);
        self.kept = match &self.last {
            Some((before, _)) => seen.kept_since(before).map_or(0, |kept| self.kept + kept),
            None => 0,
        };
        self.steps += seen.steps;
        let is_first = self.first.is_none();
        self.first.get_or_insert(seen);
        if let (Class::WaitsForLock(Some(_)), Some((before, was @ Class::WaitsForLock(None)))) = (class, &mut self.last)
            && before.holder == seen.holder
        {
            *was = class; // that one had it all the time
        }
        // Nothing is known of the time before the first look to a step that runs, or waits for one that does: what the
        // next ones show holds for it, too.
        if !is_first || seen.doing == Doing::Waits {
            let stretch = Stretch::new(&seen, self.last.as_ref().map(|(before, _)| before), self.until);
            self.put_down(stretch, &seen, class);
            self.until = seen.now.max(self.until);
        }
        if self.last.is_none_or(|(before, was)| before.position != seen.position || was != class) && !is_first {
            self.unchanged = self.last.map_or(self.since, |(before, _)| before.now.midpoint(seen.now));
        }
        self.last = Some((seen, class));
        if self.kept >= KEEPS {
            self.decide(Class::HoldsLock(None));
        }
    }

    /// True if there was no look yet.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The global lock came soon to one who asked for it: what looked like native code that has it, since it was found at
    /// the same place each time, was the program's own code in a short loop.
    pub fn lock_came(&mut self) {
        self.decide(Class::Program);
        self.kept = 0;
    }

    /// What could have been the program's own code or native code that has the lock, all the while at one position, was
    /// this.
    fn decide(&mut self, found: Class) {
        if let Some((_, class @ (Class::HoldsLock(None) | Class::Undecided))) = &mut self.last
            && *class != found
        {
            self.sums.is_other(*class, found, self.until.saturating_sub(self.unchanged));
            *class = found;
        }
    }

    /// True if it is proven that the step gives the global lock to nobody who asks for it.
    pub fn keeps_lock(&self) -> bool {
        self.kept >= KEEPS || matches!(self.last, Some((_, Class::HoldsLock(Some(_)))))
    }

    /// The class of a look.
    fn classify(&mut self, seen: &Evidence<Position>, describe: impl FnOnce(SystemCall) -> Thing) -> Class {
        let before = self.last.filter(|(before, _)| before.position == seen.position);
        match seen.doing {
            Doing::Waits => match self.thing(seen, describe) {
                // What an import waits for beside files is a matter of the code that it runs.
                at if seen.importing && self.sums.things.kind(at) == Kind::File => Class::Imports,
                at if seen.holder == Holder::Step => Class::HoldsLock(Some(at)),
                at => Class::Waits(at),
            },
            Doing::WaitsForGlobalLock if seen.collecting => Class::Collects,
            Doing::WaitsForGlobalLock => Class::WaitsForLock(seen.keeper(self.last.as_ref().map(|(before, _)| before))),
            Doing::Runs if seen.collecting && !matches!(seen.holder, Holder::Other(_)) => Class::Collects,
            Doing::Runs if seen.importing => Class::Imports,
            Doing::Runs | Doing::Unknown if seen.holder == Holder::Step => match seen.moves {
                Some(true) => Class::Program,
                Some(false) => Class::HoldsLock(None),
                // It is at another line than at the look before.
                None if before.is_none() && self.last.is_some() => Class::Program,
                None => Class::Undecided,
            },
            // It may have let go of the lock for a moment.
            Doing::Runs if seen.moves == Some(true) => Class::Program,
            Doing::Runs if matches!(seen.holder, Holder::Other(_) | Holder::Nobody) => Class::Native,
            Doing::Runs => Class::Unknown,
            // A piece of a file that is mapped into memory.
            Doing::Unknown if seen.state == State::SleepsDeep => {
                Class::Waits(self.sums.things.place(Thing::new(Kind::File, None)))
            }
            // A call that goes on after the process was stopped has lost its name.
            Doing::Unknown => match (before, seen.holder) {
                (Some((_, class)), _) if !matches!(class, Class::WaitsForLock(_)) => class,
                (_, Holder::Other(_)) => Class::WaitsForLock(seen.keeper(self.last.as_ref().map(|(before, _)| before))),
                (Some((_, class)), _) => class,
                (None, _) => Class::Unknown,
            },
        }
    }

    /// The place in the table of what the step waits for.
    fn thing(&mut self, seen: &Evidence<Position>, describe: impl FnOnce(SystemCall) -> Thing) -> usize {
        if let Some((before, Class::Waits(at) | Class::HoldsLock(Some(at)))) = self.last
            && before.doing == Doing::Waits
            && before.call == seen.call
            && before.resolving == seen.resolving
        {
            return at;
        }
        let mut thing = seen.call.map_or(Thing::new(Kind::Lock, None), describe);
        if seen.resolving && thing.kind != Kind::Lock {
            thing.kind = Kind::Dns;
        }
        self.sums.things.place(thing)
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
        self.sums.count(class, time);
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
        Verdict { charged: self.charged(), ..looks.sum_up(report_after) }
    }

    fn sum_up(self, report_after: u64) -> Verdict<Position> {
        let lasted = self.until - self.since;
        let counts = self.charged();
        let growth = |of: fn(&Evidence<Position>) -> Option<u64>| {
            let (last, _) = self.last?;
            Some(of(&last)?.saturating_sub(of(&self.first?)?))
        };
        let (cpu, delay) = (growth(|of| of.cpu), growth(|of| of.delay));
        let cause = if self.total.lost > lasted / 2 && counts < report_after {
            Cause::Starved(self.total.shortage())
        } else if self.steps > 0 && self.sums.not_its_own() <= counts / 2 {
            Cause::ManySteps(self.steps)
        } else {
            self.sums.heaviest()
        };
        Verdict {
            cause,
            since: self.unchanged,
            lasted,
            charged: counts,
            shares: self.places.sorted(),
            elsewhere: self.places.others(),
            lost: self.total.lost,
            cpu,
            delay,
            holders: self.sums.holders.sorted(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::watchdog::cause::Shortage;
    use crate::watchdog::timing::next_look;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const AFTER: u64 = 100 * MS;
    const SLEEP: SystemCall = SystemCall { number: 1, arguments: [0; 6] };
    const FILE: SystemCall = SystemCall { number: 2, ..SLEEP };

    /// A file for each argument.
    fn describe(call: SystemCall) -> Thing {
        match call {
            SLEEP => Thing::new(Kind::Sleep, None),
            _ => Thing::new(Kind::File, format!("/{}", call.arguments[0])),
        }
    }

    /// A look at a thread that has used so much CPU time, and waited so long for a processor; in milliseconds.
    fn seen(now: u64, doing: Doing, cpu: u64, delay: u64) -> Evidence<char> {
        let call = (doing == Doing::Waits).then_some(SLEEP);
        let counts = |ms: u64| Some(ms * MS);
        Evidence {
            call,
            cpu: counts(cpu),
            delay: counts(delay),
            watchdog_delay: counts(0),
            throttled: counts(0),
            ..Evidence::new(now * MS, 'a', doing)
        }
    }

    fn runs(now: u64) -> Evidence<char> {
        Evidence { holder: Holder::Step, ..seen(now, Doing::Runs, now, 0) }
    }

    fn waits(now: u64) -> Evidence<char> {
        seen(now, Doing::Waits, 0, 0)
    }

    fn waits_for_lock(now: u64, holder: Holder) -> Evidence<char> {
        Evidence { holder, ..seen(now, Doing::WaitsForGlobalLock, 0, 0) }
    }

    fn by_other(now: u64, changes: u64, process_cpu: u64, holder_waits: bool) -> Evidence<char> {
        let (changes, process_cpu) = (Some(changes), Some(process_cpu * MS));
        Evidence { changes, process_cpu, holder_waits, ..waits_for_lock(now, Holder::Other(7)) }
    }

    /// A look each 20 ms for 200 ms.
    fn block(look: impl Fn(u64) -> Evidence<char>) -> Looks<char> {
        let mut looks = Looks::new(0);
        (1..=10).for_each(|at| looks.add(look(at * 20), describe));
        looks
    }

    fn cause(look: impl Fn(u64) -> Evidence<char>) -> Cause {
        block(look).judge(200 * MS, AFTER).cause
    }

    #[test]
    fn a_step_that_lets_go_of_the_lock_soon_was_in_no_long_call() {
        let mut looks = block(runs);
        looks.lock_came();
        assert_eq!(looks.judge(200 * MS, AFTER).cause, Cause::Computes);
        let mut looks = block(waits);
        looks.lock_came();
        assert_eq!(looks.judge(200 * MS, AFTER).cause, Cause::WaitsFor(Thing::new(Kind::Sleep, None)));
    }

    #[test]
    fn who_had_no_processor_while_it_was_read_is_in_no_long_call_for_that() {
        // At another instruction of the same line now and then: at all other looks nobody could see it move.
        let looks = block(|now| Evidence { moves: (now % 40 == 0).then_some(true), ..runs(now) });
        assert_eq!(looks.judge(200 * MS, AFTER).cause, Cause::Computes);
        // At another one where a long call ends.
        let looks = block(|now| Evidence { moves: (now == 200).then_some(true), ..runs(now) });
        assert_eq!(looks.judge(200 * MS, AFTER).cause, Cause::HoldsGlobalLock(None));
    }

    #[test]
    fn who_keeps_the_lock_although_another_thread_asks_for_it_is_known_by_its_cpu_time() {
        let asked = |now: u64, cpu| Evidence { asked: Some(200 * MS), cpu: Some(cpu * MS), ..runs(now) };
        let mut looks = block(runs);
        assert!(!looks.keeps_lock());
        looks.add(asked(210, 205), describe);
        assert!(!looks.keeps_lock(), "it may be about to give it away");
        looks.add(asked(220, 215), describe);
        assert!(looks.keeps_lock());
        looks.add(runs(230), describe);
        assert!(!looks.keeps_lock(), "nobody asks any more");
        let held = |now| Evidence { holder: Holder::Step, ..waits(now) };
        assert!(block(held).keeps_lock(), "it waits with the lock in its hands");
    }

    #[test]
    fn each_cause_is_told_from_what_the_looks_find() {
        type Look = fn(u64) -> Evidence<char>;
        let table: &[(Look, Cause)] = &[
            (waits, Cause::WaitsFor(Thing::new(Kind::Sleep, None))),
            (|now| Evidence { call: None, ..waits(now) }, Cause::WaitsFor(Thing::new(Kind::Lock, None))),
            (
                |now| Evidence { call: Some(FILE), ..waits(now) },
                Cause::WaitsFor(Thing::new(Kind::File, "/0".to_owned())),
            ),
            (
                |now| Evidence { call: Some(FILE), resolving: true, ..waits(now) },
                Cause::WaitsFor(Thing::new(Kind::Dns, "/0".to_owned())),
            ),
            (|now| Evidence { moves: Some(true), ..runs(now) }, Cause::Computes),
            (|now| Evidence { moves: Some(true), holder: Holder::Unknown, ..runs(now) }, Cause::Computes),
            // At another place each time.
            (|now| Evidence { position: char::from(now as u8), ..runs(now) }, Cause::Computes),
            (runs, Cause::HoldsGlobalLock(None)),
            (
                |now| Evidence { holder: Holder::Step, ..waits(now) },
                Cause::HoldsGlobalLock(Some(Thing::new(Kind::Sleep, None))),
            ),
            // It had let go of the lock for a moment at each look.
            (|now| Evidence { moves: Some(true), holder: Holder::Nobody, ..runs(now) }, Cause::Computes),
            (|now| Evidence { holder: Holder::Nobody, ..runs(now) }, Cause::ComputesNative),
            (|now| Evidence { holder: Holder::Other(7), ..runs(now) }, Cause::ComputesNative),
            (|now| waits_for_lock(now, Holder::Other(7)), Cause::GlobalLockHeldBy(Some(7))),
            (|now| waits_for_lock(now, Holder::Other((now / 20 % 5) as u32)), Cause::GlobalLockHeldBy(None)),
            (|now| waits_for_lock(now, Holder::Unknown), Cause::GlobalLockHeldBy(None)),
            // It gave the lock to others between the looks; it kept it, computes, has no processor, or sleeps.
            (|now| by_other(now, now, now, false), Cause::GlobalLockHeldBy(None)),
            (|now| by_other(now, 5, now, false), Cause::GlobalLockHeldBy(Some(7))),
            (|now| by_other(now, 5, now / 10, false), Cause::Starved(Shortage::NoProcessor)),
            (|now| by_other(now, 5, 0, true), Cause::GlobalLockHeldBy(Some(7))),
            // It computes whenever it has its turn.
            (|now| Evidence { cpu: Some(now * MS * 3 / 4), ..waits_for_lock(now, Holder::Other(7)) }, Cause::Computes),
            (|now| Evidence { collecting: true, ..runs(now) }, Cause::Collects),
            (|now| Evidence { collecting: true, ..waits_for_lock(now, Holder::Other(7)) }, Cause::Collects),
            // Another thread collects; this one sleeps.
            (|now| Evidence { collecting: true, ..waits(now) }, Cause::WaitsFor(Thing::new(Kind::Sleep, None))),
            (|now| Evidence { importing: true, ..runs(now) }, Cause::Imports),
            (|now| Evidence { importing: true, call: Some(FILE), ..waits(now) }, Cause::Imports),
            (|now| Evidence { importing: true, ..waits(now) }, Cause::WaitsFor(Thing::new(Kind::Sleep, None))),
            (|now| Evidence { steps: 3, ..runs(now) }, Cause::ManySteps(30)),
            (|now| Evidence { steps: 3, ..waits_for_lock(now, Holder::Other(7)) }, Cause::GlobalLockHeldBy(Some(7))),
            (|now| Evidence { steps: 3, collecting: true, ..runs(now) }, Cause::Collects),
            (|now| seen(now, Doing::Runs, 0, now), Cause::Starved(Shortage::NoProcessor)),
            // The kernel counts the delay once it is over.
            (|now| seen(now, Doing::Runs, 0, 0), Cause::Starved(Shortage::NoProcessor)),
            (|now| Evidence { steps: 1, ..seen(now, Doing::Runs, 0, now) }, Cause::Starved(Shortage::NoProcessor)),
            (
                |now| Evidence { throttled: Some(now * MS), ..seen(now, Doing::Runs, 0, 0) },
                Cause::Starved(Shortage::Throttled),
            ),
            (
                |now| Evidence { throttled: Some(now * MS), ..waits_for_lock(now, Holder::Other(7)) },
                Cause::Starved(Shortage::Throttled),
            ),
            (
                |now| Evidence { holder_delay: Some(now * MS), ..waits_for_lock(now, Holder::Other(7)) },
                Cause::Starved(Shortage::NoProcessor),
            ),
            (|now| Evidence { overslept: 18 * MS, ..waits(now) }, Cause::Starved(Shortage::Stopped)),
            (|now| Evidence { state: State::Stopped, ..waits(now) }, Cause::Starved(Shortage::Stopped)),
            (
                // It was the watchdog that had no processor: a sleep goes on.
                |now| Evidence { overslept: 18 * MS, watchdog_delay: Some(now * MS), ..waits(now) },
                Cause::WaitsFor(Thing::new(Kind::Sleep, None)),
            ),
            (
                |now| Evidence { state: State::SleepsDeep, ..seen(now, Doing::Unknown, 0, 0) },
                Cause::WaitsFor(Thing::new(Kind::File, None)),
            ),
            (|now| seen(now, Doing::Unknown, 0, 0), Cause::Unknown),
            (
                |now| Evidence { holder: Holder::Step, ..seen(now, Doing::Unknown, now, 0) },
                Cause::HoldsGlobalLock(None),
            ),
            (
                |now| Evidence { holder: Holder::Other(7), ..seen(now, Doing::Unknown, 0, 0) },
                Cause::GlobalLockHeldBy(Some(7)),
            ),
            (|now| Evidence { holder: Holder::Unknown, ..runs(now) }, Cause::Unknown),
        ];
        for (at, (look, expected)) in table.iter().enumerate() {
            assert_eq!(cause(look), *expected, "row {at}: {:?}", look(20));
        }
    }

    #[test]
    fn where_the_kernel_counts_nothing_the_looks_decide() {
        let blind = |now: u64, doing| Evidence { holder: Holder::Step, ..Evidence::new(now * MS, 'a', doing) };
        assert_eq!(cause(|now| blind(now, Doing::Runs)), Cause::HoldsGlobalLock(None));
        let overslept = |now| Evidence { overslept: 18 * MS, ..blind(now, Doing::Runs) };
        assert_eq!(cause(overslept), Cause::Starved(Shortage::Stopped));
        let verdict = block(|now| blind(now, Doing::Runs)).judge(200 * MS, AFTER);
        assert_eq!((verdict.cpu, verdict.delay, verdict.lost), (None, None, 0));
    }

    #[test]
    fn a_block_at_two_places_has_both_with_about_the_time_of_each() {
        let mut looks = Looks::new(0);
        let mut now = 20;
        while now <= 950 {
            let position = if now <= 150 { 'a' } else { 'b' };
            let doing = if now <= 150 { Doing::Runs } else { Doing::Waits };
            looks.add(Evidence { position, holder: Holder::Nobody, ..seen(now, doing, now.min(150), 0) }, describe);
            now = next_look(now * MS, AFTER) / MS;
        }
        let verdict = looks.judge(950 * MS, AFTER);
        let [('b', long), ('a', short)] = verdict.shares[..] else { panic!("{:?}", verdict.shares) };
        // What it computed and what it waited is known to the kernel, so the change is known.
        assert_eq!((short, long / MS), (150 * MS, 800));
        assert_eq!(verdict.since, 150 * MS, "it was found there at 140 ms, and elsewhere at 160 ms");
    }

    #[test]
    fn a_block_of_two_waits_has_both_to_half_the_time_between_two_looks() {
        let mut looks = block(waits);
        (11..=20).for_each(|at| looks.add(Evidence { position: 'b', call: Some(FILE), ..waits(at * 20) }, describe));
        let verdict = looks.judge(400 * MS, AFTER);
        assert_eq!(verdict.shares, [('a', 210 * MS), ('b', 190 * MS)]);
        assert_eq!(verdict.cause, Cause::WaitsFor(Thing::new(Kind::Sleep, None)));
        assert_eq!(verdict.since, 210 * MS);
    }

    #[test]
    fn who_is_described_once_is_not_asked_for_again() {
        let mut looks = Looks::new(0);
        assert_eq!(looks.judge(10 * MS, AFTER).cause, Cause::Unknown, "nobody has looked");
        looks.add(waits(20), describe);
        looks.add(waits(40), |_| unreachable!("it is the same call"));
    }

    #[test]
    fn a_step_that_computes_for_long_is_told_of_however_few_processors_it_got() {
        // A tenth of the time: a second of CPU time in ten.
        let look = |now: u64| Evidence { holder: Holder::Step, ..seen(now * 50, Doing::Runs, now * 5, now * 45) };
        let verdict = block(look).judge(10_000 * MS, AFTER);
        assert_eq!((verdict.cause, verdict.lost), (Cause::HoldsGlobalLock(None), 9000 * MS));
    }

    #[test]
    fn a_call_that_goes_on_after_the_process_was_stopped_is_the_same_call() {
        let mut looks = block(waits);
        looks.add(Evidence { overslept: 2000 * MS, ..seen(2220, Doing::Unknown, 0, 0) }, describe);
        looks.add(seen(2240, Doing::Unknown, 0, 0), describe);
        let verdict = looks.judge(2240 * MS, AFTER);
        assert_eq!(verdict.cause, Cause::WaitsFor(Thing::new(Kind::Sleep, None)));
        assert_eq!((verdict.lost, verdict.shares), (2000 * MS, vec![('a', 240 * MS)]));
    }

    /// Looks that may find anything.
    fn any_evidence(looks: &[[u8; 7]]) -> Vec<Evidence<char>> {
        let (mut now, mut cpu, mut delay) = (0, 0, 0);
        let look = |&[wait, doing, used, waited, overslept, holder, flags]: &[u8; 7]| {
            (now, cpu, delay) =
                (now + u64::from(wait % 40), cpu + u64::from(used % 50), delay + u64::from(waited % 50));
            let doing = [Doing::Runs, Doing::Waits, Doing::WaitsForGlobalLock, Doing::Unknown][usize::from(doing % 4)];
            Evidence {
                position: char::from(b'0' + flags % 40),
                call: (doing == Doing::Waits).then_some(SystemCall { number: 2, arguments: [flags.into(); 6] }),
                moves: [Some(true), Some(false), None][usize::from(flags % 3)],
                holder: [Holder::Step, Holder::Nobody, Holder::Other(7), Holder::Unknown][usize::from(holder % 4)],
                collecting: flags % 5 == 0,
                importing: flags % 7 == 0,
                overslept: u64::from(overslept % 50) * MS,
                cpu: (flags % 11 != 0).then_some(cpu * MS),
                ..seen(now, doing, cpu, delay)
            }
        };
        looks.iter().map(look).collect()
    }

    proptest! {
        /// However the looks fall: each nanosecond of the block is put down once.
        #[test]
        fn the_shares_are_the_whole_of_the_block(looks in prop::collection::vec(any::<[u8; 7]>(), 1..100), tail in 0u64..50) {
            let mut block = Looks::new(0);
            let all = any_evidence(&looks);
            all.iter().for_each(|seen| block.add(*seen, describe));
            let end = all.last().map_or(0, |seen| seen.now) + tail * MS;
            let verdict = block.judge(end, AFTER);
            let shares: u64 = verdict.shares.iter().map(|(_, time)| time).sum();
            prop_assert_eq!(verdict.lasted, end);
            prop_assert_eq!(shares + verdict.elsewhere + verdict.lost, end);
            prop_assert!(verdict.charged + verdict.lost <= end);
            prop_assert!(verdict.shares.is_sorted_by_key(|(_, time)| std::cmp::Reverse(*time)));
            prop_assert!(verdict.since <= end);
        }

        /// A step that had no processor is never blamed, nor due, however the looks fall: whether the kernel has counted
        /// that yet or not.
        #[test]
        fn nobody_is_blamed_who_had_no_processor(waits in prop::collection::vec((1u64..50, any::<bool>()), 2..50)) {
            let mut block = Looks::new(0);
            let (mut now, mut delay) = (0, 0);
            for (wait, counted) in waits {
                now += wait;
                delay = if counted { now } else { delay };
                block.add(seen(now, Doing::Runs, 0, delay), describe);
            }
            prop_assert_eq!(block.charged(), 0);
            prop_assert_eq!(block.judge(now * MS, AFTER).cause, Cause::Starved(Shortage::NoProcessor));
        }
    }
}
