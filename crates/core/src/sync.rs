//! Atomics and locks, or loom's models of them.

#[cfg(loom)]
pub use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};
#[cfg(not(loom))]
pub use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

/// Puts a new value into a mutex, in a forked child. A thread of the parent may have held it at the fork, and holds it for ever
/// here: so it is replaced without being locked, and the old value is not dropped. The calling thread has to be the only one.
#[cfg(not(loom))]
pub fn replace_after_fork<T>(mutex: &Mutex<T>, value: T) {
    // SAFETY: this is the only thread of the process, and has no guard of this mutex, so nobody else refers to what is in it.
    // A mutex is changed through shared references by all who lock it: it lies in writable memory.
    unsafe { std::ptr::write((&raw const *mutex).cast_mut(), Mutex::new(value)) };
}

/// A model does not fork.
#[cfg(loom)]
pub fn replace_after_fork<T>(mutex: &Mutex<T>, value: T) {
    *lock(mutex) = value;
}

/// Locks a mutex; a panic of another holder does not make its data worse than it was.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
