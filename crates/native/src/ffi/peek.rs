//! A look at what a baton protects, by a thread that does not hold that baton but the GIL.

use everloop_core::guarded::Guarded;
use pyo3::prelude::*;

/// Runs `f` on the data behind a baton that this thread does not hold: to throw the data away, or to count it.
pub fn peek<T, R>(guarded: &Guarded<T>, _py: Python<'_>, f: impl FnOnce(&mut T) -> R) -> Option<R> {
    // SAFETY: only attached threads use `Guarded::with` in this crate, and its closures run no Python code: as we are
    // attached, nobody is inside. The same holds for `f`.
    unsafe { guarded.try_peek(f) }
}

/// As [`peek`], for a garbage collector's traversal, which runs on a thread that is attached.
pub fn peek_traverse<T>(guarded: &Guarded<T>, f: impl FnOnce(&mut T)) {
    // SAFETY: as in `peek`.
    unsafe { guarded.try_peek(f) };
}
