//! The third gate: Python code that C code calls before it returns.
//!
//! A C function that blocks may call Python afterwards, or in between: a callback of a database driver, the function of a
//! `map`. No instruction of the blocked frame comes before that. So while a step is aside in a C function that may do so,
//! every frame of the process that begins passes here (PEP 523); the blocked thread's waits for the baton. Setting it costs a
//! store; while it is set, calls of Python functions are somewhat slower.

use super::gate;
use crate::ffi::{self, name};
use pyo3::prelude::*;
use pyo3::types::PyAnyMethods;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many steps are aside in calls that may call Python. Changed under the GIL.
static WATCHED: AtomicUsize = AtomicUsize::new(0);

/// Modules whose functions and methods block without calling Python.
const LEAVES: [&str; 6] = ["time", "posix", "select", "_socket", "_thread", "_queue"];

/// One more step is aside in a call that may call Python.
pub fn watch(py: Python<'_>) {
    if WATCHED.fetch_add(1, Ordering::Relaxed) == 0 {
        ffi::set_frame_gate(py, gate, true);
    }
}

/// That step has come back.
pub fn unwatch(py: Python<'_>) {
    if WATCHED.fetch_sub(1, Ordering::Relaxed) == 1 {
        ffi::set_frame_gate(py, gate, false);
    }
}

/// In a forked child no step is aside, until the loops have said which ones are still there.
pub fn after_fork(py: Python<'_>) {
    if WATCHED.swap(0, Ordering::Relaxed) > 0 {
        ffi::set_frame_gate(py, gate, false);
    }
}

/// Whether a C function is known to call no Python before it returns.
pub fn is_leaf(callable: &Bound<'_, PyAny>) -> bool {
    let py = callable.py();
    let owner = match callable.getattr_opt(name!(py, "__objclass__")) {
        Ok(Some(class)) => class,
        _ => callable.clone(),
    };
    let Ok(module) = owner.getattr(name!(py, "__module__")) else { return false };
    module.extract::<String>().is_ok_and(|module| LEAVES.contains(&module.as_str()))
}
