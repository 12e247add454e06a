//! Looks up the value of a name as the interpreter would, for an onlooker: no code of the program runs. Where that
//! would be needed (a property, `__getattr__`, a class of one's own for modules) there is no answer.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyFrame, PyModule, PyString, PyTuple, PyType};
use std::ptr;

/// The value of a local variable of a frame, or of one that it closes over. None: it has none now.
pub fn variable<'py>(frame: &Bound<'py, PyFrame>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: a live frame, which is not run meanwhile, as we hold the GIL; a new reference, or NULL with an error set,
    // which is taken.
    unsafe {
        let value = ffi::PyFrame_GetVar(frame.as_ptr().cast(), name.as_ptr());
        Bound::from_owned_ptr_or_err(frame.py(), value).ok()
    }
}

/// The value of a global name in a frame, or of a built-in one.
pub fn global<'py>(frame: &Bound<'py, PyFrame>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: a live frame; new references to what it keeps.
    let places = unsafe {
        let (globals, builtins) =
            (ffi::PyFrame_GetGlobals(frame.as_ptr().cast()), ffi::PyFrame_GetBuiltins(frame.as_ptr().cast()));
        [globals, builtins].map(|place| Bound::from_owned_ptr_or_opt(frame.py(), place))
    };
    places.into_iter().flatten().find_map(|place| item(&place, name))
}

/// The item of a plain dictionary.
fn item<'py>(dictionary: &Bound<'py, PyAny>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    // Names are compared by C code: this one is a plain `str`. A key of another class with the same hash would be
    // asked.
    dictionary.cast_exact::<PyDict>().ok()?.get_item(name).ok()?
}

/// What the class of an object has by this name, in the order of its bases.
pub fn of_class<'py>(object: &Bound<'py, PyAny>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    let py = object.py();
    // SAFETY: a live type, whose `tp_mro` is a tuple of types that it keeps, or NULL while it is being made; a new
    // reference to each one's dictionary, or NULL.
    unsafe {
        let bases = Bound::from_borrowed_ptr_or_opt(py, (*object.get_type_ptr()).tp_mro)?;
        bases.cast_exact::<PyTuple>().ok()?.iter().find_map(|class| {
            let class = class.cast_into::<PyType>().ok()?;
            let own = Bound::from_owned_ptr_or_opt(py, ffi::PyType_GetDict(class.as_type_ptr()))?;
            item(&own, name)
        })
    }
}

/// The attribute of an object; a method written in C as its class has it.
pub fn attribute<'py>(object: &Bound<'py, PyAny>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    if let Ok(module) = object.cast_exact::<PyModule>() {
        return item(&module.dict(), name);
    }
    let py = object.py();
    // SAFETY: compares pointers of live types. `PyObject_GenericGetAttr` runs no Python code where what the class has
    // by that name is no descriptor but one of C's for a slot or a method; a new reference, or NULL with an error set,
    // which is taken.
    unsafe {
        let generic: ffi::getattrofunc = ffi::PyObject_GenericGetAttr;
        if !(*object.get_type_ptr()).tp_getattro.is_some_and(|own| ptr::fn_addr_eq(own, generic)) {
            return None;
        }
        let found = of_class(object, name);
        let class = found.as_ref().map_or(ptr::null_mut(), |found| found.get_type_ptr());
        let is_slot = ptr::eq(class, &raw mut ffi::PyMemberDescr_Type);
        let is_method = ptr::eq(class, &raw mut ffi::PyMethodDescr_Type);
        if !is_slot && !is_method && !class.is_null() && (*class).tp_descr_get.is_some() {
            return None;
        }
        let value = ffi::PyObject_GenericGetAttr(object.as_ptr(), name.as_ptr());
        let value = Bound::from_owned_ptr_or_err(py, value).ok()?;
        let is_its_own =
            value.is_instance_of::<PyCFunction>() && ffi::PyCFunction_GetSelf(value.as_ptr()) == object.as_ptr();
        if is_method && is_its_own { found } else { Some(value) }
    }
}
