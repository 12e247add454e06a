//! Events of all code, for what a step that is aside may come to outside of its own code. All threads pass these gates,
//! so each is open only while some step needs it.
//!
//! - [`Event::Start`]: a frame begins, or goes on in a generator. A C function that blocks may call Python afterwards,
//!   or in between: a callback of a database driver, the function of a `map`. No instruction of the blocked frame comes
//!   before that. Not needed for C functions of which it is known that they call none (`leaves.rs`), which are most.
//!   While it is set, calls of Python functions that do next to nothing take twice as long; code that does something
//!   with what it calls hardly notices (CPython 3.12 to 3.15).
//! - [`Event::Raise`]: an exception leaves the blocked frame without another instruction. From CPython 3.15 on a code
//!   object can have RAISE events of its own; a step that has no Python code of its own needs them for all on every
//!   version.
//!
//! **What was tried.** A frame evaluator (PEP 523) in place of `Start`: it cost others twice the time for each call,
//! and a piece of the C stack; and two tools that each set one cannot be taken away in any order.

use super::tool::Tool;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all code is to tell of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Start,
    Raise,
}

/// The numbers of users that need each event. Changed and read with the GIL.
static STARTS: AtomicUsize = AtomicUsize::new(0);
static RAISES: AtomicUsize = AtomicUsize::new(0);

fn users(event: Event) -> &'static AtomicUsize {
    match event {
        Event::Start => &STARTS,
        Event::Raise => &RAISES,
    }
}

/// Sets the events that somebody needs now.
fn apply(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let wanted = |event, number| if users(event).load(Ordering::Relaxed) > 0 { number } else { 0 };
    tool.set_everywhere(py, wanted(Event::Start, tool.starts) | wanted(Event::Raise, tool.raise))
}

/// One more user needs an event, and has to call [`close`], also where this fails.
pub fn open(py: Python<'_>, tool: &Tool, event: Event) -> PyResult<()> {
    if users(event).fetch_add(1, Ordering::Relaxed) == 0 { apply(py, tool) } else { Ok(()) }
}

/// One of the users needs an event no more.
pub fn close(py: Python<'_>, tool: &Tool, event: Event) -> PyResult<()> {
    if users(event).fetch_sub(1, Ordering::Relaxed) == 1 { apply(py, tool) } else { Ok(()) }
}

/// In a forked child: nobody needs any.
pub fn after_fork(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let before = STARTS.swap(0, Ordering::Relaxed) + RAISES.swap(0, Ordering::Relaxed);
    if before > 0 { apply(py, tool) } else { Ok(()) }
}
