//! Staying awake for what is expected at once, and learning when that is worth it.
//!
//! Being woken costs more than all else of a call that crosses threads (5 to 50 microseconds, by how deep the processor
//! sleeps). So a thread whose last wait was short spins before it sleeps. Measured, an idle machine, one round trip to
//! a thread and back: 130 microseconds asleep, 23 awake. A thread that has spun in vain sleeps through its next waits:
//! on a machine without idle processors, spinning takes time from the one who is waited for.

use crate::sys;
use std::time::Duration;

/// The time that a thread spins: long enough for another one to be woken and to answer.
pub const SPIN: Duration = Duration::from_micros(100);
/// A wait below this is short: two threads were woken once each, and little was done in between.
const SHORT: Duration = Duration::from_micros(200);
/// The number of waits that are slept through after a thread has spun in vain.
const LESSON: u32 = 16;

/// Spins until `done` says so, for `limit` at the most.
pub fn spin(limit: Duration, mut done: impl FnMut() -> bool) {
    let begin = sys::now();
    while !done() && u128::from(sys::now() - begin) < limit.as_nanos() {
        std::thread::yield_now(); // the one who is waited for may need this processor
    }
}

/// The adaptive spin of a thread, learned from its last waits.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveSpin {
    last_was_short: bool,
    sleeps_left: u32,
}

impl Default for AdaptiveSpin {
    fn default() -> Self {
        Self::new()
    }
}

impl AdaptiveSpin {
    pub const fn new() -> Self {
        Self { last_was_short: false, sleeps_left: 0 }
    }

    /// True if the wait that begins should be spun for.
    pub fn spins(&mut self) -> bool {
        if self.sleeps_left > 0 {
            self.sleeps_left -= 1;
            return false;
        }
        self.last_was_short
    }

    /// Takes note of a wait: it took so long, and was ended by another thread, or not.
    pub fn learn(&mut self, spun: bool, took: Duration, by_thread: bool) {
        self.last_was_short = by_thread && took < SHORT;
        if spun && took >= SPIN {
            self.sleeps_left = LESSON;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(30);

    #[test]
    fn short_waits_that_threads_end_keep_a_thread_awake() {
        let mut habit = AdaptiveSpin::new();
        assert!(!habit.spins(), "nothing is known yet");
        habit.learn(false, SHORT / 2, true);
        assert!(habit.spins());
        habit.learn(true, QUICK, true);
        assert!(habit.spins());
        habit.learn(true, QUICK, false);
        assert!(!habit.spins(), "a file or a timer ended it");
        habit.learn(false, SHORT, true);
        assert!(!habit.spins(), "it took too long");
    }

    #[test]
    fn who_spun_in_vain_sleeps_for_a_while() {
        let mut habit = AdaptiveSpin::new();
        habit.learn(false, QUICK, true);
        assert!(habit.spins());
        habit.learn(true, SPIN, true);
        for _ in 0..LESSON {
            assert!(!habit.spins());
            habit.learn(false, SPIN, true);
        }
        assert!(habit.spins());
    }

    #[test]
    fn a_spin_ends_as_soon_as_it_is_done_and_at_its_limit() {
        let mut asked = 0;
        spin(Duration::MAX, || {
            asked += 1;
            asked == 3
        });
        assert_eq!(asked, 3);
        spin(Duration::ZERO, || {
            asked += 1;
            false
        });
        assert_eq!(asked, 4);
    }
}
