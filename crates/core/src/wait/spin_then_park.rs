//! Where a thread waits, without the GIL, for another one that has it.
//!
//! Being woken costs more than all else of a call that crosses threads, so a thread whose last wait was short stays awake
//! for a moment before it sleeps. A thread that is told while the other one still has the GIL would fall asleep again, to
//! wait for that: as long as it is awake it waits for the GIL to be let go of as well.

use crate::wait::parker::{Parker, Wake, stay_awake};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a thread stays awake: long enough for another one to be woken and to answer.
pub const AWAKE: Duration = Duration::from_micros(100);
/// A short wait: two threads were woken once each, and little was done in between.
const SHORT: Duration = Duration::from_micros(200);
/// How many waits are slept through after one for which a thread stayed awake in vain.
const LESSON: u32 = 16;

/// How often threads have let go of the GIL, of those that say so: the ones that wait at spots, and those that turn loops.
static LETTING_GO: AtomicU64 = AtomicU64::new(0);

/// The calling thread has just let go of the GIL.
pub fn note_free_gil() {
    LETTING_GO.fetch_add(1, Ordering::Release);
}

/// A moment, as far as letting go of the GIL is concerned.
#[derive(Default)]
pub struct Moment(AtomicU64);

impl Moment {
    /// Notes that the calling thread has the GIL now.
    pub fn note(&self) {
        self.0.store(LETTING_GO.load(Ordering::Acquire), Ordering::Release);
    }

    /// Whether the GIL has been let go of since.
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) != LETTING_GO.load(Ordering::Acquire)
    }
}

/// What a thread has learned from its last waits.
#[derive(Clone, Copy, Default)]
pub struct Habit {
    last_was_short: bool,
    sleeps_left: u32,
}

impl Habit {
    /// Whether to stay awake for the wait that begins.
    pub fn stays_awake(&mut self) -> bool {
        if self.sleeps_left > 0 {
            self.sleeps_left -= 1;
            return false;
        }
        self.last_was_short
    }

    /// A wait that took so long was ended by another thread, or not.
    pub fn learn(&mut self, stayed_awake: bool, took: Duration, by_thread: bool) {
        self.last_was_short = by_thread && took < SHORT;
        if stayed_awake && took >= AWAKE {
            self.sleeps_left = LESSON;
        }
    }
}

thread_local! {
    /// Of this thread's waits at spots.
    static HABIT: Cell<Habit> = const { Cell::new(Habit { last_was_short: false, sleeps_left: 0 }) };
}

#[derive(Default)]
pub struct Spot {
    parker: Parker,
    /// Of the last `rouse`.
    roused: Moment,
}

impl Spot {
    /// Ends the wait of now, or else the next one. By a thread that has the GIL.
    pub fn rouse(&self) {
        self.roused.note();
        self.parker.unpark();
    }

    /// Waits to be roused. By a thread that has just let go of the GIL.
    pub fn wait(&self, timeout: Option<Duration>) -> Wake {
        note_free_gil();
        let begin = Instant::now();
        let mut habit = HABIT.get();
        let stays_awake = habit.stays_awake();
        if stays_awake {
            stay_awake(timeout.map_or(AWAKE, |t| t.min(AWAKE)), || self.parker.is_unparked() && self.roused.is_over());
        }
        let wake = self.parker.park(timeout.map(|t| t.saturating_sub(begin.elapsed())));
        habit.learn(stays_awake, begin.elapsed(), wake == Wake::Unparked);
        HABIT.set(habit);
        wake
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    const QUICK: Duration = Duration::from_micros(30);

    #[test]
    fn short_waits_that_threads_end_keep_a_thread_awake() {
        let mut habit = Habit::default();
        assert!(!habit.stays_awake(), "nothing is known yet");
        habit.learn(false, SHORT / 2, true);
        assert!(habit.stays_awake());
        habit.learn(true, QUICK, true);
        assert!(habit.stays_awake());
        habit.learn(true, QUICK, false);
        assert!(!habit.stays_awake(), "a file or a timer ended it");
        habit.learn(false, SHORT, true);
        assert!(!habit.stays_awake(), "it took too long");
    }

    #[test]
    fn who_stayed_awake_in_vain_sleeps_for_a_while() {
        let mut habit = Habit::default();
        habit.learn(false, QUICK, true);
        assert!(habit.stays_awake());
        habit.learn(true, AWAKE, true);
        for _ in 0..LESSON {
            assert!(!habit.stays_awake());
            habit.learn(false, AWAKE, true);
        }
        assert!(habit.stays_awake());
    }

    #[test]
    fn a_moment_is_over_once_somebody_lets_go() {
        let moment = Moment::default();
        moment.note();
        note_free_gil();
        assert!(moment.is_over());
    }

    #[test]
    fn a_wait_ends_when_it_is_told_whether_the_thread_is_awake_or_asleep() {
        let spots: [Arc<Spot>; 2] = Default::default();
        let other = spots.clone();
        let thread = std::thread::spawn(move || {
            for _ in 0..1000 {
                while other[0].wait(None) != Wake::Unparked {}
                other[1].rouse();
            }
        });
        for _ in 0..1000 {
            spots[0].rouse();
            while spots[1].wait(None) != Wake::Unparked {}
        }
        thread.join().expect("it only waits");
        assert_eq!(spots[0].wait(Some(Duration::ZERO)), Wake::TimedOut);
    }
}
