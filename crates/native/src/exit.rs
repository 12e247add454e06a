//! The interpreter's end: who begins it, and from when on no step is handed to another thread any more.

use crate::ffi::thread_ident;
use std::sync::atomic::{AtomicU64, Ordering};

/// The thread that ends the interpreter, 0 before. Written by `begin`, read by whoever would start something new.
static ENDING: AtomicU64 = AtomicU64::new(0);

/// The calling thread ends the interpreter.
pub fn begin() {
    ENDING.store(thread_ident(), Ordering::SeqCst);
}

/// True if another thread ends the interpreter.
pub fn is_exiting() -> bool {
    let ending = ENDING.load(Ordering::SeqCst);
    ending != 0 && ending != thread_ident()
}

/// True if any thread, this one too, ends the interpreter: then no step is handed to another thread.
pub fn has_begun() -> bool {
    ENDING.load(Ordering::SeqCst) != 0
}

/// In a forked child nobody is ending the interpreter.
pub fn after_fork() {
    ENDING.store(0, Ordering::SeqCst);
}
