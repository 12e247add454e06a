//! Contexts: the variables of `contextvars` that a thread runs with.

use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};
use std::ptr;

/// A copy of the current context.
#[inline]
pub fn copy_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // SAFETY: returns a new reference, or NULL with an error set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()).map(Bound::unbind) }
}

/// A copy of a context.
pub fn copy_of_context(py: Python<'_>, context: &Py<PyAny>) -> PyResult<Py<PyAny>> {
    // SAFETY: a Context, or refused; returns a new reference, or NULL with an error set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_Copy(context.as_ptr())).map(Bound::unbind) }
}

/// This thread goes into a context, which `leave_context` undoes.
pub fn enter_context(py: Python<'_>, context: &Py<PyAny>) -> PyResult<()> {
    // SAFETY: a live object: what is no Context, or is entered already, is refused with an error set.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
}

/// This thread leaves the context that it has entered last.
pub fn leave_context(py: Python<'_>, context: &Py<PyAny>) -> PyResult<()> {
    // SAFETY: as above.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
}

/// True if two contexts, of which one is a copy of the other, still have the same variables. False: perhaps not. (No
/// variable is looked at.)
///
/// A context has an immutable map, which is all that a collector finds in one that nobody is in; to set a variable is
/// to put another map in its place.
pub fn have_same_variables(one: &Bound<'_, PyAny>, other: &Bound<'_, PyAny>) -> bool {
    let map = only_reference(one);
    !map.is_null() && map == only_reference(other)
}

/// The address of the only object that a context refers to; null: there are more, or none.
fn only_reference(context: &Bound<'_, PyAny>) -> *mut ffi::PyObject {
    unsafe extern "C" fn visit(object: *mut ffi::PyObject, found: *mut c_void) -> c_int {
        // SAFETY: `found` is the variable below.
        let found = unsafe { &mut *found.cast::<(*mut ffi::PyObject, usize)>() };
        *found = (object, found.1 + 1);
        0
    }
    let mut found = (ptr::null_mut(), 0_usize);
    if !is_context(context) {
        return found.0;
    }
    // SAFETY: a live Context, whose own traversal calls `visit` with objects that it keeps, and with `found`.
    unsafe {
        if let Some(traverse) = (*context.get_type_ptr()).tp_traverse {
            traverse(context.as_ptr(), visit, (&raw mut found).cast());
        }
    }
    if found.1 == 1 { found.0 } else { ptr::null_mut() }
}

/// True for a `contextvars.Context`.
pub fn is_context(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: compares the type of a live object.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}
