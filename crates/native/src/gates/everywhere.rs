//! Events of all code, for what a step that is aside may come to outside of its own code. All threads pass these gates,
//! so each is open only while some step needs it.
//!
//! - [`Event::Start`]: a frame begins, or goes on in a generator. A C function that blocks may call Python afterwards,
//!   or in between: a callback of a database driver, the function of a `map`. No instruction of the blocked frame comes
//!   before that. Not needed for C functions of which it is known that they call none (`leaves.rs`), which are most.
//!   While it is set, calls of Python functions that do next to nothing take twice as long; code that does something
//!   with what it calls hardly notices (CPython 3.12 to 3.15). To set it or take it back costs more: every function is
//!   instrumented anew when it runs next. So it is left set when the last user goes, until the watchdog finds that
//!   nobody has needed it from one look to the next ([`settle`]), or a run ends.
//! - [`Event::Raise`]: an exception leaves the blocked frame without another instruction. From CPython 3.15 on a code
//!   object can have RAISE events of its own; a step that has no Python code of its own needs them for all on every
//!   version.
//!
//! **What was tried.** A frame evaluator (PEP 523) in place of `Start`: it cost others twice the time for each call,
//! and a piece of the C stack; and two tools that each set one cannot be taken away in any order.

use super::tool::Tool;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// What all code is to tell of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Start,
    Raise,
}

/// The numbers of users that need each event. Changed and read with the GIL.
static STARTS: AtomicUsize = AtomicUsize::new(0);
static RAISES: AtomicUsize = AtomicUsize::new(0);

/// True while `Start` is set, though nobody needs it. Changed with the GIL; the watchdog reads it without.
static LEFT: AtomicBool = AtomicBool::new(false);
/// How often somebody began to need `Start`. Changed with the GIL; the watchdog reads it.
static OPENINGS: AtomicU64 = AtomicU64::new(0);

fn users(event: Event) -> &'static AtomicUsize {
    match event {
        Event::Start => &STARTS,
        Event::Raise => &RAISES,
    }
}

/// Sets the events that somebody needs now.
fn apply(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let has_users = |event| users(event).load(Ordering::Relaxed) > 0;
    let starts = has_users(Event::Start) || LEFT.load(Ordering::Relaxed);
    let raises = has_users(Event::Raise);
    tool.set_everywhere(py, if starts { tool.starts } else { 0 } | if raises { tool.raise } else { 0 })
}

/// One more user needs an event, and has to call [`close`], also where this fails.
pub fn open(py: Python<'_>, tool: &Tool, event: Event) -> PyResult<()> {
    let is_first = users(event).fetch_add(1, Ordering::Relaxed) == 0;
    let mut is_set = !is_first;
    if event == Event::Start {
        OPENINGS.fetch_add(1, Ordering::Relaxed);
        is_set |= LEFT.swap(false, Ordering::Relaxed);
    }
    if is_set { Ok(()) } else { apply(py, tool) }
}

/// One of the users needs an event no more.
pub fn close(py: Python<'_>, tool: &Tool, event: Event) -> PyResult<()> {
    let is_last = users(event).fetch_sub(1, Ordering::Relaxed) == 1;
    match event {
        Event::Start if is_last => LEFT.store(true, Ordering::Relaxed),
        Event::Raise if is_last => return apply(py, tool),
        _ => {}
    }
    Ok(())
}

/// How often somebody began to need `Start`, if it is set though nobody needs it. Needs no GIL.
pub fn left() -> Option<u64> {
    LEFT.load(Ordering::Relaxed).then(|| OPENINGS.load(Ordering::Relaxed))
}

/// Takes `Start` back, if nobody needs it.
pub fn settle(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    if LEFT.swap(false, Ordering::Relaxed) { apply(py, tool) } else { Ok(()) }
}

/// In a forked child: nobody needs any.
pub fn after_fork(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let before = STARTS.swap(0, Ordering::Relaxed) + RAISES.swap(0, Ordering::Relaxed);
    let is_left = LEFT.swap(false, Ordering::Relaxed);
    if before > 0 || is_left { apply(py, tool) } else { Ok(()) }
}
