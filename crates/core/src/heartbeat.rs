//! The heartbeat of a loop, which its watchdog reads: a counter in a cache line of its own.
//!
//! The holder of the baton writes it with plain stores, twice per step; the watchdog reads it and is the only one to
//! look at a clock (a clock read costs some sixty times more than a store). The counter is odd inside a step and even
//! between two, so one load tells both which step it is and whether it still runs.

use crate::sync::{AtomicBool, AtomicU64, Ordering};

#[repr(align(64))]
#[derive(Debug)]
pub struct Heartbeat {
    /// Written by the holder of the baton, and by whoever takes the baton from a blocked one. Relaxed: the watchdog
    /// only compares it with what it saw before, and takes the global lock (see [`wait`](crate::wait)) before it acts.
    tick: AtomicU64,
    /// True if the watchdog has looked since the holder cleared this: the holder looks at files and at the clock again,
    /// at the latest now.
    looked: AtomicBool,
    /// True if somebody has asked whose step runs, who cannot look it up: the holder tells that when the step has ended.
    asked: AtomicBool,
    /// The time at which the loop last lay down to sleep. Written by the holder, which has just looked at the clock.
    slept: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            tick: AtomicU64::new(0),
            looked: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            slept: AtomicU64::new(0),
        }
    }
}

impl Heartbeat {
    /// The holder begins a step.
    #[inline]
    pub fn begin_step(&self) {
        self.tick.store((self.tick.load(Ordering::Relaxed) + 1) | 1, Ordering::Relaxed);
    }

    /// The holder's step ended.
    #[inline]
    pub fn end_step(&self) {
        self.tick.store((self.tick.load(Ordering::Relaxed) | 1) + 1, Ordering::Relaxed);
    }

    /// The counter as it stands: odd inside a step.
    pub fn tick(&self) -> u64 {
        self.tick.load(Ordering::Relaxed)
    }

    /// The number of steps that have begun.
    pub fn steps(&self) -> u64 {
        self.tick().div_ceil(2)
    }

    /// The loop lies down to sleep.
    pub fn lie_down(&self, now: u64) {
        self.slept.store(now, Ordering::Relaxed);
    }

    /// The time at which the loop last lay down to sleep: every step that began before has ended by then.
    pub fn slept(&self) -> u64 {
        self.slept.load(Ordering::Relaxed)
    }

    /// Somebody asks whose step runs.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// True if somebody has asked whose step runs, or ran, since the last call.
    #[inline]
    pub fn take_question(&self) -> bool {
        take(&self.asked)
    }

    /// The watchdog has looked.
    pub fn note_look(&self) {
        self.looked.store(true, Ordering::Relaxed);
    }

    /// True if the watchdog has looked since the last call.
    #[inline]
    pub fn take_look(&self) -> bool {
        take(&self.looked)
    }
}

/// True if this was set, and then it is no more. The holder alone clears it, so a load does where it is not set.
#[inline]
fn take(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed) && {
        flag.store(false, Ordering::Relaxed);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_tick_is_odd_inside_a_step_and_never_repeats() {
        let heart = Heartbeat::default();
        assert_eq!(heart.tick() % 2, 0);
        heart.begin_step();
        let first = heart.tick();
        heart.end_step();
        heart.begin_step();
        assert!(first % 2 == 1 && heart.tick() % 2 == 1 && heart.tick() > first);
        assert_eq!(heart.steps(), 2);
    }

    #[test]
    fn a_step_resumed_after_others_ran_still_ends_even() {
        let heart = Heartbeat::default();
        heart.begin_step();
        heart.begin_step();
        assert_eq!(heart.tick() % 2, 1);
        heart.end_step();
        assert_eq!(heart.tick() % 2, 0);
    }
}
