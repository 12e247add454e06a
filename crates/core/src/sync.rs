//! Atomics and locks, or loom's models of them.
//!
//! A lock has a rank: a thread that holds one may take only locks of a higher rank (`fork.rs` of the native crate says
//! which lock has which, and why). With debug assertions that is checked whenever a lock is taken; else nothing is left
//! of it.

#[cfg(loom)]
use loom::sync as base;
#[cfg(not(loom))]
use std::sync as base;

pub use base::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::ops::{Deref, DerefMut};

/// The ranks of locks, in the order in which they may be taken.
pub mod rank {
    /// The watchdog's list of loops.
    pub const WATCHDOG: u8 = 1;
    /// What the watchdog remembers of a loop.
    pub const SEEN: u8 = 2;
    /// The files of a loop.
    pub const FILES: u8 = 3;
    /// The queue of a baton.
    pub const BATON: u8 = 4;
    /// All others: no lock is taken under one of these.
    pub const LAST: u8 = 5;
}

/// A mutex with a rank, which [`lock`] locks.
#[derive(Debug, Default)]
pub struct Mutex<T, const RANK: u8 = { rank::LAST }>(base::Mutex<T>);

impl<T, const RANK: u8> Mutex<T, RANK> {
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self(base::Mutex::new(value))
    }

    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self(base::Mutex::new(value))
    }
}

/// The value of a mutex, which is locked as long as this is there.
pub struct MutexGuard<'a, T, const RANK: u8 = { rank::LAST }> {
    value: base::MutexGuard<'a, T>,
    #[cfg(all(debug_assertions, not(loom)))]
    _held: held::Held<RANK>,
}

impl<T, const RANK: u8> Deref for MutexGuard<'_, T, RANK> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T, const RANK: u8> DerefMut for MutexGuard<'_, T, RANK> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Locks a mutex; a panic of another holder does not make its data worse than it was.
#[inline]
pub fn lock<T, const RANK: u8>(mutex: &Mutex<T, RANK>) -> MutexGuard<'_, T, RANK> {
    #[cfg(all(debug_assertions, not(loom)))]
    let _held = held::Held::take();
    MutexGuard {
        value: mutex.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()),
        #[cfg(all(debug_assertions, not(loom)))]
        _held,
    }
}

/// Has `f` look at the value of a mutex, unless that is locked at this moment, by whomever. `f` takes no lock.
pub fn try_look<T, const RANK: u8>(mutex: &Mutex<T, RANK>, f: impl FnOnce(&T)) {
    if let Ok(value) = mutex.0.try_lock() {
        f(&value);
    }
}

/// The global lock is about to be waited for: this thread holds none of ours. Checked with debug assertions.
#[inline]
pub fn assert_unlocked() {
    #[cfg(all(debug_assertions, not(loom)))]
    held::assert_none();
}

/// Puts a new value into a mutex, in a forked child. A thread of the parent may have held it at the fork, and holds it
/// for ever here: so it is replaced without being locked, and the old value is not dropped. The calling thread has to
/// be the only one.
#[cfg(not(loom))]
pub fn replace_after_fork<T, const RANK: u8>(mutex: &Mutex<T, RANK>, value: T) {
    // SAFETY: this is the only thread of the process, and has no guard of this mutex, so nobody else refers to what is
    // in it. A mutex is changed through shared references by all who lock it: it lies in writable memory.
    unsafe { std::ptr::write((&raw const *mutex).cast_mut(), Mutex::new(value)) };
}

/// A model does not fork.
#[cfg(loom)]
pub fn replace_after_fork<T, const RANK: u8>(mutex: &Mutex<T, RANK>, value: T) {
    *lock(mutex) = value;
}

/// The locks that this thread holds: with debug assertions only. The threads of a model share one thread.
#[cfg(all(debug_assertions, not(loom)))]
mod held {
    use std::cell::Cell;

    thread_local! {
        /// A bit for each rank.
        static HELD: Cell<u8> = const { Cell::new(0) };
    }

    /// This thread holds a lock of this rank, or waits for it.
    pub struct Held<const RANK: u8>;

    impl<const RANK: u8> Held<RANK> {
        pub fn take() -> Self {
            let held = HELD.get();
            assert!(held >> RANK == 0, "a lock of rank {RANK} is taken under one of rank {}", held.ilog2());
            HELD.set(held | 1 << RANK);
            Self
        }
    }

    impl<const RANK: u8> Drop for Held<RANK> {
        fn drop(&mut self) {
            HELD.set(HELD.get() & !(1 << RANK));
        }
    }

    pub fn assert_none() {
        let held = HELD.get();
        assert!(held == 0, "a lock of rank {} is held where none may be", held.ilog2());
    }
}

#[cfg(all(test, debug_assertions, not(loom)))]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    static FIRST: Mutex<(), { rank::WATCHDOG }> = Mutex::new(());
    static LAST: Mutex<()> = Mutex::new(());
    static OTHER: Mutex<()> = Mutex::new(());

    #[test]
    fn locks_are_taken_in_the_order_of_their_ranks_and_let_go_of_in_any() {
        for _ in 0..2 {
            let first = lock(&FIRST);
            let last = lock(&LAST);
            drop(first);
            drop(last);
            assert_unlocked();
        }
    }

    #[test]
    fn a_lock_of_the_same_rank_or_a_lower_one_is_refused() {
        let last = lock(&LAST);
        assert!(catch_unwind(|| drop(lock(&OTHER))).is_err());
        assert!(catch_unwind(|| drop(lock(&FIRST))).is_err());
        assert!(catch_unwind(assert_unlocked).is_err());
        drop(last);
        drop(lock(&FIRST));
    }
}
