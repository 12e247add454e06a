//! RAISE events of all code, up to CPython 3.14: an exception that leaves the blocked frame.
//!
//! A call that fails leaves its frame without another instruction, if nobody handles the error there. From 3.15 on a
//! code object can have RAISE events of its own; before, they exist for all code at once, and exceptions of all threads
//! are somewhat slower while they are on. A step that has no Python code of its own needs them for all code on every
//! version.

use super::tool::Tool;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of users that need RAISE events of all code. Changed and read with the GIL.
static USERS: AtomicUsize = AtomicUsize::new(0);

/// One more user needs the events, and has to call [`close`], also where this fails.
pub fn open(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    if USERS.fetch_add(1, Ordering::Relaxed) == 0 { tool.set_everywhere(py, tool.raise) } else { Ok(()) }
}

/// One of the users needs the events no more.
pub fn close(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    if USERS.fetch_sub(1, Ordering::Relaxed) == 1 { tool.set_everywhere(py, 0) } else { Ok(()) }
}

/// In a forked child: nobody needs the events.
pub fn after_fork(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    if USERS.swap(0, Ordering::Relaxed) > 0 { tool.set_everywhere(py, 0) } else { Ok(()) }
}
