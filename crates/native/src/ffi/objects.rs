//! Objects: descriptors that they stand for, numbers, attributes, references.

use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyType};
use std::os::fd::RawFd;
use std::ptr;

/// The descriptor that stands for an object: an int, or what its `fileno()` returns.
pub fn file_descriptor(object: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    // SAFETY: a live object; -1 comes with an error set.
    let fd = unsafe { ffi::PyObject_AsFileDescriptor(object.as_ptr()) };
    if fd >= 0 {
        return Ok(fd);
    }
    let py = object.py();
    let error = PyErr::fetch(py);
    if error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyValueError>(py) {
        // As the selectors of asyncio do, and with their words, which programs know.
        return selected_descriptor(object);
    }
    Err(error)
}

#[cold]
fn selected_descriptor(object: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let py = object.py();
    let number = match object.cast::<PyInt>() {
        Ok(number) => number.clone(),
        Err(_) => object
            .call_method0("fileno")
            .and_then(|number| Ok(py.get_type::<PyInt>().call1((number,))?.cast_into()?))
            .map_err(|error| match error {
                _ if error.is_instance_of::<PyAttributeError>(py)
                    || error.is_instance_of::<PyTypeError>(py)
                    || error.is_instance_of::<PyValueError>(py) =>
                {
                    let repr = object.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string());
                    PyValueError::new_err(format!("Invalid file object: {repr}"))
                }
                _ => error,
            })?,
    };
    let fd = number.extract()?;
    if fd < 0 { Err(PyValueError::new_err(format!("Invalid file descriptor: {fd}"))) } else { Ok(fd) }
}

/// True for a float or an int, and not for one of a subclass.
#[inline]
pub fn is_plain_number(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PyFloat>() || object.is_exact_instance_of::<PyInt>()
}

/// Sets an attribute, or deletes it (None), as objects do that have no way of their own.
pub fn set_attribute(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    // SAFETY: live objects; NULL as value deletes. -1 comes with an error set.
    let failed = unsafe {
        ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value.map_or(ptr::null_mut(), Bound::as_ptr)) != 0
    };
    if failed { Err(PyErr::fetch(object.py())) } else { Ok(()) }
}

/// True if the caller's reference is the only one.
pub fn is_unshared(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) == 1 }
}

/// The address of a live object, as a name for it.
pub fn address(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr() as usize
}

/// The name of a class, without its module.
pub fn type_name(class: &Bound<'_, PyType>) -> String {
    class.name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}
