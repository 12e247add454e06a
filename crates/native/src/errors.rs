//! Errors of the operating system become Python's own, here and nowhere else.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
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
