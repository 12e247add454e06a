//! What one look at a step that blocks has found, and the time between two such looks.

use crate::sys::{State, SystemCall};
use crate::watchdog::cause::Shortage;
use crate::watchdog::suspect::Doing;

/// The watchdog oversleeps by less than this, in nanoseconds, on any host.
const NOISE: u64 = 5_000_000;

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
    /// Where the step stands: as finely as it is to be told, say the line. If it is finer, a loop that computes has more
    /// positions than can be told apart.
    pub position: Position,
    /// True: the program's own code was seen to go on since the look before, as the position changed while it was read
    /// several times in a row, or the instruction is another one, or as the step gave the global lock to whoever asked.
    /// False: it was read several times while it had a processor, and did not change. None: it had none, or cannot be
    /// read; then it moves if the position does.
    pub moves: Option<bool>,
    pub doing: Doing,
    /// The system call that the step waits in.
    pub call: Option<SystemCall>,
    pub state: State,
    /// CPU time of the thread so far, and the time it has waited for a processor; in nanoseconds.
    pub cpu: Option<u64>,
    pub delay: Option<u64>,
    pub holder: Holder,
    /// The time so far that the holder has waited for a processor, if it is another thread.
    pub holder_delay: Option<u64>,
    /// That other thread waits in a system call, and keeps the lock meanwhile.
    pub holder_waits: bool,
    /// How often the global lock has gone to another thread so far.
    pub changes: Option<u64>,
    /// The time since which another thread waits for the global lock, as far as the watchdog knows: it is the one.
    pub asked: Option<u64>,
    /// CPU time of all threads of the process so far.
    pub process_cpu: Option<u64>,
    /// Garbage is being collected.
    pub collecting: bool,
    /// The innermost code that matters is the one that imports.
    pub importing: bool,
    /// The innermost code is one that asks for the address that belongs to a name.
    pub resolving: bool,
    /// The steps that have begun since the look before: 0 as long as it is one step that lasts.
    pub steps: u64,
    /// Nanoseconds that the watchdog has overslept since the look before, in all its sleeps together.
    pub overslept: u64,
    /// The time so far that the watchdog has waited for a processor. Without it, whenever the watchdog overslept the
    /// process is taken to have been stopped.
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
            holder_delay: None,
            holder_waits: false,
            changes: None,
            asked: None,
            process_cpu: None,
            collecting: false,
            importing: false,
            resolving: false,
            steps: 0,
            overslept: 0,
            watchdog_delay: None,
            throttled: None,
        }
    }

    /// The other thread that had the global lock at the look `before`, has it now, and let go of it for nobody in between.
    pub fn keeper(&self, before: Option<&Self>) -> Option<u32> {
        let Holder::Other(thread) = self.holder else { return None };
        let has_kept = |before: &Self| before.holder == self.holder && before.changes == self.changes;
        before.is_some_and(has_kept).then_some(thread)
    }

    /// The least CPU time that the step has used between the look `before` and this one while another thread asked for
    /// the global lock, which the step kept. None: it may have let go of it, or nobody asked.
    pub fn kept_since(&self, before: &Self) -> Option<u64> {
        let asked = self.asked?;
        let has_kept = [before.holder, self.holder] == [Holder::Step; 2]
            && before.changes == self.changes
            && before.asked.is_none_or(|before| before == asked);
        // What it used before anybody asked is no sign of anything.
        let used = self.cpu?.saturating_sub(before.cpu?);
        has_kept.then(|| used.saturating_sub(asked.saturating_sub(before.now)))
    }
}

/// A stretch of time between two looks, in parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stretch {
    /// The step had a processor.
    pub ran: u64,
    /// It waited for something that is its own business.
    pub waited: u64,
    /// It had no processor, or what it waited for had none.
    pub lost: u64,
    /// The part of `lost` in which the process was stopped.
    pub stopped: u64,
    /// The time in it that the control group was throttled.
    pub throttled: u64,
}

impl Stretch {
    /// The parts of the time from `until` to a look. The look `before` it, if there was one, may be later than `until`:
    /// then what was counted between the two holds for all of it.
    pub fn new<Position>(seen: &Evidence<Position>, before: Option<&Evidence<Position>>, until: u64) -> Self {
        let whole = seen.now.saturating_sub(until);
        let counted = before.map_or(0, |before| seen.now.saturating_sub(before.now));
        let growth = |of: fn(&Evidence<Position>) -> Option<u64>| {
            let growth = of(seen)?.saturating_sub(of(before?)?);
            Some(if 0 < counted && counted < whole { scale(growth, whole, counted) } else { growth })
        };
        let overslept = if seen.overslept < NOISE { 0 } else { seen.overslept.min(whole) };
        let throttled = growth(|of| of.throttled).unwrap_or(0);
        // The watchdog oversleeps as it has no processor, its group is throttled, or the whole process is stopped.
        let explained = growth(|of| of.watchdog_delay).unwrap_or(0).saturating_add(throttled);
        let stopped = if seen.state == State::Stopped { whole } else { overslept.saturating_sub(explained) };
        let awake = whole - stopped;
        // The watchdog was kept from looking, and the step perhaps from running.
        let late = overslept.saturating_sub(stopped);

        let delay = growth(|of| of.delay);
        let ran = match growth(|of| of.cpu) {
            Some(cpu) => cpu.min(awake),
            // It is not known: then who runs has had a processor whenever the watchdog had.
            None if seen.doing == Doing::Runs => awake - delay.unwrap_or(late).min(awake),
            None => 0,
        };
        let rest = awake - ran - delay.unwrap_or(0).min(awake - ran);
        let not_its_fault = match seen.doing {
            // It could run, and did not: the kernel counts that once it is over.
            Doing::Runs if before.is_none_or(|before| before.doing == Doing::Runs) => rest,
            // Or it has waited, and got up. Who knows when, if the watchdog did not see it, or nobody could run.
            Doing::Runs if before.is_none_or(|before| before.doing != Doing::WaitsForGlobalLock) => late.max(throttled),
            // Whoever has the lock had no processor.
            Doing::Runs | Doing::WaitsForGlobalLock => {
                let is_same = before.is_some_and(|before| before.holder == seen.holder);
                let delay = if is_same { growth(|of| of.holder_delay).unwrap_or(0) } else { 0 };
                // Nor had any other thread of the process, which the lock may have gone to.
                let waits = seen.holder_waits && seen.keeper(before).is_some();
                let used = growth(|of| of.process_cpu).filter(|_| !waits && seen.holder != Holder::Unknown);
                let idle = used.map_or(0, |used| rest.saturating_sub(used.saturating_sub(ran)));
                delay.max(throttled).max(late).max(idle)
            }
            Doing::Waits | Doing::Unknown => 0,
        };
        let waited = rest.saturating_sub(not_its_fault);
        Self { ran, waited, lost: whole - ran - waited, stopped, throttled }
    }

    /// The whole of it.
    pub fn time(self) -> u64 {
        self.ran + self.waited + self.lost
    }

    pub fn add(&mut self, other: Self) {
        self.ran += other.ran;
        self.waited += other.waited;
        self.lost += other.lost;
        self.stopped += other.stopped;
        self.throttled += other.throttled;
    }

    /// Why it was lost, for the most part.
    pub fn shortage(self) -> Shortage {
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
pub fn scale(growth: u64, whole: u64, part: u64) -> u64 {
    u64::try_from(u128::from(growth) * u128::from(whole) / u128::from(part)).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A look at a thread that has used so much CPU time, and waited so long for a processor; in milliseconds.
    fn seen(now: u64, doing: Doing, cpu: u64, delay: u64) -> Evidence<()> {
        let counts = |ms: u64| Some(ms * MS);
        let delays = Evidence { watchdog_delay: counts(0), throttled: counts(0), ..Evidence::new(now * MS, (), doing) };
        Evidence { cpu: counts(cpu), delay: counts(delay), holder: Holder::Other(7), ..delays }
    }

    /// The parts of the 20 ms before a look: what ran, waited and was lost.
    fn parts(look: Evidence<()>, before: Doing) -> (u64, u64, u64) {
        let before = Evidence { holder_delay: Some(0), ..seen(100, before, 0, 0) };
        let stretch = Stretch::new(&look, Some(&before), 100 * MS);
        assert_eq!(stretch.time(), 20 * MS);
        (stretch.ran / MS, stretch.waited / MS, stretch.lost / MS)
    }

    #[test]
    fn a_step_answers_for_what_it_computed_and_waited_and_not_for_the_rest() {
        use Doing::{Runs, Unknown, Waits, WaitsForGlobalLock as WaitsForLock};
        for (doing, cpu, delay, overslept, expected) in [
            (Runs, 20, 0, 0, (20, 0, 0)),
            (Runs, 21, 3, 0, (20, 0, 0)), // no two clocks are equal
            (Runs, 2, 18, 0, (2, 0, 18)),
            (Runs, 2, 0, 0, (2, 0, 18)), // the delay is not over yet
            (Waits, 0, 0, 0, (0, 20, 0)),
            (Waits, 2, 8, 0, (2, 10, 8)),
            (Waits, 0, 0, 15, (0, 5, 15)),
            (Waits, 0, 0, 4, (0, 20, 0)), // no timer is exact
            (WaitsForLock, 5, 0, 0, (5, 15, 0)),
            (Unknown, 0, 5, 0, (0, 15, 5)),
        ] {
            let look = Evidence { overslept: overslept * MS, ..seen(120, doing, cpu, delay) };
            assert_eq!(parts(look, doing), expected, "{doing:?} {cpu} {delay} {overslept}");
        }
        assert_eq!(parts(seen(120, Runs, 4, 0), Waits), (4, 16, 0), "it has got up");
        let late = Evidence { overslept: 10 * MS, watchdog_delay: Some(10 * MS), ..seen(120, Runs, 4, 0) };
        assert_eq!(parts(late, Waits), (4, 6, 10), "it may have got up while nobody looked");
        let throttled = Evidence { throttled: Some(12 * MS), ..seen(120, Runs, 4, 0) };
        assert_eq!(parts(throttled, Waits), (4, 4, 12), "or while nobody could run");
    }

    #[test]
    fn what_the_watchdog_overslept_is_the_host_s_doing_unless_the_watchdog_itself_had_no_processor() {
        for (watchdog_delay, throttled, lost) in [(0, 0, 15), (15, 0, 0), (10, 0, 5), (0, 15, 0), (9, 9, 0)] {
            let counts = Evidence { throttled: Some(throttled * MS), ..seen(120, Doing::Waits, 0, 0) };
            let look = Evidence { overslept: 15 * MS, watchdog_delay: Some(watchdog_delay * MS), ..counts };
            assert_eq!(parts(look, Doing::Waits), (0, 20 - lost, lost), "{watchdog_delay} {throttled}");
        }
    }

    #[test]
    fn who_waits_for_a_holder_without_a_processor_does_not_answer_for_it() {
        let look = Evidence { holder_delay: Some(12 * MS), ..seen(120, Doing::WaitsForGlobalLock, 0, 0) };
        assert_eq!(parts(look, Doing::WaitsForGlobalLock), (0, 8, 12));
        let other = Evidence { holder: Holder::Other(8), ..look };
        assert_eq!(parts(other, Doing::WaitsForGlobalLock), (0, 20, 0), "its time so far says nothing");
    }

    #[test]
    fn who_computes_while_another_thread_asks_for_the_lock_and_keeps_it_has_kept_it_for_that_cpu_time() {
        let look = |now, cpu| Evidence { holder: Holder::Step, changes: Some(3), ..seen(now, Doing::Runs, cpu, 0) };
        let asked = |at: u64, look| Evidence { asked: Some(at * MS), ..look };
        for (before, now, kept) in [
            (look(100, 0), asked(110, look(120, 20)), Some(10)),
            (look(100, 0), asked(110, look(120, 4)), Some(0)), // it had no processor
            (asked(90, look(100, 0)), asked(90, look(120, 15)), Some(15)),
            (asked(80, look(100, 0)), asked(110, look(120, 20)), None), // who asked first has had it
            (look(100, 0), look(120, 20), None),                        // nobody asked
            (look(100, 0), Evidence { changes: Some(4), ..asked(100, look(120, 20)) }, None),
            (look(100, 0), Evidence { holder: Holder::Other(7), ..asked(100, look(120, 20)) }, None),
            (look(100, 0), Evidence { cpu: None, ..asked(100, look(120, 20)) }, None),
        ] {
            assert_eq!(now.kept_since(&before).map(|kept| kept / MS), kept, "{before:?} {now:?}");
        }
    }

    #[test]
    fn what_was_counted_between_the_first_two_looks_holds_for_the_time_before_them() {
        let stretch = Stretch::new(&seen(120, Doing::Runs, 5, 15), Some(&seen(100, Doing::Runs, 0, 0)), 60 * MS);
        assert_eq!((stretch.ran, stretch.lost), (15 * MS, 45 * MS));
    }
}
