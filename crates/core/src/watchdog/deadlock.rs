//! Decides whether the steps of a loop that are aside wait for each other for ever: tasks that hold locks over an await,
//! and each wants the lock of another.
//!
//! Such a lock has no owner that could be asked. But where every thread of the process waits for another one, without a
//! time-out, and the loop has nothing to wake for, nobody is left who could let go of a lock. So the proof needs no
//! knowledge of locks, and holds for whatever a step waits for. It is taken at several looks in a row, as a thread may
//! be found while it only passes a lock; and not before the loop has stood still for a while, as it costs a look at
//! every thread. One thread that waits for a file or for a time, or runs, and nothing is proved: a wait that lasts too
//! long is better than a false alarm. Of signals only Ctrl-C does not count.

/// The time, in nanoseconds, for which a loop has stood still before its threads are looked at.
const STILL: u64 = 1_000_000_000;
/// The time between two looks that prove it.
const PAUSE: u64 = 100_000_000;
/// The longest time between two looks: it doubles with each that proves nothing.
const LONGEST_PAUSE: u64 = 10_000_000_000;
/// So many looks in a row have to prove it.
const LOOKS: u32 = 3;

/// A thread of the process, as a look finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// It waits for another thread of this process, without a time-out. With the number of the release, if it is a step
    /// of the loop that is aside.
    Stuck(Option<u64>),
    /// It does something only if the loop has something to do.
    Idle,
    /// It may do anything.
    Free,
}

/// A loop that stands still, and all threads of its process.
#[derive(Clone, Debug)]
pub struct Standing {
    /// True if nothing is queued in the loop and nothing can wake it but a thread: no timer, no file, no signal.
    pub waits: bool,
    pub threads: Vec<Thread>,
}

impl Standing {
    /// The steps that wait for ever, by their releases. None: something may still go on.
    fn stuck(&self) -> Option<Vec<u64>> {
        if !self.waits || self.threads.contains(&Thread::Free) {
            return None;
        }
        let serial = |thread: &Thread| if let Thread::Stuck(serial) = thread { *serial } else { None };
        let mut steps: Vec<_> = self.threads.iter().filter_map(serial).collect();
        steps.sort_unstable();
        (!steps.is_empty()).then_some(steps)
    }
}

/// A loop whose steps may wait for each other, as remembered from look to look.
#[derive(Clone, Debug, Default)]
pub struct Deadlock {
    /// The heartbeat since when the loop sleeps while steps are aside; None: it does not.
    tick: Option<u64>,
    /// The time of the next look at its threads, and the time from one to the next.
    next: u64,
    pause: u64,
    /// The steps that were found to wait for ever, and at how many looks in a row.
    found: (Vec<u64>, u32),
    /// True once it was proved: nothing is to be done a second time.
    proved: bool,
}

impl Deadlock {
    /// True if the threads are to be looked at now. `sleeps`: the loop sleeps while steps are aside.
    pub fn is_look_due(&mut self, sleeps: bool, tick: u64, now: u64) -> bool {
        let tick = sleeps.then_some(tick);
        if tick.is_none() || self.tick != tick {
            *self = Self { tick, next: now + STILL, pause: PAUSE, ..Self::default() };
        }
        tick.is_some() && !self.proved && now >= self.next
    }

    /// Judges what a look has found. Returns true, once, if it is proved that the steps wait for ever.
    pub fn judge(&mut self, standing: &Standing, now: u64) -> bool {
        let Some(steps) = standing.stuck() else {
            self.pause = LONGEST_PAUSE.min(self.pause * 2);
            self.next = now + self.pause;
            self.found = (Vec::new(), 0);
            return false;
        };
        let looks = if self.found.0 == steps { self.found.1 + 1 } else { 1 };
        (self.found, self.pause, self.next) = ((steps, looks), PAUSE, now + PAUSE);
        self.proved = looks >= LOOKS;
        self.proved
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Thread::{Free, Idle, Stuck};
    use super::*;

    const MS: u64 = 1_000_000;

    fn standing(waits: bool, threads: &[Thread]) -> Standing {
        Standing { waits, threads: threads.to_vec() }
    }

    /// Two steps wait for each other; a relief thread sleeps in the poll.
    fn two_stuck() -> Standing {
        standing(true, &[Stuck(Some(7)), Idle, Stuck(Some(4))])
    }

    /// The times of the looks in the first ten minutes, each of which finds the same, and whether the last one proves it.
    fn looks(found: &Standing) -> (Vec<u64>, bool) {
        let mut deadlock = Deadlock::default();
        let mut times = Vec::new();
        for now in (0..600_000).step_by(20) {
            if deadlock.is_look_due(true, 2, now * MS) {
                times.push(now);
                if deadlock.judge(found, now * MS) {
                    assert!(!deadlock.is_look_due(true, 2, (now + 60_000) * MS), "it is done");
                    return (times, true);
                }
            }
        }
        (times, false)
    }

    #[test]
    fn steps_wait_for_ever_only_where_nobody_is_left_who_could_go_on() {
        for (waits, threads, expected) in [
            (true, &[Stuck(Some(7)), Idle, Stuck(Some(4))][..], Some(vec![4, 7])),
            (true, &[Stuck(Some(7)), Idle], Some(vec![7])),
            (true, &[Stuck(Some(7)), Idle, Stuck(None)], Some(vec![7])), // of another thread, which waits for this one
            (true, &[Stuck(Some(7)), Idle, Free], None),
            (true, &[Stuck(Some(7)), Free], None),
            (true, &[Stuck(None), Idle], None), // none of its steps waits
            (true, &[Idle], None),
            (false, &[Stuck(Some(7)), Idle, Stuck(Some(4))], None), // a timer, a file
        ] {
            assert_eq!(standing(waits, threads).stuck(), expected, "{waits} {threads:?}");
        }
    }

    #[test]
    fn it_takes_three_looks_once_the_loop_has_stood_still() {
        assert_eq!(looks(&two_stuck()), (vec![1000, 1100, 1200], true));
    }

    #[test]
    fn a_loop_that_something_may_wake_is_looked_at_less_and_less_often() {
        let (times, proved) = looks(&standing(true, &[Stuck(Some(7)), Free]));
        assert!(!proved);
        assert_eq!(times[..6], [1000, 1200, 1600, 2400, 4000, 7200]);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 10_000));
    }

    #[test]
    fn whatever_changes_begins_anew() {
        let mut deadlock = Deadlock::default();
        assert!(!deadlock.is_look_due(true, 2, 0));
        assert!(deadlock.is_look_due(true, 2, 1000 * MS));
        assert!(!deadlock.judge(&two_stuck(), 1000 * MS));
        assert!(!deadlock.judge(&two_stuck(), 1100 * MS));
        let other = standing(true, &[Stuck(Some(7)), Idle, Stuck(Some(9))]);
        assert!(!deadlock.judge(&other, 1200 * MS), "another step waits");
        assert!(!deadlock.judge(&other, 1300 * MS));
        assert!(!deadlock.is_look_due(true, 4, 1400 * MS), "a step has run");
        assert!(!deadlock.is_look_due(true, 4, 2399 * MS));
        assert!(!deadlock.is_look_due(false, 4, 2400 * MS), "the loop does something");
        assert!(!deadlock.is_look_due(true, 4, 2500 * MS));
        assert!(deadlock.is_look_due(true, 4, 3500 * MS));
        assert!(!deadlock.judge(&other, 3500 * MS), "what was found before is forgotten");
    }
}
