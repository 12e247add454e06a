//! Division: a step that computes for long, in the program's own Python code, is stopped between two instructions,
//! others run, and it goes on. The program has agreed to that (`rescue="all"`).
//!
//! The watchdog asks ([`ask`]): it opens a gate in the code that the step runs. The step's thread comes to it, by the
//! next instruction as a rule, and [`divide`] does there what `blocking()` does: it releases the baton, waits, and
//! resumes. So the step stays on its thread, with its frames, its context and its locks. When it goes on is decided by
//! the baton (its *patients*) and by `everloop_core::watchdog::Share`.
//!
//! **Where a step is not divided.** Other steps, of the same thread of thought, may run at that point: so it is not just
//! any. Decided by the frames of the step, all of them:
//!
//! - *Code of the standard library*, unless it is known only to compute on what it is given (`private.rs` has the list). It
//!   has its own invariants, and holds locks that others wait for: those of `logging`, of `threading` (by which a relief
//!   thread starts), the import lock (`<frozen importlib`). What it calls is part of it: a handler of `logging`, the module
//!   that is imported.
//! - *asyncio and everloop*, which look at something and act on it without an `await` between.
//! - *But not where it awaits*: a coroutine of the library that awaits one of the program (`asyncio.wait_for`) expects
//!   others to run.
//! - *Finalizers*: `__del__`, and callbacks of weak references. They run in the middle of anything.
//! - *What is marked* (`whole.rs`).
//!
//! Where the innermost frame is one of these, the gate is opened in the code that has called it: the step is divided
//! when it is back there.

use super::current::{current, is_alone};
use super::whole::is_whole;
use super::{go_on_in_step, may_release, release, resume, wait_granted};
use crate::aside::Reason;
use crate::event_loop::LoopCore;
use crate::ffi::{self, name};
use crate::gates::{Gates, Need, sites, tool};
use crate::member::Member;
use crate::origin::computes;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFrame, PyString, PyTuple, PyWeakrefMethods, PyWeakrefReference};
use std::sync::atomic::Ordering;

/// The flags of code that can await, or yield to who awaits: coroutines, those of generators, asynchronous generators.
const AWAITS: u32 = 0x80 | 0x100 | 0x200;

/// True if the step of `member` is in code in which one was divided before.
pub fn is_learned(py: Python<'_>, member: &Member) -> bool {
    sites::has_computing() && member.step_frames(py).any(|frame| sites::is_computing(&ffi::frame_code(&frame)))
}

/// The flags of the code that a frame runs.
fn flags(code: &Bound<'_, PyCode>) -> PyResult<u32> {
    code.getattr(name!(code.py(), "co_flags"))?.extract()
}

/// The innermost frame of the step at which it may be divided, and whether it is there. None: at none.
fn point<'py>(py: Python<'py>, member: &Member) -> PyResult<Option<(Bound<'py, PyFrame>, bool)>> {
    let mut point = None;
    let mut called_awaits = false;
    let mut is_innermost = true;
    for frame in member.step_frames(py) {
        let code = ffi::frame_code(&frame);
        let awaits = flags(&code)? & AWAITS != 0;
        let may = computes(&code)? || awaits && called_awaits;
        if !may || is_finalizer(&frame, &code)? {
            point = None;
            is_innermost = false;
        } else if point.is_none() {
            point = Some(frame);
        }
        called_awaits = awaits;
    }
    Ok(point.map(|point| (point, is_innermost)))
}

/// True if the frame is that of a finalizer: it is named so, or its first argument is a weak reference whose object is
/// gone.
fn is_finalizer(frame: &Bound<'_, PyFrame>, code: &Bound<'_, PyCode>) -> PyResult<bool> {
    let py = frame.py();
    if ffi::code_text(code, &name!(py, "co_name"))?.to_string_lossy() == "__del__" {
        return Ok(true);
    }
    let arguments: usize = code.getattr(name!(py, "co_argcount"))?.extract()?;
    if !(1..=2).contains(&arguments) {
        return Ok(false);
    }
    let names = code.getattr(name!(py, "co_varnames"))?.cast_into::<PyTuple>()?;
    let last = names.get_item(arguments - 1)?.cast_into::<PyString>()?;
    let value = ffi::lookup::variable(frame, &last).and_then(|value| value.cast_into::<PyWeakrefReference>().ok());
    Ok(value.is_some_and(|reference| reference.upgrade().is_none()))
}

/// Asks for the step of `member` to be divided as soon as it comes to a point where it may be. Called by the watchdog.
/// False: there is none.
pub fn ask(core: &Bound<'_, LoopCore>, member: &Member) -> PyResult<bool> {
    let py = core.py();
    member.end_division(py)?;
    if !may_release(core, member) || tool::claimed(py).is_none() || is_whole(py, member) {
        return Ok(false);
    }
    let Some((frame, _)) = point(py, member)? else { return Ok(false) };
    let gates = Gates::open(py, &Need::Pass { code: &ffi::frame_code(&frame) })?;
    member.begin_division(gates, core.get().shared.heartbeat.tick());
    Ok(true)
}

/// Divides the step that runs on this thread, between two of its instructions, if that is asked for.
#[inline]
pub fn divide(py: Python<'_>) -> PyResult<()> {
    if is_alone(Member::is_dividing) { divide_here(py) } else { Ok(()) }
}

#[cold]
fn divide_here(py: Python<'_>) -> PyResult<()> {
    let Some((core, member)) = current(py) else { return Ok(()) };
    let this = core.get();
    let asked = member.end_division(py)?;
    if asked != Some(this.shared.heartbeat.tick())
        || !this.shared.divides.load(Ordering::Relaxed)
        || !may_release(&core, &member)
        || member.has_debugger()
        || member.is_ungated()
        || member.forbids_rescue()
        || is_whole(py, &member)
    {
        return Ok(());
    }
    let Some((frame, true)) = point(py, &member)? else { return Ok(()) };
    sites::learn_computing(&ffi::frame_code(&frame));
    drop(frame);
    if release(&core, &member, Reason::Divided, 0, Gates::none())?.is_none() {
        return Ok(());
    }
    let is_idle = !this.queues.inbox.is_filled();
    let (granted, raised) = wait_granted(py, this, &member, || this.baton().queue_patient(&member.waiter, is_idle));
    let resumed = go_on_in_step(&core, &member, granted);
    let resumed = if member.aside_reason() == Some(Reason::Rescued) {
        resumed.and(resume(&core, &member)) // coming back has let go of the GIL for too long
    } else {
        resumed
    };
    this.shared.slice.store(this.shared.heartbeat.tick(), Ordering::Relaxed);
    raised.map_or(resumed, Err)
}
