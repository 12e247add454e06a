//! The interpreter's end.
//!
//! Once it has begun to finalize, a thread that asks for the GIL never gets it: up to CPython 3.13 it is ended on the spot,
//! through frames that cannot be unwound. So threads of ours that sleep without the GIL, and learn that the end has
//! come, sleep on.

use crate::ffi::thread_ident;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The thread that ends the interpreter, 0 before. Written by `begin`, read by every thread before it attaches again.
static ENDING: AtomicU64 = AtomicU64::new(0);

/// The calling thread ends the interpreter.
pub fn begin() {
    ENDING.store(thread_ident(), Ordering::SeqCst);
}

/// Whether another thread ends the interpreter.
pub fn is_exiting() -> bool {
    let ending = ENDING.load(Ordering::SeqCst);
    ending != 0 && ending != thread_ident()
}

/// Whether any thread does: none takes over from another then.
pub fn has_begun() -> bool {
    ENDING.load(Ordering::SeqCst) != 0
}

/// Lets this thread go on to take the GIL, unless there will be none: then it sleeps until the process is gone.
pub fn gate() {
    while is_exiting() {
        std::thread::park();
    }
}

/// Waits for threads that are at work to come to rest, for a second at the most. Without the GIL, which they need.
pub fn wait_until(all_rest: impl Fn() -> bool) {
    let begin = Instant::now();
    while !all_rest() && begin.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// In a forked child nobody is ending the interpreter.
pub fn after_fork() {
    ENDING.store(0, Ordering::SeqCst);
}
