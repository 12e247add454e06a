//! A place where one thread sleeps until another wakes it.
//!
//! Like `std::thread::park`, with two differences: a signal ends the sleep (the thread may be the interpreter's main
//! thread, whose signal handlers are Python code), and the token belongs to the place, not to the thread.

use std::time::{Duration, Instant};

/// Stays awake until `done` says so, for `limit` at the most: for what is expected at once, since being woken costs more
/// than a short wait (5 to 50 microseconds, by how deep the processor sleeps).
pub fn stay_awake(limit: Duration, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() && begin.elapsed() < limit {
        std::thread::yield_now(); // the one who is waited for may need this processor
    }
}

/// Why [`Parker::park`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody called [`Parker::unpark`].
    Unparked,
    /// The time was up.
    TimedOut,
    /// A signal arrived, or the platform cannot tell; look at the condition again.
    Interrupted,
}

#[cfg(all(not(loom), target_os = "linux"))]
mod system {
    use super::{Duration, Wake, stay_awake};
    use rustix::thread::futex;
    use rustix::time::Timespec;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// How long `park_briefly` stays awake: about what it costs to be woken.
    const SPIN: Duration = Duration::from_micros(20);

    /// 1 = a wake-up is waiting to be taken. Written by both sides with SeqCst, since what was written before `unpark`
    /// must be seen after `park`.
    #[derive(Debug, Default)]
    pub struct Parker(AtomicU32);

    impl Parker {
        /// As [`park`](Self::park), for a wake-up that is expected at once: stays awake for a moment first.
        pub fn park_briefly(&self, timeout: Option<Duration>) -> Wake {
            stay_awake(SPIN, || self.is_unparked());
            self.park(timeout)
        }

        /// Whether the next [`park`](Self::park) would return at once.
        pub fn is_unparked(&self) -> bool {
            self.0.load(Ordering::Acquire) == 1
        }

        /// Sleeps until [`unpark`](Self::unpark), a signal, or the end of `timeout`.
        pub fn park(&self, timeout: Option<Duration>) -> Wake {
            if self.0.swap(0, Ordering::SeqCst) == 1 {
                return Wake::Unparked;
            }
            let timeout = timeout.map(|t| Timespec {
                tv_sec: t.as_secs().min(i64::MAX as u64) as i64,
                tv_nsec: i64::from(t.subsec_nanos()),
            });
            let outcome = futex::wait(&self.0, futex::Flags::PRIVATE, 0, timeout.as_ref());
            if self.0.swap(0, Ordering::SeqCst) == 1 {
                return Wake::Unparked;
            }
            match outcome {
                Err(rustix::io::Errno::TIMEDOUT) => Wake::TimedOut,
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
}

#[cfg(any(loom, not(target_os = "linux")))]
mod system {
    use super::{Duration, Wake};
    #[cfg(loom)]
    use loom::sync::{Condvar, Mutex};
    #[cfg(not(loom))]
    use std::sync::{Condvar, Mutex};

    /// How often a sleeper looks for signals where the platform's wait hides them.
    #[cfg(not(loom))]
    const SIGNAL_CHECK: Duration = Duration::from_millis(50);

    #[derive(Debug, Default)]
    pub struct Parker {
        token: Mutex<bool>,
        changed: Condvar,
    }

    impl Parker {
        /// As [`park`](Self::park): the lock of a condition variable has its own short wait.
        pub fn park_briefly(&self, timeout: Option<Duration>) -> Wake {
            self.park(timeout)
        }

        /// Whether the next [`park`](Self::park) would return at once.
        pub fn is_unparked(&self) -> bool {
            *crate::sync::lock(&self.token)
        }

        /// Sleeps until [`unpark`](Self::unpark), a signal, or the end of `timeout`.
        pub fn park(&self, timeout: Option<Duration>) -> Wake {
            let mut token = crate::sync::lock(&self.token);
            #[cfg(loom)]
            {
                // A model has no clock: no time at all is up at once, and any other never.
                if timeout == Some(Duration::ZERO) && !*token {
                    return Wake::TimedOut;
                }
                while !*token {
                    token = self.changed.wait(token).expect("loom mutexes are not poisoned");
                }
                *token = false;
                Wake::Unparked
            }
            #[cfg(not(loom))]
            {
                let mut interrupted = Wake::TimedOut;
                if !*token {
                    let slice = timeout.map_or(SIGNAL_CHECK, |t| t.min(SIGNAL_CHECK));
                    if slice != timeout.unwrap_or(Duration::MAX) {
                        interrupted = Wake::Interrupted;
                    }
                    token = self.changed.wait_timeout(token, slice).unwrap_or_else(|p| p.into_inner()).0;
                }
                if std::mem::take(&mut *token) { Wake::Unparked } else { interrupted }
            }
        }

        /// Wakes the sleeper, or lets its next [`park`](Self::park) return at once.
        pub fn unpark(&self) {
            *crate::sync::lock(&self.token) = true;
            self.changed.notify_one();
        }
    }
}

pub use system::Parker;

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
