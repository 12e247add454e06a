//! The gate for Python code that C code calls before it returns.
//!
//! A C function that blocks may call Python afterwards, or in between: a callback of a database driver, the function of
//! a `map`. No instruction of the blocked frame comes before that. So while a step is aside in a C function that may do
//! so, every frame of the process that begins passes here (a frame evaluator, PEP 523), and the blocked thread's waits
//! for the baton. Setting it costs a store; while it is set, calls of Python functions are somewhat slower.
//!
//! Nothing outside this file knows how it is done: [`open`], [`close`] and [`is_leaf`] are all that others use.

use crate::ffi::{self, name};
use pyo3::prelude::*;
use pyo3::types::PyAnyMethods;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Called at a gate, by every thread that comes by: those pass that have the baton, or no step.
pub type Gate = fn(Python<'_>) -> PyResult<()>;

/// The number of steps that are aside, or probed, in calls that may call Python. Changed and read with the GIL.
static USERS: AtomicUsize = AtomicUsize::new(0);

/// The gate that every frame passes. Written once, before the first step can be rescued.
static GATE: OnceLock<Gate> = OnceLock::new();

/// Modules whose functions and methods block without calling Python.
const LEAVES: [&str; 6] = ["time", "posix", "select", "_socket", "_thread", "_queue"];

/// Says what frames have to pass. It is the same each time.
pub fn install(gate: Gate) {
    GATE.get_or_init(|| gate);
}

fn set(py: Python<'_>, on: bool) {
    if let Some(gate) = GATE.get() {
        ffi::set_frame_gate(py, *gate, on);
    }
}

/// One more step is in a call that may call Python: it has to call [`close`].
pub fn open(py: Python<'_>) {
    if USERS.fetch_add(1, Ordering::Relaxed) == 0 {
        set(py, true);
    }
}

/// One of these steps has come back.
pub fn close(py: Python<'_>) {
    if USERS.fetch_sub(1, Ordering::Relaxed) == 1 {
        set(py, false);
    }
}

/// In a forked child: no step is in such a call.
pub fn after_fork(py: Python<'_>) {
    if USERS.swap(0, Ordering::Relaxed) > 0 {
        set(py, false);
    }
}

/// True if a C function is known to call no Python before it returns.
pub fn is_leaf(callable: &Bound<'_, PyAny>) -> bool {
    let py = callable.py();
    let owner = match callable.getattr_opt(name!(py, "__objclass__")) {
        Ok(Some(class)) => class,
        _ => callable.clone(),
    };
    let Ok(module) = owner.getattr(name!(py, "__module__")) else { return false };
    module.extract::<String>().is_ok_and(|module| LEAVES.contains(&module.as_str()))
}
