//! A place where one thread sleeps until another wakes it.
//!
//! Like `std::thread::park`, with two differences: a signal ends the sleep (the thread may be the one whose signal
//! handlers are the program's), and the wake-up belongs to the place, not to the thread.

#[cfg(not(loom))]
use super::adaptive_spin::spin;
use crate::sys::{Park, Wake};
use std::time::Duration;

/// The time that [`Parker::park_briefly`] spins: about as long as it takes to be woken.
#[cfg(not(loom))]
const BRIEF_SPIN: Duration = Duration::from_micros(20);

#[derive(Debug, Default)]
pub struct Parker(Park);

impl Parker {
    /// Sleeps until [`unpark`](Self::unpark), a signal, or the end of `timeout`.
    pub fn park(&self, timeout: Option<Duration>) -> Wake {
        self.0.park(timeout)
    }

    /// As [`park`](Self::park), for a wake-up that is expected at once: spins first.
    pub fn park_briefly(&self, timeout: Option<Duration>) -> Wake {
        // A model has no clock to spin by.
        #[cfg(not(loom))]
        spin(BRIEF_SPIN, || self.is_unparked());
        self.park(timeout)
    }

    /// True if the next [`park`](Self::park) returns at once.
    pub fn is_unparked(&self) -> bool {
        self.0.is_unparked()
    }

    /// Wakes the sleeper, or lets its next [`park`](Self::park) return at once.
    pub fn unpark(&self) {
        self.0.unpark();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn an_unpark_before_the_park_is_not_lost() {
        let parker = Parker::default();
        parker.unpark();
        parker.unpark();
        assert_eq!(parker.park(None), Wake::Unparked);
        assert_eq!(parker.park(Some(Duration::ZERO)), Wake::TimedOut);
    }

    #[test]
    fn another_thread_wakes_the_sleeper() {
        let parker = Arc::new(Parker::default());
        let other = Arc::clone(&parker);
        let thread = std::thread::spawn(move || other.unpark());
        while parker.park(None) != Wake::Unparked {}
        thread.join().expect("the thread only unparks");
    }
}
