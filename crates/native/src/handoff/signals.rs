//! Signals while home's step is aside: the interpreter runs their Python handlers on its main thread, which may sleep
//! in a system call that the signal has not ended. Why, and who interrupts that call: python/everloop/signals.py.

use crate::aside::Reason;
use crate::event_loop::LoopCore;
use crate::ffi;
use crate::member::Member;
use crate::this_thread::own_id;
use everloop_core::sync::lock;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

/// Asks the interpreter to write each signal into the loop's socket, from the first time in a run that home's step goes
/// aside. Not for a step that is rescued: it is in its call already, so no signal can come just before that. Nor
/// for one that computes, which is in no call.
#[inline]
pub fn hear(core: &Bound<'_, LoopCore>, member: &Member, reason: Reason) -> PyResult<()> {
    let calls = !matches!(reason, Reason::Rescued | Reason::Divided);
    if member.home && calls && !core.get().run.hears_signals.load(Ordering::Relaxed) {
        begin_to_hear(core, member)
    } else {
        Ok(())
    }
}

#[cold]
fn begin_to_hear(core: &Bound<'_, LoopCore>, member: &Member) -> PyResult<()> {
    core.get().run.hears_signals.store(true, Ordering::Relaxed);
    // The Python code that is called is not the step's: no gate stops it.
    member.ungated(|| core.call_method0("_hear_signals")).map(drop)
}

#[pymethods]
impl LoopCore {
    /// Interrupts the system call that home is in, if its step is aside. Returns False if it is not.
    fn _interrupt_home(&self) -> bool {
        let members = lock(&self.threads.members);
        let Some(home) = members.values().find(|member| member.home) else { return false };
        if home.aside_reason().is_none() || home.id() == own_id() {
            return false;
        }
        // Home's step is aside: it cannot end before it has the baton, for which it needs the GIL, and that is ours.
        ffi::interrupt_call(home.ident);
        true
    }
}
