//! Functions: which kind of function a callable is, seen without asking it for attributes.

use pyo3::ffi;
use pyo3::prelude::*;

unsafe extern "C" {
    /// CPython's bound methods and the function of one; documented, but missing in pyo3-ffi.
    pub static mut PyMethod_Type: ffi::PyTypeObject;
    pub fn PyMethod_Function(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// The code of a plain Python function, or of a method with one. None for a function with attributes, which may change
/// what it is.
pub fn plain_code<'a, 'py>(function: &'a Bound<'py, PyAny>) -> Option<Borrowed<'a, 'py, PyAny>> {
    // SAFETY: each object is of exactly the type that is asked of it; it is alive, a method keeps its function and that
    // lends its code, and with the GIL held nobody changes them.
    unsafe {
        let mut object = function.as_ptr();
        if ffi::Py_IS_TYPE(object, &raw mut PyMethod_Type) != 0 {
            object = PyMethod_Function(object);
        }
        if ffi::PyFunction_Check(object) == 0 {
            return None;
        }
        let attributes = (*object.cast::<ffi::PyFunctionObject>()).func_dict;
        let is_plain = attributes.is_null() || ffi::PyDict_Size(attributes) == 0;
        is_plain.then(|| Borrowed::from_ptr(function.py(), ffi::PyFunction_GetCode(object)))
    }
}

/// True for a Python function with this code.
pub fn is_function_of(object: &Bound<'_, PyAny>, code: &Py<PyAny>) -> bool {
    // SAFETY: both are alive; the code is only asked for of a function, which lends it, and compared by its address.
    unsafe { ffi::PyFunction_Check(object.as_ptr()) != 0 && ffi::PyFunction_GetCode(object.as_ptr()) == code.as_ptr() }
}

/// True for a callable that the interpreter calls through C code, after which there is a `C_RETURN` or `C_RAISE` event: no
/// function or method written in Python, and where the call unpacks its arguments no method at all. It may be a class, or
/// an object, that calls Python code in turn.
pub fn is_c_callable(callable: &Bound<'_, PyAny>, unpacks: bool) -> bool {
    // SAFETY: compares the types of live objects; a method lends its function.
    unsafe {
        let is_python = |object| ffi::Py_IS_TYPE(object, &raw mut ffi::PyFunction_Type) != 0;
        if ffi::Py_IS_TYPE(callable.as_ptr(), &raw mut PyMethod_Type) != 0 {
            return !unpacks && !is_python(PyMethod_Function(callable.as_ptr()));
        }
        !is_python(callable.as_ptr())
    }
}
