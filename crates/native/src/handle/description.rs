//! The description of a handle: its `repr`, and the report of an error of its callback.

use super::{Handle, is_debug};
use crate::errors::call_exception_handler;
use crate::ffi;
use crate::private;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

#[pymethods]
impl Handle {
    /// Tells the exception handler of the loop, in asyncio's words.
    fn _report_exception(slf: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let Some(loop_) = this._loop(py) else { return Ok(()) };
        let callback = this._callback(py);
        let source = match &callback {
            Some(callback) => {
                let args = this._args(py)?;
                format_callback_source(py, callback, &args, None)?.bind(py).str()?.to_string()
            }
            // The callback cancelled its own handle before it failed.
            None => slf.repr()?.to_string(),
        };
        let traceback = this._source_traceback(py);
        let mut concerned = vec![("handle", Some(slf.as_any()))];
        if let Some(traceback) = &traceback {
            concerned.push(("source_traceback", Some(traceback.bind(py))));
        }
        call_exception_handler(loop_.bind(py), &format!("Exception in callback {source}"), exception, &concerned)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        if let Some(repr) = slf.get().0.with(py, |body| body.old_repr.as_ref().map(|r| r.clone_ref(py))) {
            return Ok(repr.bind(py).str()?.to_string());
        }
        let info: Vec<String> = slf
            .call_method0("_repr_info")?
            .try_iter()?
            .map(|part| Ok(part?.str()?.to_string()))
            .collect::<PyResult<_>>()?;
        Ok(format!("<{}>", info.join(" ")))
    }

    pub fn _repr_info<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let this = slf.get();
        // The real class: `__class__` answers with asyncio's.
        let name = if this.running(py).is_some() { "_ThreadSafeHandle" } else { &ffi::type_name(&slf.get_type()) };
        let info = vec![name];
        let info = PyList::new(py, info)?;
        if this.is_cancelled(py) {
            info.append("cancelled")?;
        }
        if let Some(call) = this._callback(py) {
            let args = this._args(py)?;
            let debug = this._loop(py).is_some_and(|loop_| is_debug(loop_.bind(py)).unwrap_or(false));
            info.append(format_callback_source(py, &call, &args, Some(debug))?)?;
        }
        if let Some(traceback) = this._source_traceback(py) {
            let frame = traceback.bind(py).get_item(-1)?;
            info.append(format!("created at {}:{}", frame.get_item(0)?.str()?, frame.get_item(1)?.str()?))?;
        }
        Ok(info)
    }
}

/// The text of a callback with its arguments, as asyncio writes it. (It shows arguments only in debug mode since 3.13.)
fn format_callback_source(
    py: Python<'_>,
    callback: &Py<PyAny>,
    args: &Option<Py<PyTuple>>,
    debug: Option<bool>,
) -> PyResult<Py<PyAny>> {
    let Some(function) = private::FORMAT_CALLBACK.look_up(py)? else {
        return Ok(callback.bind(py).repr()?.into_any().unbind());
    };
    let knows_debug =
        function.getattr("__kwdefaults__")?.cast::<PyDict>().is_ok_and(|k| k.contains("debug").unwrap_or(false));
    if knows_debug && let Some(debug) = debug {
        let kwargs = PyDict::new(py);
        kwargs.set_item("debug", debug)?;
        return Ok(function.call((callback, args), Some(&kwargs))?.unbind());
    }
    Ok(function.call1((callback, args))?.unbind())
}
