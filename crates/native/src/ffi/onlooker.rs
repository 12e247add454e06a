//! An onlooker: a thread that looks at the interpreter, and must run none of the program's code. It is the watchdog.
//!
//! Looking at frames, code objects and callbacks without asking them: an attribute may be a property, a metaclass may
//! have `__getattribute__`, and whoever drops the last reference runs a destructor.

use super::cells::name;
use super::ended::stay_when_ended;
use super::functions::{PyMethod_Function, PyMethod_Type};
use super::lookup;
use everloop_core::sync::assert_unlocked;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyCode, PyDict, PyFrame, PyFunction, PyModule, PyString, PyType};
use std::ffi::{CStr, c_int};
use std::ptr;

unsafe extern "C" {
    /// The place of an instruction in the source. It is in the public headers, but missing in pyo3-ffi.
    fn PyCode_Addr2Location(
        code: *mut ffi::PyObject,
        offset: c_int,
        start_line: *mut c_int,
        start_column: *mut c_int,
        end_line: *mut c_int,
        end_column: *mut c_int,
    ) -> c_int;

    /// The object of a method written in C. The function is documented, but missing in pyo3-ffi, too.
    fn PyMethod_Self(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// Takes the GIL for `f`; None: there is no interpreter. For a thread that does not have it, and is not Python's.
///
/// PyO3's own way first settles what other threads have dropped without the GIL, and drops at once what `f` drops. Here
/// both is left to the next thread that comes by PyO3's: no last reference goes on this one.
pub fn attach_quietly<R>(f: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    struct Attached(ffi::PyGILState_STATE);

    impl Drop for Attached {
        fn drop(&mut self) {
            // SAFETY: made by the call below, on this thread, and not released before.
            unsafe { ffi::PyGILState_Release(self.0) };
        }
    }

    assert_unlocked();
    stay_when_ended();
    // SAFETY: these may be called by any thread. From `Ensure` on this one has the GIL, until `attached` is dropped.
    unsafe {
        if ffi::Py_IsInitialized() == 0 {
            return None;
        }
        let attached = Attached(ffi::PyGILState_Ensure());
        let result = f(Python::assume_attached());
        drop(attached);
        Some(result)
    }
}

/// Runs `f` unseen by debuggers, profilers and coverage (`sys.settrace`, `sys.monitoring`): for a thread that is not
/// Python's. They would ask `threading` which thread this is, and it would make one up, which then outlives this one.
pub fn untraced<R>(_py: Python<'_>, f: impl FnOnce() -> R) -> R {
    // SAFETY: attached, so there is a thread state; each call of the first is followed by one of the second.
    unsafe {
        let state = ffi::PyThreadState_Get();
        ffi::PyThreadState_EnterTracing(state);
        let result = f();
        ffi::PyThreadState_LeaveTracing(state);
        result
    }
}

// ---- frames

/// The frame that called this one.
pub fn caller<'py>(frame: &Bound<'py, PyFrame>) -> Option<Bound<'py, PyFrame>> {
    // SAFETY: a live frame; the result is a new reference, or NULL without an error.
    unsafe {
        let caller = ffi::PyFrame_GetBack(frame.as_ptr().cast());
        Bound::from_owned_ptr_or_opt(frame.py(), caller.cast()).map(|frame| frame.cast_into_unchecked())
    }
}

/// The line that a frame is at, 0 where it has none.
pub fn frame_line(frame: &Bound<'_, PyFrame>) -> u32 {
    // SAFETY: a live frame.
    let line = unsafe { ffi::PyFrame_GetLineNumber(frame.as_ptr().cast()) };
    u32::try_from(line).unwrap_or(0)
}

/// The place of an instruction in the source: its first line and column, and its last ones. None: nobody knows.
pub fn place(code: &Bound<'_, PyCode>, instruction: usize) -> Option<[u32; 4]> {
    let instruction = c_int::try_from(instruction).ok()?;
    let mut place: [c_int; 4] = [-1; 4];
    let [start_line, start, end_line, end] = &mut place;
    // SAFETY: a live code object, and valid places for the results. An offset outside of it is answered with 0.
    let found = unsafe { PyCode_Addr2Location(code.as_ptr(), instruction, start_line, start, end_line, end) } != 0;
    let known = found && place.iter().all(|number| *number >= 0);
    known.then(|| place.map(|number| u32::try_from(number).unwrap_or(0)))
}

/// An attribute of a code object that is text.
pub fn code_text<'py>(code: &Bound<'py, PyCode>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyString>> {
    // Code objects have no dictionary, and their class is C's and cannot be changed.
    code.getattr(name).and_then(plain_text)
}

/// A plain `str`: code objects and tasks may have been given an instance of a subclass.
fn plain_text(text: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyString>> {
    match text.cast_into_exact::<PyString>() {
        Ok(text) => Ok(text),
        Err(error) => {
            let text = error.into_inner();
            let py = text.py();
            let text = text.cast_into::<PyString>()?;
            Ok(PyString::new(py, &text.to_string_lossy()))
        }
    }
}

// ---- callbacks

/// The object whose method a callback is, if it is a method of C or Python, or the step of a task.
pub fn bound_to<'py>(callback: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = callback.py();
    // SAFETY: each function is called for an object of exactly the type that it is for, and lends what that object
    // keeps; a wrapper's attribute is read by its C getter, which gives a new reference.
    unsafe {
        if callback.is_instance_of::<PyCFunction>() {
            Bound::from_borrowed_ptr_or_opt(py, ffi::PyCFunction_GetSelf(callback.as_ptr()))
        } else if is_method(callback) {
            Bound::from_borrowed_ptr_or_opt(py, PyMethod_Self(callback.as_ptr()))
        } else if is_step_wrapper(&callback.get_type()) {
            let name = name!(py, "__self__");
            Bound::from_owned_ptr_or_err(py, ffi::PyObject_GenericGetAttr(callback.as_ptr(), name.as_ptr())).ok()
        } else {
            None
        }
    }
}

fn is_method(callback: &Bound<'_, PyAny>) -> bool {
    // SAFETY: compares the type of a live object.
    unsafe { ffi::Py_IS_TYPE(callback.as_ptr(), &raw mut PyMethod_Type) != 0 }
}

/// True for the type of the callables that step a task, which has no public name.
fn is_step_wrapper(class: &Bound<'_, PyType>) -> bool {
    static_name(class).is_some_and(|name| name == c"_asyncio.TaskStepMethWrapper")
}

/// The full name of a class that is C's, and that nobody can change.
fn static_name<'a>(class: &'a Bound<'_, PyType>) -> Option<&'a CStr> {
    let class = class.as_type_ptr();
    // SAFETY: a live type, whose name lives as long; flags and name of one that is immutable do not change.
    unsafe {
        let is_fixed = ffi::PyType_GetFlags(class) & ffi::Py_TPFLAGS_IMMUTABLETYPE != 0;
        is_fixed.then(|| CStr::from_ptr((*class).tp_name))
    }
}

/// The name of a callback: its qualified name, after its module where that is not the program's own.
pub fn callback_name(callback: &Bound<'_, PyAny>) -> String {
    let py = callback.py();
    if callback.is_exact_instance_of::<PyFunction>() {
        return function_name(callback);
    }
    if is_method(callback) {
        // SAFETY: exactly a method, which lends the function that it keeps.
        let function = unsafe { Bound::from_borrowed_ptr(py, PyMethod_Function(callback.as_ptr())) };
        if function.is_exact_instance_of::<PyFunction>() {
            return function_name(&function);
        }
    }
    if let Ok(function) = callback.cast::<PyCFunction>() {
        return builtin_name(function);
    }
    class_name(&callback.get_type())
}

/// The name of a function written in Python: its class has getters written in C for both names, and cannot be changed.
fn function_name(function: &Bound<'_, PyAny>) -> String {
    let text = |name| function.getattr(name).ok().and_then(|text| plain_text(text).ok());
    let name = text("__qualname__").map_or_else(|| "?".to_owned(), |name| name.to_string_lossy().into_owned());
    with_module(text("__module__"), name)
}

/// The name of a function or a bound method written in C.
fn builtin_name(function: &Bound<'_, PyCFunction>) -> String {
    let (name, module) = definition(function);
    match bound_to(function.as_any()) {
        Some(owner) if !owner.is_instance_of::<PyModule>() => {
            let class = owner.cast::<PyType>().cloned().unwrap_or_else(|_| owner.get_type());
            format!("{}.{name}", qualified_name(&class))
        }
        _ => with_module(module, name),
    }
}

/// The name of a builtin, and that of its module, if it has one.
fn definition<'py>(function: &Bound<'py, PyCFunction>) -> (String, Option<Bound<'py, PyString>>) {
    // SAFETY: a builtin; its definition and its name live as long as it, and it keeps `m_module`.
    let (name, module) = unsafe {
        let object = function.as_ptr().cast::<ffi::PyCFunctionObject>();
        let name = CStr::from_ptr((*(*object).m_ml).ml_name).to_string_lossy().into_owned();
        (name, Bound::from_borrowed_ptr_or_opt(function.py(), (*object).m_module))
    };
    (name, module.and_then(|module| plain_text(module).ok()))
}

/// The address of the definition of a function written in C, or of a method descriptor: two functions have the same
/// one if they run the same C code.
pub fn definition_address(function: &Bound<'_, PyAny>) -> Option<usize> {
    let object = function.as_ptr();
    // SAFETY: exactly a method descriptor, or a builtin: its definition is there as long as it is.
    unsafe {
        if ptr::eq(function.get_type_ptr(), &raw mut ffi::PyMethodDescr_Type) {
            Some((*object.cast::<ffi::PyMethodDescrObject>()).d_method as usize)
        } else {
            function.is_instance_of::<PyCFunction>().then(|| (*object.cast::<ffi::PyCFunctionObject>()).m_ml as usize)
        }
    }
}

/// The name of what a function written in C belongs to: of its module, or of its class with the module of that. None:
/// it is none that C code has for sure.
pub fn owner_name(function: &Bound<'_, PyAny>) -> Option<String> {
    if let Some(class) = method_class(function) {
        return Some(class_name(&class));
    }
    let function = function.cast::<PyCFunction>().ok()?;
    let (name, module) = definition(function);
    match bound_to(function.as_any()) {
        Some(owner) if !owner.is_instance_of::<PyModule>() => {
            let method = lookup::of_class(&owner, &PyString::new(function.py(), &name))?;
            method_class(&method).map(|class| class_name(&class))
        }
        _ => module.map(|module| module.to_string_lossy().into_owned()),
    }
}

/// The class that a method descriptor written in C is of.
fn method_class<'py>(descriptor: &Bound<'py, PyAny>) -> Option<Bound<'py, PyType>> {
    // SAFETY: exactly a method descriptor, which keeps its class.
    unsafe {
        let is_method = ptr::eq(descriptor.get_type_ptr(), &raw mut ffi::PyMethodDescr_Type);
        let class = is_method.then(|| (*descriptor.as_ptr().cast::<ffi::PyDescrObject>()).d_type)?;
        Bound::from_borrowed_ptr_or_opt(descriptor.py(), class.cast())?.cast_into().ok()
    }
}

/// The name of the class of an object that can be called.
fn class_name(class: &Bound<'_, PyType>) -> String {
    if let Some(full) = static_name(class) {
        let full = full.to_string_lossy();
        return full.strip_prefix("builtins.").unwrap_or(&full).to_owned();
    }
    // SAFETY: a live type; a new reference to its dictionary, or NULL.
    let variables = unsafe { Bound::from_owned_ptr_or_opt(class.py(), ffi::PyType_GetDict(class.as_type_ptr())) };
    let module = variables
        .and_then(|variables| variables.cast_into::<PyDict>().ok())
        .and_then(|variables| variables.get_item("__module__").ok()?)
        .and_then(|module| plain_text(module).ok());
    with_module(module, qualified_name(class))
}

/// The qualified name of a class.
pub fn qualified_name(class: &Bound<'_, PyType>) -> String {
    // SAFETY: a live type; a new reference, or NULL with an error set.
    let name = unsafe { Bound::from_owned_ptr_or_err(class.py(), ffi::PyType_GetQualName(class.as_type_ptr())) };
    name.and_then(plain_text).map_or_else(|_| "?".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn with_module(module: Option<Bound<'_, PyString>>, name: String) -> String {
    match module.as_ref().map(|module| module.to_string_lossy()) {
        Some(module) if module != "builtins" && module != "__main__" => format!("{module}.{name}"),
        _ => name,
    }
}

/// True if an object is of a class, or of one that is derived from it: by its real type, whatever the classes say.
pub fn is_of_class(object: &Bound<'_, PyAny>, class: &Bound<'_, PyType>) -> bool {
    // SAFETY: both types are alive.
    unsafe { ffi::PyType_IsSubtype(object.get_type_ptr(), class.as_type_ptr()) != 0 }
}

/// Calls a method of a class of C's that runs nothing of the program; None: it is not one.
pub fn call_c_method<'py>(method: &Bound<'py, PyAny>, object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let is_c = ptr::eq(method.get_type_ptr(), &raw mut ffi::PyMethodDescr_Type);
    if is_c { method.call1((object,)).ok() } else { None }
}

/// The text of what such a method returns.
pub fn text_of(text: Bound<'_, PyAny>) -> Option<String> {
    plain_text(text).ok().map(|text| text.to_string_lossy().into_owned())
}
