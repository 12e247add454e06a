//! The model that loom runs in place of a platform: a place for one thread to sleep.

use super::wake::Wake;
use loom::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Park {
    token: Mutex<bool>,
    changed: Condvar,
}

impl Park {
    fn token(&self) -> MutexGuard<'_, bool> {
        self.token.lock().expect("loom mutexes are not poisoned")
    }

    /// True if the next [`park`](Self::park) returns at once.
    pub fn is_unparked(&self) -> bool {
        *self.token()
    }

    /// Sleeps until [`unpark`](Self::unpark). A model has no clock: a time-out of zero ends at once,
    /// and any other never.
    pub fn park(&self, timeout: Option<Duration>) -> Wake {
        let mut token = self.token();
        if timeout == Some(Duration::ZERO) && !*token {
            return Wake::TimedOut;
        }
        while !*token {
            token = self.changed.wait(token).expect("loom mutexes are not poisoned");
        }
        *token = false;
        Wake::Unparked
    }

    /// Wakes the sleeper, or lets its next [`park`](Self::park) return at once.
    pub fn unpark(&self) {
        *self.token() = true;
        self.changed.notify_one();
    }
}
