//! The parts of everloop that know nothing of Python.
//!
//! Reading order: [`turn`] (what a loop does, without a clock or a system call), [`ready`] and [`timers`] (what it is made
//! of), [`registry`], [`descriptor`] and [`poll`] (files), [`write_queue`] (what a file could not take yet), [`waker`] (other threads),
//! [`baton`] (who may run it), [`heartbeat`] (what it lets others see), [`doze`] (how the one that looks sleeps).

pub mod baton;
pub mod descriptor;
pub mod doze;
pub mod guarded;
pub mod heartbeat;
pub mod parker;
pub mod poll;
pub mod ready;
pub mod registry;
pub mod spot;
pub mod timers;
pub mod turn;
pub mod waker;
pub mod write_queue;

/// Atomics and locks, or loom's models of them.
mod sync {
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

    /// Locks a mutex; a panic of another holder does not make its data worse than it was.
    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
