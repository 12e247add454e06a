//! Data that only the holder of the baton may touch.

use crate::baton::{Baton, ThreadId};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// A value behind a baton instead of a lock: the check is one load.
pub struct Guarded<T> {
    /// True while `with` is running. Written and read by the holder; read by [`try_peek`](Self::try_peek).
    busy: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives access to one thread at a time, the holder, and the baton's SeqCst transitions order one
// holder's accesses before the next one's.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub fn new(value: T) -> Self {
        Self { busy: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `f` on the value if thread `id`, which must be the calling one, holds `baton`.
    ///
    /// `f` must not run foreign code: nobody may take the baton from a thread that is inside.
    ///
    /// # Panics
    /// If `f` comes back here.
    #[inline]
    pub fn with<R>(&self, baton: &Baton, id: ThreadId, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if !baton.is_held_by(id) {
            return None;
        }
        assert!(!self.busy.load(Ordering::Relaxed), "the loop's queues are in use by their own caller");
        self.busy.store(true, Ordering::Relaxed);
        // SAFETY: this thread holds the baton and `busy` was false, so no other reference exists.
        let result = f(unsafe { &mut *self.value.get() });
        self.busy.store(false, Ordering::Relaxed);
        Some(result)
    }

    /// The value, for somebody who does not hold the baton.
    ///
    /// # Safety
    /// No thread may be inside `with` until `f` has returned.
    pub unsafe fn try_peek<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.busy.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the caller's promise.
        Some(f(unsafe { &mut *self.value.get() }))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::baton::Waiter;

    #[test]
    fn only_the_holder_gets_in() {
        let (baton, guarded) = (Baton::default(), Guarded::new(0));
        let me = Waiter::new(ThreadId::MIN);
        assert_eq!(guarded.with(&baton, me.id(), |value| *value += 1), None);
        assert!(baton.enter(&me));
        assert_eq!(guarded.with(&baton, me.id(), |value| *value), Some(0));
        baton.leave(&me);
        assert_eq!(guarded.with(&baton, me.id(), |value| *value), None);
    }
}
