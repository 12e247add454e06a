//! Handles that are not queued yet.

use crate::event_loop::state::LoopCore;
use crate::ffi::{self, Arguments};
use crate::handle::{Args, Handle};
use crate::this_thread::own_id;
use everloop_core::sync::lock;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

impl LoopCore {
    /// Returns a handle that is not queued yet. It runs in `context`.
    pub fn handle_in(
        slf: &Bound<'_, Self>,
        context: Py<PyAny>,
        callback: Py<PyAny>,
        args: Args,
    ) -> PyResult<Py<Handle>> {
        Self::noted(slf, Handle::new(callback, args, context, slf.clone().into_any().unbind()))
    }

    /// `call_soon` for callers in Rust.
    pub fn call_soon_in(slf: &Bound<'_, Self>, context: Py<PyAny>, callback: Py<PyAny>, args: Args) -> PyResult<()> {
        slf.get().check_open()?;
        slf.get().schedule(Self::handle_in(slf, context, callback, args)?);
        Ok(())
    }

    /// Makes the Python object of a handle. In debug mode it knows where it was made.
    fn noted(slf: &Bound<'_, Self>, handle: Handle) -> PyResult<Py<Handle>> {
        let handle = handle.into_object(slf.py())?;
        if slf.get().is_debug() {
            note_source(slf.py(), &handle)?;
        }
        Ok(handle)
    }
}

/// Returns the handle for a call of `call_soon` or a method like it. The callback is the argument at `skip`.
pub fn new_handle<'py>(
    slf: Borrowed<'_, 'py, LoopCore>,
    arguments: &Arguments<'_, 'py>,
    method: &str,
    skip: usize,
) -> PyResult<Handle> {
    let py = slf.py();
    let context = match arguments.context(method)? {
        None => ffi::copy_context(py)?,
        Some(context) if ffi::is_context(&context) => context.to_owned().unbind(),
        Some(other) => {
            let name = ffi::type_name(&other.get_type());
            return Err(PyTypeError::new_err(format!("{method}() needs a contextvars.Context as context, not {name}")));
        }
    };
    let Some(callback) = arguments.get(skip) else {
        let missing = if skip == 0 || arguments.len() >= skip { "'callback'" } else { "a time and 'callback'" };
        return Err(PyTypeError::new_err(format!("{method}() missing required positional argument: {missing}")));
    };
    let args = Args::new(py, arguments.from(skip + 1))?;
    Ok(Handle::new(callback.to_owned().unbind(), args, context, slf.to_owned().into_any().unbind()))
}

/// Checks a call of `call_soon` or a method like it, in debug mode, as asyncio does. `thread`: only threads of the loop
/// may call it.
#[cold]
pub fn check_debug(
    slf: Borrowed<'_, '_, LoopCore>,
    arguments: &Arguments<'_, '_>,
    method: &str,
    skip: usize,
    thread: bool,
) -> PyResult<()> {
    ffi::stay_when_ended();
    // A thread whose step is aside is one of the loop's own: a signal handler may run there, and cancel a task.
    if thread && !lock(&slf.get().threads.members).contains_key(&own_id()) {
        slf.call_method0("_check_thread")?;
    }
    if let Some(callback) = arguments.get(skip) {
        slf.call_method1("_check_callback", (callback, method))?;
    }
    Ok(())
}

/// Notes where a handle was made.
#[cold]
pub fn note_source(py: Python<'_>, handle: &Py<Handle>) -> PyResult<()> {
    let frame = py.import("sys")?.call_method1("_getframe", (0,))?;
    let traceback = py.import("asyncio.format_helpers")?.call_method1("extract_stack", (frame,))?;
    handle.get().set_source_traceback(py, traceback.unbind());
    Ok(())
}

#[pymethods]
impl LoopCore {
    /// Returns a handle that is not queued yet: for files.
    #[pyo3(signature = (callback, *args, context=None))]
    fn _new_handle<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Py<Handle>> {
        let context = context.map_or_else(|| ffi::copy_context(slf.py()), Ok)?;
        let args = match args.len() {
            0 => Args::None,
            _ => Args::Many(args.clone().unbind()),
        };
        Self::handle_in(slf, context, callback.unbind(), args)
    }
}
