//! A hook on `call_soon_threadsafe`: futures of `asyncio.run_coroutine_threadsafe` become the bridge's, whose
//! `result()` in a step does not block the loop.
//!
//! asyncio makes a plain `concurrent.futures.Future` and tells nobody but `call_soon_threadsafe`, in the closure of the
//! callback. Its `result()` on the loop's own thread is asyncio's classic hang.

use crate::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The code of asyncio's callback, and the hook that is called with one. Set once by the bridge, read by each call.
static HOOK: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();

/// Has `hook(callback)` called for each function with this code that `call_soon_threadsafe` is given.
///
/// The hook returns what is to be called instead, or None. A second call of this function changes nothing.
#[pyfunction]
pub fn set_threadsafe_hook(py: Python<'_>, code: Py<PyAny>, hook: Py<PyAny>) {
    // A second call is of no effect: the module may have been imported anew.
    _ = HOOK.set(py, (code, hook));
}

/// Returns the callback to call instead of one of `call_soon_threadsafe`, if any. Two loads and a comparison for all
/// but asyncio's.
#[inline]
pub fn look_at(callback: Option<Borrowed<'_, '_, PyAny>>) -> PyResult<Option<Py<PyAny>>> {
    let Some(callback) = callback else { return Ok(None) };
    let py = callback.py();
    match HOOK.get(py) {
        Some((code, hook)) if ffi::is_function_of(&callback, code) => {
            let other = hook.call1(py, (callback,))?;
            Ok((!other.is_none(py)).then_some(other))
        }
        _ => Ok(None),
    }
}
