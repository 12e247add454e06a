//! Calls inside a context.

use super::panics::panicked;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// The outcome of a call in a context.
pub enum Called {
    Returned,
    Raised(PyErr),
    /// The context is entered already, by a step that is aside or by whoever runs the loop. Nothing was called.
    ContextBusy(PyErr),
}

impl Called {
    pub fn into_result(self) -> PyResult<()> {
        match self {
            Self::Returned => Ok(()),
            Self::Raised(error) | Self::ContextBusy(error) => Err(error),
        }
    }
}

/// Calls `callable` with up to three arguments inside `context`.
#[inline]
pub fn call_in_context<const N: usize>(
    py: Python<'_>,
    context: &Py<PyAny>,
    callable: &Py<PyAny>,
    arguments: [&Py<PyAny>; N],
) -> Called {
    // One slot in front, which PY_VECTORCALL_ARGUMENTS_OFFSET lets the callee use; the arrays are tiny.
    let mut slots = [ptr::null_mut(); 4];
    for (slot, argument) in slots[1..].iter_mut().zip(arguments) {
        *slot = argument.as_ptr();
    }
    // SAFETY: `context` is a Context (checked where the handle was made); the callable and the arguments are alive for
    // the call, since the caller borrows them; the array has N arguments after its first slot (N <= 3, checked below).
    unsafe {
        const { assert!(N <= 3) };
        if ffi::PyContext_Enter(context.as_ptr()) != 0 {
            return Called::ContextBusy(PyErr::fetch(py));
        }
        let result = ffi::PyObject_Vectorcall(
            callable.as_ptr(),
            slots.as_ptr().add(1),
            N | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            ptr::null_mut(),
        );
        finish_call(py, context, result)
    }
}

/// Calls `callable` with the arguments of a tuple inside `context`.
pub fn call_tuple_in_context(
    py: Python<'_>,
    context: &Py<PyAny>,
    callable: &Py<PyAny>,
    arguments: &Py<PyTuple>,
) -> Called {
    // SAFETY: as above; PyObject_Call takes a callable, a tuple and no keywords.
    unsafe {
        if ffi::PyContext_Enter(context.as_ptr()) != 0 {
            return Called::ContextBusy(PyErr::fetch(py));
        }
        let result = ffi::PyObject_Call(callable.as_ptr(), arguments.as_ptr(), ptr::null_mut());
        finish_call(py, context, result)
    }
}

/// Runs native code inside `context`.
#[inline]
pub fn run_in_context(py: Python<'_>, context: &Py<PyAny>, run: impl FnOnce() -> PyResult<()>) -> Called {
    // SAFETY: `context` is a Context (checked where the handle was made), entered and left by this thread.
    unsafe {
        if ffi::PyContext_Enter(context.as_ptr()) != 0 {
            return Called::ContextBusy(PyErr::fetch(py));
        }
        // A panic must not take the loop along, which holds the baton.
        let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(panicked()));
        if ffi::PyContext_Exit(context.as_ptr()) != 0 {
            return Called::Raised(PyErr::fetch(py));
        }
        result.map_or_else(Called::Raised, |()| Called::Returned)
    }
}

/// # Safety
/// `result` is what a call returned inside `context`, which this thread entered: a new reference, or NULL with an
/// error.
#[inline]
unsafe fn finish_call(py: Python<'_>, context: &Py<PyAny>, result: *mut ffi::PyObject) -> Called {
    // SAFETY: the caller's promise; leaving a context must not disturb the error, so that is taken first.
    unsafe {
        if result.is_null() {
            // A panic that Python code lets through goes on in PyO3 at this point. The message is on stderr; the loop,
            // which holds the baton, is not to go along.
            let error = catch_unwind(AssertUnwindSafe(|| PyErr::fetch(py))).unwrap_or_else(|_| panicked());
            if ffi::PyContext_Exit(context.as_ptr()) != 0 {
                return Called::Raised(PyErr::fetch(py));
            }
            return Called::Raised(error);
        }
        drop(Bound::from_owned_ptr(py, result));
        if ffi::PyContext_Exit(context.as_ptr()) != 0 {
            return Called::Raised(PyErr::fetch(py));
        }
        Called::Returned
    }
}
