//! The callbacks of the interpreter's events: a gate for a step that was rescued, a hand-off at a learned site.

use super::asyncio_code::is_in_asyncio;
use super::current::{current, current_member, current_reason, is_gated};
use super::division;
use super::whole::is_whole;
use super::{come_back, gate, may_release, release};
use crate::aside::Reason;
use crate::clock;
use crate::ffi::{self, Arguments, FastMethod};
use crate::gates::sites::{self, Standing};
use crate::gates::tool::{self, Callbacks};
use crate::gates::{Gates, Need, callee, leaves};
use crate::member::Member;
use everloop_core::sites::{Event, Kind};
use pyo3::prelude::*;
use pyo3::types::PyCode;
use std::ffi::CStr;
use std::sync::atomic::Ordering;

/// Takes a tool id, once. False: none is free, and steps can only be reported, not rescued.
#[pyfunction]
pub fn claim_tool(py: Python<'_>) -> PyResult<bool> {
    let callbacks = || {
        Ok(Callbacks {
            instruction: wrap_pyfunction!(on_instruction, py)?.into_any(),
            raise: wrap_pyfunction!(on_raise, py)?.into_any(),
            call: wrap_pyfunction!(on_call, py)?.into_any(),
            start: on_start(py)?,
            throw: wrap_pyfunction!(on_raise, py)?.into_any(),
            c_return: wrap_pyfunction!(on_c_return, py)?.into_any(),
            end: wrap_pyfunction!(on_end, py)?.into_any(),
        })
    };
    tool::claim(py, callbacks)
}

/// An instruction is next, of code that a step is blocked in, or that has learned sites.
#[pyfunction]
fn on_instruction(py: Python<'_>, code: &Bound<'_, PyCode>, offset: i32) -> PyResult<Option<Py<PyAny>>> {
    gate(py)?;
    division::divide(py)?;
    hand_off(py, code, offset, Event::Instruction, |member, _| {
        let frame = member.step_frames(py).next()?;
        let callee = tool::claimed(py).and_then(|tool| callee::callee(tool, &frame));
        Some(callee.is_none_or(|callee| !leaves::is_leaf(&callee)))
    })
}

/// Its method is called for each frame that begins or goes on, of any code: for the threads that a blocked C function
/// calls Python on. All threads pay for that, so it is a fast one.
#[pyclass(frozen, module = "everloop._native")]
struct Start;

struct Pass;

impl FastMethod for Pass {
    const NAME: &'static CStr = c"pass_gate";
    const DOC: &'static CStr = c"A frame begins or goes on.";
    type Class = Start;

    #[inline]
    fn call<'py>(slf: Borrowed<'_, 'py, Start>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if is_gated() {
            begin_in_call(py, &arguments)?;
        }
        division::divide(py)?;
        Ok(py.None())
    }
}

/// A frame begins or goes on, called by C code that was put aside.
#[cold]
fn begin_in_call(py: Python<'_>, arguments: &Arguments<'_, '_>) -> PyResult<()> {
    let is_called_back = current_reason() == Some(Reason::Learned);
    gate(py)?;
    match arguments.get(0) {
        Some(code) if is_called_back => sites::note_called_back(&code.cast::<PyCode>()?.to_owned(), true),
        _ => Ok(()),
    }
}

fn on_start(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    ffi::install::<Pass>(py)?;
    Bound::new(py, Start)?.getattr("pass_gate")
}

#[pyfunction]
fn on_raise(py: Python<'_>, _code: &Bound<'_, PyAny>, _offset: i32, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
    gate(py)
}

/// A call is next, in code that has learned ones.
#[pyfunction]
fn on_call(
    py: Python<'_>,
    code: &Bound<'_, PyCode>,
    offset: i32,
    callable: &Bound<'_, PyAny>,
    _argument: &Bound<'_, PyAny>,
) -> PyResult<Option<Py<PyAny>>> {
    gate(py)?;
    hand_off(py, code, offset, Event::Call, |_, kind| {
        ffi::is_c_callable(callable, kind == Kind::UnpackingCall).then(|| !leaves::is_leaf(callable))
    })
}

/// The hand-off at a learned site. `may_call_python(member, kind)` says if the C code that is next may do that; None: it is
/// no C code. Returns what a callback of this event has to.
fn hand_off(
    py: Python<'_>,
    code: &Bound<'_, PyCode>,
    offset: i32,
    event: Event,
    may_call_python: impl FnOnce(&Member, Kind) -> Option<bool>,
) -> PyResult<Option<Py<PyAny>>> {
    let (kind, is_programs) = match sites::standing(code, offset, event) {
        Standing::Learned { kind, is_programs } => (kind, is_programs),
        Standing::Away => return Ok(None),
        Standing::Unknown => return Ok(tool::claimed(py).map(|tool| tool.disable.clone_ref(py))),
    };
    release_at(py, code, offset, event, is_programs, |member| may_call_python(member, kind)).map(|()| None)
}

/// Puts the step aside that comes to a learned site, if it may be. `may_call_python(member)` as for [`hand_off`].
fn release_at(
    py: Python<'_>,
    code: &Bound<'_, PyCode>,
    offset: i32,
    event: Event,
    is_programs: bool,
    may_call_python: impl FnOnce(&Member) -> Option<bool>,
) -> PyResult<()> {
    if tool::claimed(py).is_some()
        && let Some((core, member)) = current(py)
        && core.get().shared.rescue.load(Ordering::Relaxed)
        && !member.has_debugger()
        && !member.forbids_rescue()
        && may_release(&core, &member)
        && (is_programs || !is_in_asyncio(py, &member)?)
        && !is_whole(py, &member)
        && let Some(may_call_python) = may_call_python(&member)
    {
        let gates = Gates::open(py, &Need::Learned { code, offset, event, may_call_python })?;
        release(&core, &member, Reason::Learned, clock::now(), gates)?;
    }
    Ok(())
}

/// A frame returns or yields, of code that C code at a learned site has called: a driver that waits for its server between
/// two steps of a generator. If it is that C code to which the thread goes back now, the step is put aside again.
#[pyfunction]
fn on_end(py: Python<'_>, code: &Bound<'_, PyCode>, _offset: i32, _value: &Bound<'_, PyAny>) -> PyResult<()> {
    gate(py)?;
    let Some(member) = current_member() else { return Ok(()) };
    let mut frames = member.step_frames(py);
    let (Some(frame), Some(caller)) = (frames.next(), frames.next()) else { return Ok(()) };
    if !ffi::frame_code(&frame).is(code) {
        return Ok(());
    }
    let (caller, offset) = (ffi::frame_code(&caller), ffi::frame_instruction(&caller));
    match sites::standing(&caller, offset, Event::Call) {
        // The caller's next instruction is the gate, as nobody knows whether it called this code itself.
        Standing::Learned { is_programs, .. } => {
            release_at(py, &caller, offset, Event::Instruction, is_programs, |_| Some(true))
        }
        Standing::Away => Ok(()),
        Standing::Unknown => sites::note_called_back(code, false),
    }
}

/// The end of a call: at a learned site, that of the hand-off.
#[pyfunction]
fn on_c_return(
    py: Python<'_>,
    _code: &Bound<'_, PyAny>,
    _offset: &Bound<'_, PyAny>,
    _callable: &Bound<'_, PyAny>,
    _argument: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if current_reason() != Some(Reason::Learned) {
        return gate(py);
    }
    let Some((core, member)) = current(py) else { return Ok(()) };
    // The call of the step itself, or one of what runs beside it: the start of a relief thread, a signal handler.
    if member.is_ungated() {
        return Ok(());
    }
    come_back(&core, &member)
}
