//! Starts Python threads on behalf of the watchdog.
//!
//! `threading.Thread.start` is Python code, and waits for the new thread to run. Whoever looks after blocked steps can do
//! neither. So it starts a short-lived thread of the system, which takes the GIL and starts the one that is wanted.

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
