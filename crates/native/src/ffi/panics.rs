//! The error that a panic becomes: it must not leave Rust.

use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;

/// The error of a panic, whose message was printed.
#[cold]
pub fn panicked() -> PyErr {
    PySystemError::new_err("everloop panicked, by an error of its own: please report what stderr says")
}
