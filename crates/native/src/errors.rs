//! Errors: the system's become Python's own, some are meant for whoever runs the loop, and all others are reported.

use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyException, PyKeyboardInterrupt, PyOSError, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use std::io;

/// `OSError(number, text)`, which makes itself the subclass that belongs to the number (`PermissionError`, ...).
pub fn os_error(error: impl Into<io::Error>) -> PyErr {
    let error = error.into();
    let Some(number) = error.raw_os_error() else { return error.into() };
    // Rust adds the number to the system's text; Python shows it in front.
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned();
    PyOSError::new_err((number, text))
}

/// True if an error is meant for whoever called `run_forever`: asyncio's transports and handles let it pass.
pub fn ends_loop(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// True if an error is an `Exception`: asyncio's TLS lets everything else pass, a cancelled task's error too.
pub fn is_exception(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyException>(py)
}

/// Hands an error to the exception handler of a loop, together with the objects that it concerns.
pub fn call_exception_handler(
    loop_: &Bound<'_, PyAny>,
    message: &str,
    error: &Bound<'_, PyAny>,
    concerned: &[(&str, Option<&Bound<'_, PyAny>>)],
) -> PyResult<()> {
    let context = PyDict::new(loop_.py());
    context.set_item("message", message)?;
    context.set_item("exception", error)?;
    for (name, object) in concerned {
        context.set_item(name, object)?;
    }
    loop_.call_method1("call_exception_handler", (context,)).map(drop)
}

/// Writes to asyncio's log: the format and its arguments, and the traceback of an error.
#[cold]
pub fn log<'py>(
    py: Python<'py>,
    level: &str,
    arguments: impl PyCallArgs<'py>,
    error: Option<&Bound<'py, PyAny>>,
) -> PyResult<()> {
    let options = error.map(|error| [("exc_info", error)].into_py_dict(py)).transpose()?;
    let logger = py.import("asyncio.log")?.getattr("logger")?;
    logger.call_method(level, arguments, options.as_ref()).map(drop)
}
