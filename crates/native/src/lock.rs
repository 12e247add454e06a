//! Mutexes whose holders may panic.

use std::sync::{Mutex, MutexGuard};

/// Locks a mutex; a panic of another holder does not make its data worse than it was.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
