//! A place for one thread to sleep: one word, and the kernel's queue for it.

use super::clock::timespec;
use crate::sys::wake::Wake;
use rustix::io::Errno;
use rustix::thread::futex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// 1 = a wake-up is waiting to be taken. Written by both sides with SeqCst, since what was written before `unpark` must
/// be seen after `park`.
#[derive(Debug, Default)]
pub struct Park(AtomicU32);

impl Park {
    /// True if the next [`park`](Self::park) returns at once.
    pub fn is_unparked(&self) -> bool {
        self.0.load(Ordering::Acquire) == 1
    }

    /// Sleeps until [`unpark`](Self::unpark), a signal, or the end of `timeout`.
    pub fn park(&self, timeout: Option<Duration>) -> Wake {
        if self.0.swap(0, Ordering::SeqCst) == 1 {
            return Wake::Unparked;
        }
        let timeout = timeout.map(timespec);
        let outcome = futex::wait(&self.0, futex::Flags::PRIVATE, 0, timeout.as_ref());
        if self.0.swap(0, Ordering::SeqCst) == 1 {
            return Wake::Unparked;
        }
        match outcome {
            Err(Errno::TIMEDOUT) => Wake::TimedOut,
            _ => Wake::Interrupted,
        }
    }

    /// Wakes the sleeper, or lets its next [`park`](Self::park) return at once.
    pub fn unpark(&self) {
        if self.0.swap(1, Ordering::SeqCst) == 0 {
            // The only errors of a wake are bad addresses and flags, which are constants here.
            let _ = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
        }
    }
}
