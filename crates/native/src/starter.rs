//! Starts Python threads on behalf of the watchdog.
//!
//! `threading.Thread.start` is Python code, and waits for the new thread to run. Whoever looks after blocked steps can
//! do neither. So it starts a short-lived thread of the system, which takes the GIL and starts the one that is wanted.
//!
//! **Who may touch what.** [`start_elsewhere`] may be called with the GIL or without it. What it is given runs with the
//! GIL on the short-lived thread, where Python code may run, but at some later time: so it keeps no loop alive
//! (`relief.rs` has a weak reference).
//!
//! **The races.** Nobody waits for the short-lived thread, and nobody is told that it got nowhere. Who ordered a thread
//! keeps a mark that one is on its way (`spawning` of a loop, `written` of the outbox); what was ordered takes the mark
//! away if it fails.
//! - *The loop is closed meanwhile.* Its weak reference tells that it is gone, or the new thread finds it closed, and
//!   ends.
//! - *The interpreter ends.* Nothing is started any more, and the mark stays: whoever would wait for the thread has a
//!   time-out. A thread that asks for the GIL too late sleeps on (`ffi/ended.rs`).
//! - *A fork.* The child does not have the thread, so all marks are taken away there.
//! - *The system refuses the thread.* The caller gets the error at once, takes the mark away, and tells.
//!
//! **What was tried.** To start the thread from the watchdog by `_thread` alone: that needs private names of
//! `threading`, and audit hooks would run on the watchdog's thread. To let debuggers see the short-lived thread: they
//! made a dummy thread of it, which complained at exit (`ffi::untraced`).
//!
//! **What would change this.** A way to start a `threading.Thread` that runs no Python code on the thread that asks for
//! it.

use crate::exit;
use crate::ffi;
use pyo3::prelude::*;
use std::io;

/// Has `start` run on a thread of its own.
pub fn start_elsewhere(start: impl FnOnce(Python<'_>) + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("everloop-start".to_owned());
    thread.spawn(move || {
        // Nobody waits for this thread: an interpreter that ends must not find it at work.
        if !exit::is_exiting() {
            ffi::attach_quietly(|py| ffi::untraced(py, || start(py)));
        }
    })?;
    Ok(())
}
