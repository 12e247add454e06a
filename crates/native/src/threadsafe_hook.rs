//! A hook on `call_soon_threadsafe`: futures of `asyncio.run_coroutine_threadsafe` become the bridge's, whose `result()` in a step
//! does not block the loop.
//!
//! asyncio makes a plain `concurrent.futures.Future` and tells nobody but `call_soon_threadsafe`, in the closure of the
//! callback. Its `result()` on the loop's own thread is asyncio's classic hang.

use crate::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The code of asyncio's callback, and the hook that is called with one. Set once by the bridge, read by each call.
static ADOPTER: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();

/// Has `adopt(callback)` called for each function with this code that `call_soon_threadsafe` is given.
///
/// It returns what is to be called instead, or None. Once.
#[pyfunction]
pub fn set_adopter(py: Python<'_>, code: Py<PyAny>, adopt: Py<PyAny>) {
    // A second call is of no effect: the module may have been imported anew.
    _ = ADOPTER.set(py, (code, adopt));
}

/// Returns the callback to call instead of one of `call_soon_threadsafe`, if any. Two loads and a comparison for all but asyncio's.
#[inline]
pub fn look_at(callback: Option<Borrowed<'_, '_, PyAny>>) -> PyResult<Option<Py<PyAny>>> {
    let Some(callback) = callback else { return Ok(None) };
    let py = callback.py();
    match ADOPTER.get(py) {
        Some((code, adopt)) if ffi::is_function_of(&callback, code) => {
            let other = adopt.call1(py, (callback,))?;
            Ok((!other.is_none(py)).then_some(other))
        }
        _ => Ok(None),
    }
}
