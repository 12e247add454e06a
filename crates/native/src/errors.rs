//! Errors of the operating system become Python's own, here and nowhere else.

use pyo3::prelude::*;
use std::io;

/// `OSError`, or the subclass that belongs to the number (`PermissionError`, ...).
pub fn os_error(error: impl Into<io::Error>) -> PyErr {
    error.into().into()
}
