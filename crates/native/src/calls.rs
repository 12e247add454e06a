//! Calls that are made on another thread: functions that are known at once to be plain, and the context variables that
//! come back.

use crate::event_loop::LoopCore;
use crate::ffi::{self, Made, name};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

/// `inspect.CO_COROUTINE`
const IS_COROUTINE: u32 = 0x80;

/// True for a function that is known at once not to make a coroutine.
#[pyfunction]
#[pyo3(signature = (function, /))]
pub fn is_plain_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    if function.is_exact_instance_of::<PyCFunction>() {
        return Ok(true);
    }
    let Some(code) = ffi::plain_code(function) else { return Ok(false) };
    let flags: u32 = code.getattr(name!(function.py(), "co_flags"))?.extract()?;
    Ok(flags & IS_COROUTINE == 0)
}

/// The everloop that runs here, if there is one, and `function` is known at once to be a plain function.
#[pyfunction]
#[pyo3(signature = (function, /))]
pub fn loop_for(function: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
    static EVENTS: Made<PyDict> = Made::new();
    let py = function.py();
    let Some(get) = EVENTS.named("asyncio.events", &name!(py, "_get_running_loop"))? else { return Ok(None) };
    let running = get.call0()?;
    let is_seen = running.is_instance_of::<LoopCore>() && is_plain_function(function)?;
    Ok(is_seen.then(|| running.unbind()))
}

/// Sets in the current context what `after`, a copy of `before`, has other than that; not the variable `but`.
#[pyfunction]
#[pyo3(signature = (before, after, but, /))]
pub fn carry_over(before: &Bound<'_, PyAny>, after: &Bound<'_, PyAny>, but: &Bound<'_, PyAny>) -> PyResult<()> {
    if ffi::have_same_variables(before, after) {
        return Ok(()); // most functions set none, and a caller may have many
    }
    for variable in after.try_iter()? {
        let variable = variable?;
        if variable.is(but) {
            continue;
        }
        let value = after.get_item(&variable)?;
        if before.get_item(&variable).is_ok_and(|old| old.is(&value)) {
            continue;
        }
        variable.call_method1(name!(before.py(), "set"), (value,))?;
    }
    Ok(())
}
