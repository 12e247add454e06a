//! Tells how long a step has lasted, as far as looks at the heartbeat now and then can tell it.
//!
//! Loops read no clock for their steps, so the start of one is known only to one look of the watchdog: a step is taken
//! to have begun at the look before the first one that saw it. That is early by one period at the most, and never late.
//! Two things can go wrong, and neither is a step's fault: the watchdog itself was kept from running (a busy host), or
//! it had to wait for the global lock, which somebody else had. A step that lasts through the first of them has so much
//! less of a duration: where a processor is to be had for a tenth of the time, one that blocks is still found. That is a
//! bound from above: what a step answers for is known to [`Looks`](super::Looks), by the kernel's counts.

/// The number of looks that fit into the shortest time of interest: the error of all durations is one part in this.
const LOOKS: u64 = 5;
/// The bounds of the time between two looks, in nanoseconds.
const SHORTEST_PERIOD: u64 = 100_000;
const LONGEST_PERIOD: u64 = 100_000_000;
/// A look that comes later than four times its period, or than four times this, comes late. In nanoseconds.
const LEAST_PATIENCE: u64 = 5_000_000;
/// After so many beats it is not known any more which step it was that lasted so long.
const FEW: u64 = 64;
/// A global lock that comes later than this, in nanoseconds, was held by somebody.
const LATE: u64 = 1_000_000;

/// Nanoseconds between two looks, where steps are reported after `report_after`, and rescued after `rescue_after`.
pub fn period(report_after: u64, rescue_after: Option<u64>) -> u64 {
    let shortest = rescue_after.map_or(report_after, |rescue| rescue.min(report_after));
    (shortest / LOOKS).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
}

/// True if the global lock, asked for at `asked`, came so late that somebody had it.
pub fn came_late(asked: u64, came: u64) -> bool {
    came - asked > LATE
}

/// The time until which somebody had the global lock, as [`Pulse::unseen`] wants it, for one who has it now: it last
/// came late to the watchdog at `came`. If the watchdog is still waiting (since `asked`; 0: it is not) that time is
/// now.
pub fn last_came(asked: u64, came: u64, now: u64) -> u64 {
    if asked == 0 { came } else { now }
}

/// The times that belong to one look, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub now: u64,
    /// The time at which the watchdog looked before, at any loop, or woke up.
    pub last: u64,
    /// The time by which it has overslept since.
    pub overslept: u64,
    /// The time between two looks at this loop.
    pub period: u64,
}

/// The outcome of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The beat is another one: the step of `before`, if that was one, has ended.
    Beats { before: u64 },
    /// The watchdog was kept from running: nothing is known of the time since it looked last. A step that ran then and
    /// runs still (`before` is its heartbeat) lasts on, by the next look, less that time.
    Starved { before: u64 },
    /// A step runs that ran at the last look, since this time or later.
    Lasts { since: u64 },
    /// No step runs, nor did one at the last look.
    Rests,
}

/// A heartbeat, as remembered from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    /// The heartbeat at the last look: odd inside a step.
    tick: u64,
    /// The last time at which it was another.
    since: u64,
    /// The time of the last look.
    looked: u64,
}

impl Pulse {
    /// Looks at the heartbeat.
    pub fn look(&mut self, tick: u64, timing: Timing) -> Look {
        let Timing { now, last, overslept, period } = timing;
        let patience = 4 * period.max(LEAST_PATIENCE);
        let starved = overslept > patience;
        self.looked = now;
        if tick == self.tick && !starved {
            return if tick % 2 == 1 { Look::Lasts { since: self.since } } else { Look::Rests };
        }
        let before = std::mem::replace(&mut self.tick, tick);
        if before == tick {
            self.since = self.since.saturating_add(overslept).min(now);
            return Look::Starved { before };
        }
        // It began since the last look. The thread that had the global lock may have kept the watchdog from looking:
        // that is no fault of the step.
        let is_late = starved || now - last > period + patience;
        self.since = if is_late { now } else { last };
        if starved { Look::Starved { before } } else { Look::Beats { before } }
    }

    /// The heartbeat at the last look.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// The earliest time at which the heartbeat can have become that.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Returns how long a step lasted that was seen at the last look, has ended by now (the heartbeat is `tick`), and
    /// could not be looked at, since the global lock came at `came` only: this step had it, most likely. None: there
    /// was no such step.
    ///
    /// `slept` is when the loop lay down to sleep last: then it was somebody else who had the lock.
    pub fn unseen(&self, tick: u64, came: u64, slept: u64) -> Option<u64> {
        let has_ended = self.tick % 2 == 1 && tick != self.tick && tick - self.tick <= FEW;
        if !has_ended || came <= self.looked {
            return None;
        }
        let end = if slept > self.since { came.min(slept) } else { came };
        Some(end.saturating_sub(self.since))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn at(now: u64, last: u64) -> Timing {
        Timing { now, last, overslept: 0, period: 10 * MS }
    }

    #[test]
    fn a_fifth_of_the_shortest_time_lies_between_two_looks() {
        assert_eq!(period(100 * MS, None), 20 * MS);
        assert_eq!(period(100 * MS, Some(50 * MS)), 10 * MS);
        assert_eq!(period(50 * MS, Some(100 * MS)), 10 * MS);
        assert_eq!(period(0, None), SHORTEST_PERIOD);
        assert_eq!(period(u64::MAX, None), LONGEST_PERIOD);
    }

    #[test]
    fn a_global_lock_that_came_at_once_was_free() {
        for (came, is_late) in [(20 * MS, false), (20 * MS + LATE, false), (20 * MS + LATE + 1, true)] {
            assert_eq!(came_late(20 * MS, came), is_late, "{came}");
        }
        assert_eq!(last_came(0, 20 * MS, 90 * MS), 20 * MS);
        assert_eq!(last_came(30 * MS, 20 * MS, 90 * MS), 90 * MS);
    }

    #[test]
    fn a_step_lasts_from_the_look_before_the_first_that_saw_it() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.look(3, at(20 * MS, 10 * MS)), Look::Beats { before: 0 });
        assert_eq!(pulse.look(3, at(30 * MS, 20 * MS)), Look::Lasts { since: 10 * MS });
        assert_eq!(pulse.look(3, at(40 * MS, 30 * MS)), Look::Lasts { since: 10 * MS });
        assert_eq!(pulse.look(4, at(50 * MS, 40 * MS)), Look::Beats { before: 3 });
        assert_eq!(pulse.look(4, at(60 * MS, 50 * MS)), Look::Rests);
    }

    #[test]
    fn a_watchdog_that_was_kept_from_running_blames_no_step() {
        let mut pulse = Pulse::default();
        pulse.look(3, at(20 * MS, 10 * MS));
        let late = Timing { overslept: 4 * 10 * MS + 1, ..at(90 * MS, 20 * MS) };
        assert_eq!(pulse.look(3, late), Look::Starved { before: 3 });
        assert_eq!(pulse.look(3, at(100 * MS, 90 * MS)), Look::Lasts { since: 10 * MS + 4 * 10 * MS + 1 });
        let late = Timing { overslept: 500 * MS, ..at(610 * MS, 100 * MS) };
        assert_eq!(pulse.look(5, late), Look::Starved { before: 3 });
        assert_eq!(pulse.look(5, at(620 * MS, 610 * MS)), Look::Lasts { since: 610 * MS }, "it is a new one");
    }

    #[test]
    fn a_step_that_blocks_is_found_where_a_processor_is_to_be_had_for_a_tenth_of_the_time() {
        let mut pulse = Pulse::default();
        pulse.look(3, at(10 * MS, 0));
        let mut lasted = 0;
        for round in 1..20 {
            let now = (10 + round * 100) * MS;
            let late = Timing { overslept: 90 * MS, ..at(now, now - 100 * MS) };
            assert_eq!(pulse.look(3, late), Look::Starved { before: 3 });
            lasted = now - pulse.since();
        }
        assert_eq!(lasted, 200 * MS, "ten of each hundred, and what was before");
    }

    #[test]
    fn a_watchdog_that_waited_for_the_lock_takes_the_step_for_a_new_one() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.look(5, at(90 * MS, 20 * MS)), Look::Beats { before: 0 });
        assert_eq!(pulse.look(5, at(95 * MS, 90 * MS)), Look::Lasts { since: 90 * MS });
    }

    #[test]
    fn a_step_that_nobody_could_look_at_is_found_by_the_time_at_which_the_lock_came() {
        let mut pulse = Pulse::default();
        pulse.look(3, at(20 * MS, 10 * MS));
        for (tick, came, slept, lasted) in [
            (4, 120 * MS, 0, Some(110 * MS)),
            (3 + FEW, 120 * MS, 0, Some(110 * MS)),
            (3 + FEW + 1, 120 * MS, 0, None),      // which step it was is not known
            (3, 120 * MS, 0, None),                // it has not ended
            (4, 20 * MS, 0, None),                 // the lock came before the last look
            (4, 120 * MS, 30 * MS, Some(20 * MS)), // then the loop slept, and somebody else had the lock
            (4, 120 * MS, 5 * MS, Some(110 * MS)), // it slept before that step
        ] {
            assert_eq!(pulse.unseen(tick, came, slept), lasted, "{tick} {came} {slept}");
        }
        pulse.look(4, at(130 * MS, 120 * MS));
        assert_eq!(pulse.unseen(6, 300 * MS, 0), None, "no step ran at the last look");
    }

    proptest! {
        /// A step is never said to have begun after it was first seen, nor before the look before that, on a host with
        /// time.
        #[test]
        fn the_time_of_a_step_is_right_to_one_period(
            program in prop::collection::vec((1u64..10, 0u64..3), 1..60)
        ) {
            let mut pulse = Pulse::default();
            let (mut now, mut tick) = (1000 * MS, 0);
            let (mut before_first, mut seen) = (0, 0);
            for (wait, beats) in program {
                let last = now;
                (now, tick) = (now + wait * MS, tick + beats);
                let look = pulse.look(tick, at(now, last));
                if tick != seen {
                    prop_assert_eq!(look, Look::Beats { before: seen });
                    (before_first, seen) = (last, tick);
                } else if tick % 2 == 1 {
                    prop_assert_eq!(look, Look::Lasts { since: before_first });
                } else {
                    prop_assert_eq!(look, Look::Rests);
                }
            }
        }
    }
}
