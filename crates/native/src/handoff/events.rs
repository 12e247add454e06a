//! The callbacks of the interpreter's events: a gate for a step that was rescued, a hand-off at a learned site.

use super::asyncio_code::is_in_asyncio;
use super::current::{current, current_reason};
use super::division;
use super::whole::is_whole;
use super::{gate, may_release, release, resume};
use crate::aside::Reason;
use crate::clock;
use crate::ffi;
use crate::gates::sites::{self, Standing};
use crate::gates::tool::{self, Callbacks};
use crate::gates::{Gates, Need, leaves};
use pyo3::prelude::*;
use pyo3::types::PyCode;
use std::sync::atomic::Ordering;

/// Takes a tool id, once. False: none is free, and steps can only be reported, not rescued.
#[pyfunction]
pub fn claim_tool(py: Python<'_>) -> PyResult<bool> {
    let callbacks = || {
        Ok(Callbacks {
            instruction: wrap_pyfunction!(on_place, py)?.into_any(),
            raise: wrap_pyfunction!(on_raise, py)?.into_any(),
            call: wrap_pyfunction!(on_call, py)?.into_any(),
            start: wrap_pyfunction!(on_place, py)?.into_any(),
            throw: wrap_pyfunction!(on_raise, py)?.into_any(),
            c_return: wrap_pyfunction!(on_c_return, py)?.into_any(),
        })
    };
    tool::claim(py, callbacks)
}

/// An instruction of the code that a step is blocked in is next; or a frame begins or goes on, of any code: for the threads
/// that a blocked C function calls Python on.
#[pyfunction]
fn on_place(py: Python<'_>, _code: &Bound<'_, PyAny>, _offset: &Bound<'_, PyAny>) -> PyResult<()> {
    gate(py)?;
    division::divide(py)
}

#[pyfunction]
fn on_raise(py: Python<'_>, _code: &Bound<'_, PyAny>, _offset: i32, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
    gate(py)
}

/// The hand-off at a learned site.
#[pyfunction]
fn on_call(
    py: Python<'_>,
    code: &Bound<'_, PyCode>,
    offset: i32,
    callable: &Bound<'_, PyAny>,
    _argument: &Bound<'_, PyAny>,
) -> PyResult<Option<Py<PyAny>>> {
    gate(py)?;
    let is_programs = match sites::standing(code, offset) {
        Standing::Learned { is_programs } => is_programs,
        Standing::Away => return Ok(None),
        Standing::Unknown => return Ok(tool::claimed(py).map(|tool| tool.disable.clone_ref(py))),
    };
    // A step goes aside only for a call that ends with C_RETURN or C_RAISE, and runs no Python before.
    if ffi::is_c_function(callable)
        && let Some((core, member)) = current(py)
        && core.get().shared.rescue.load(Ordering::Relaxed)
        && !member.has_debugger()
        && !member.forbids_rescue()
        && may_release(&core, &member)
        && (is_programs || !is_in_asyncio(py, &member)?)
        && !is_whole(py, &member)
    {
        let may_call_python = !leaves::is_leaf(callable);
        let gates = Gates::open(py, &Need::Return { code, offset, may_call_python })?;
        release(&core, &member, Reason::Learned, clock::now(), gates)?;
    }
    Ok(None)
}

/// The end of a call: at a learned site, that of the hand-off.
#[pyfunction]
fn on_c_return(
    py: Python<'_>,
    code: &Bound<'_, PyCode>,
    offset: i32,
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
    if let Some(since) = member.aside_since_at(code, offset) {
        sites::note_duration(code, offset, clock::now().saturating_sub(since));
    }
    resume(&core, &member)
}
