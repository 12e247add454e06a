//! The sleep of the watchdog while every loop sleeps. The first loop that has something to do ends it.
//!
//! Threads that take a baton call [`IdleSleep::wake_if_asleep`], often, and nearly always find it awake: that costs a
//! fence and a load. The race: a thread leaves the poll while the sleeper, which saw it there, lies down. Each of the
//! two writes, passes a fence and then reads what the other wrote, so one of them sees the other
//! (`tests/loom_baton/`).

use super::parker::Parker;
use crate::sync::{AtomicBool, Ordering, fence};
use crate::sys::Wake;
use std::time::Duration;

/// One sleeper, woken by anybody.
#[derive(Debug)]
pub struct IdleSleep {
    /// True if the sleeper has lain down. Written by it, cleared by whoever wakes it.
    asleep: AtomicBool,
    parker: Parker,
}

impl Default for IdleSleep {
    fn default() -> Self {
        Self { asleep: AtomicBool::new(false), parker: Parker::default() }
    }
}

impl IdleSleep {
    /// Called by a thread that has got the baton of a loop whose poll was left, by this thread or by the one that it
    /// took the baton from. It must be called after the poll was left, not before: the sleeper looks at the batons once
    /// more when it has lain down.
    #[inline]
    pub fn wake_if_asleep(&self) {
        fence(Ordering::SeqCst); // leave the poll | look whether the sleeper has lain down
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            self.parker.unpark();
        }
    }

    /// Wakes the sleeper, however it sleeps.
    pub fn wake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        self.parker.unpark();
    }

    /// Sleeps until somebody wakes this thread, or the time is up, if there is `nothing_to_do` still when it has lain
    /// down.
    pub fn sleep_while(&self, timeout: Option<Duration>, nothing_to_do: impl Fn() -> bool) -> Wake {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst); // lie down | look at the batons
        let wake = if nothing_to_do() { self.parker.park(timeout) } else { Wake::Unparked };
        self.asleep.store(false, Ordering::SeqCst);
        wake
    }

    /// Sleeps for a while, whatever the loops do: only [`wake`](Self::wake) ends it.
    pub fn sleep(&self, time: Duration) {
        self.parker.park(Some(time));
    }

    /// In a forked child there is no sleeper.
    pub fn after_fork(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}
