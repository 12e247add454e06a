//! How the watchdog sleeps while every loop does, and is woken by the first that has something to do.

use crate::sync::{AtomicBool, Ordering, fence};
use crate::wait::parker::{Parker, Wake};
use std::time::Duration;

/// One sleeper, woken by anybody. Waking one that is awake costs a fence and a load.
#[derive(Debug)]
pub struct Doze {
    /// Whether the sleeper has lain down. Written by it, cleared by whoever wakes it.
    asleep: AtomicBool,
    parker: Parker,
}

impl Default for Doze {
    fn default() -> Self {
        Self { asleep: AtomicBool::new(false), parker: Parker::default() }
    }
}

impl Doze {
    /// A thread has the baton of a loop whose poll was left, by itself or by somebody it took the baton from. Call it
    /// after that, not before: the sleeper looks at the batons once more when it has lain down.
    #[inline]
    pub fn rouse(&self) {
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

    /// Sleeps until somebody wakes this thread, or the time is up, if there is `nothing_to_do` still when it has lain down.
    pub fn sleep_while(&self, timeout: Option<Duration>, nothing_to_do: impl Fn() -> bool) -> Wake {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst); // lie down | look at the batons
        let wake = if nothing_to_do() { self.parker.park(timeout) } else { Wake::Unparked };
        self.asleep.store(false, Ordering::SeqCst);
        wake
    }

    pub fn parker(&self) -> &Parker {
        &self.parker
    }

    /// In a forked child there is no sleeper.
    pub fn after_fork(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}
