//! Events of all code, for what a step that is aside may come to outside of its own code. All threads pass these gates,
//! so each is open only while some step needs it.
//!
//! - [`STARTS`]: a frame begins, or goes on in a generator. A C function that blocks may call Python afterwards,
//!   or in between: a callback of a database driver, the function of a `map`. No instruction of the blocked frame comes
//!   before that. Not needed for C functions of which it is known that they call none (`leaves.rs`), which are most.
//!   While it is set, calls of Python functions that do next to nothing take twice as long; code that does something
//!   with what it calls hardly notices (CPython 3.12 to 3.15). To set it or take it back costs more: every function is
//!   instrumented anew when it runs next.
//! - [`RAISES`]: an exception leaves the blocked frame without another instruction. From CPython 3.15 on a code
//!   object can have RAISE events of its own; a step that has no Python code of its own needs them for all on every
//!   version.
//!
//! So they are left set when the last user goes, until the watchdog finds that nobody has needed them from one look to the
//! next ([`settle`]), or a run ends.
//!
//! **What was tried.** A frame evaluator (PEP 523) in place of `STARTS`: it cost others twice the time for each call,
//! and a piece of the C stack; and two tools that each set one cannot be taken away in any order.

use super::tool::Tool;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// An event that all code may have, and who needs it. Changed with the GIL; the watchdog reads `left` without.
pub struct Everywhere {
    users: AtomicUsize,
    /// True while the event is set, though nobody needs it.
    left: AtomicBool,
}

/// PY_START, PY_RESUME and PY_THROW.
pub static STARTS: Everywhere = Everywhere::new();
pub static RAISES: Everywhere = Everywhere::new();
/// How often somebody began to need an event. Changed with the GIL; the watchdog reads it.
static OPENINGS: AtomicU64 = AtomicU64::new(0);

impl Everywhere {
    const fn new() -> Self {
        Self { users: AtomicUsize::new(0), left: AtomicBool::new(false) }
    }

    /// One more user needs the event, and has to call [`Self::close`], also where this fails.
    pub fn open(&self, py: Python<'_>, tool: &Tool) -> PyResult<()> {
        OPENINGS.fetch_add(1, Relaxed);
        let is_set = self.users.fetch_add(1, Relaxed) > 0;
        let was_left = self.left.swap(false, Relaxed);
        if is_set || was_left { Ok(()) } else { apply(py, tool) }
    }

    /// One of the users needs the event no more, which stays set until [`settle`].
    pub fn close(&self) {
        if self.users.fetch_sub(1, Relaxed) == 1 {
            self.left.store(true, Relaxed);
        }
    }

    fn is_wanted(&self) -> bool {
        self.users.load(Relaxed) > 0 || self.left.load(Relaxed)
    }

    /// Forgets who needs it. True if the event was set.
    fn forget(&self) -> bool {
        let before = self.users.swap(0, Relaxed);
        self.left.swap(false, Relaxed) || before > 0
    }
}

/// Sets the events that somebody needs now, and those that are left set.
fn apply(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let wanted = |event: &Everywhere, numbers| if event.is_wanted() { numbers } else { 0 };
    tool.set_everywhere(py, wanted(&STARTS, tool.starts) | wanted(&RAISES, tool.raise))
}

/// How often somebody began to need an event, if one is set though nobody needs it. Needs no GIL.
pub fn left() -> Option<u64> {
    let is_left = STARTS.left.load(Relaxed) || RAISES.left.load(Relaxed);
    is_left.then(|| OPENINGS.load(Relaxed))
}

/// Takes back what nobody needs.
pub fn settle(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let (starts, raises) = (STARTS.left.swap(false, Relaxed), RAISES.left.swap(false, Relaxed));
    if starts || raises { apply(py, tool) } else { Ok(()) }
}

/// In a forked child: nobody needs any.
pub fn after_fork(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let (starts, raises) = (STARTS.forget(), RAISES.forget());
    if starts || raises { apply(py, tool) } else { Ok(()) }
}
