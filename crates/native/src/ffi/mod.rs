//! Every call of CPython's C interface that PyO3 does not wrap, each with the reason why it is sound here.
//!
//! Nothing outside this file and its directory is `unsafe`. All functions take a `Python` token: the caller is attached to
//! the interpreter (holds the GIL). The module declares that it needs the GIL (`gil_used = true` in lib.rs); [`GilCell`] leans on that.

mod buffers;
pub mod children;
mod ended;
mod fastcall;
mod finalizers;
mod hashing;
mod onlooker;
pub mod private;
mod runtime;
mod window;

pub use buffers::{Pinned, View, address_bytes, borrow_fd, fill_bytes};
pub use ended::stay_when_ended;
pub use fastcall::{Arguments, FastMethod, install};
pub use finalizers::{Finalize, install_finalizer};
pub use hashing::gate_hashes;
pub use onlooker::{
    attach_quietly, bound_to, call_c_method, callback_name, caller, code_text, columns, frame_line, is_of_class,
    qualified_name, text_of, untraced,
};
pub use runtime::is_interpreters;
pub use window::Window;

use everloop_core::guarded::Guarded;
use pyo3::exceptions::{PyAttributeError, PySystemError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyCode, PyDict, PyFloat, PyFrame, PyInt, PyString, PyTuple, PyType};
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
#[cfg(debug_assertions)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

// ---- data under the GIL

/// A value that whoever is attached may touch: the GIL is its lock.
#[derive(Default)]
pub struct GilCell<T> {
    value: UnsafeCell<T>,
    /// Whether `with` is running. Builds with assertions look after it.
    #[cfg(debug_assertions)]
    busy: AtomicBool,
}

// SAFETY: `with` needs a `Python` token, and in the interpreters that load this module one thread has one at a time.
unsafe impl<T: Send> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    pub const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            #[cfg(debug_assertions)]
            busy: AtomicBool::new(false),
        }
    }

    /// Runs `f` on the value. `f` must neither run Python code (dropping a reference can) nor come back here: it moves
    /// things in and out, the caller drops and calls afterwards.
    ///
    /// # Panics
    /// If `f` comes back here, or lets another thread come: in builds with assertions.
    #[inline]
    pub fn with<R>(&self, _py: Python<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        let _busy = Busy::of(&self.busy);
        // SAFETY: the GIL is held from here to the end of `f`, since `f` runs no Python code; and the closures in this
        // crate do not nest, so no second reference exists.
        f(unsafe { &mut *self.value.get() })
    }

    /// The value, for a garbage collector's traversal: it runs with the GIL held and outside of any `with`, because
    /// closures there allocate no Python object.
    pub fn traverse<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        #[cfg(debug_assertions)]
        let _busy = Busy::of(&self.busy);
        // SAFETY: see above.
        f(unsafe { &*self.value.get() })
    }
}

/// That a [`GilCell`] is in use.
#[cfg(debug_assertions)]
struct Busy<'a>(&'a AtomicBool);

#[cfg(debug_assertions)]
impl<'a> Busy<'a> {
    fn of(busy: &'a AtomicBool) -> Self {
        assert!(!busy.swap(true, Ordering::Relaxed), "what the GIL protects is in use by its own caller");
        Self(busy)
    }
}

#[cfg(debug_assertions)]
impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// An object that is made at the first use, by two threads at most, and kept.
///
/// `PyOnceLock`, and with it `pyo3::intern!`, lets go of the GIL while it makes one. Where another thread forks meanwhile,
/// the object is half made in the child for ever, and who needs it there waits: so it was with a thread of the pool on its
/// way to its first job.
pub struct Made<T>(GilCell<Option<Py<T>>>);

impl<T> Made<T> {
    pub const fn new() -> Self {
        Self(GilCell::new(None))
    }

    #[inline]
    pub fn get<'py>(
        &self,
        py: Python<'py>,
        make: impl FnOnce(Python<'py>) -> PyResult<Bound<'py, T>>,
    ) -> PyResult<Bound<'py, T>> {
        if let Some(made) = self.0.with(py, |made| made.as_ref().map(|object| object.clone_ref(py))) {
            return Ok(made.into_bound(py));
        }
        let object = make(py)?;
        self.replace(py, object.clone());
        Ok(object)
    }

    fn replace(&self, py: Python<'_>, object: Bound<'_, T>) {
        let old = self.0.with(py, |made| made.replace(object.unbind()));
        drop(old);
    }

    /// It is made anew when it is needed next.
    pub fn forget(&self, py: Python<'_>) {
        let old = self.0.with(py, Option::take);
        drop(old);
    }

    #[inline]
    fn is(&self, py: Python<'_>, object: &Bound<'_, T>) -> bool {
        self.0.with(py, |made| made.as_ref().is_some_and(|made| made.is(object)))
    }
}

impl Made<PyDict> {
    /// What a module calls by a name now, as some programs change that; None: nothing.
    pub fn named<'py>(&self, module: &str, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.get(name.py(), |py| Ok(py.import(module)?.dict()))?.get_item(name)
    }
}

/// The name of an attribute or method, made at the first use.
macro_rules! name {
    ($py:expr, $text:literal) => {{
        static NAME: $crate::ffi::Made<pyo3::types::PyString> = $crate::ffi::Made::new();
        NAME.get($py, |py| Ok(pyo3::types::PyString::intern(py, $text))).expect("a name can always be made")
    }};
}
pub(crate) use name;

/// The data behind a baton, for whoever is attached but does not hold that baton: to throw it away, or to count it.
pub fn peek<T, R>(guarded: &Guarded<T>, _py: Python<'_>, f: impl FnOnce(&mut T) -> R) -> Option<R> {
    // SAFETY: only attached threads use `Guarded::with` in this crate, and its closures run no Python code: as we are
    // attached, nobody is inside. The same holds for `f`.
    unsafe { guarded.try_peek(f) }
}

/// As [`peek`], for a garbage collector's traversal, which runs on a thread that is attached.
pub fn peek_traverse<T>(guarded: &Guarded<T>, f: impl FnOnce(&mut T)) {
    // SAFETY: as in `peek`.
    unsafe { guarded.try_peek(f) };
}

// ---- contexts and calls

#[cold]
fn panicked() -> PyErr {
    PySystemError::new_err("everloop panicked; the message is on stderr")
}

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

/// Whether two contexts are copies of each other still, seen without looking at each variable. False: perhaps not.
///
/// A context has an immutable map, which is all that a collector finds in one that nobody is in; to set a variable is to
/// put another map in its place.
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

/// Whether an object is a `contextvars.Context`.
pub fn is_context(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: compares the type of a live object.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}

unsafe extern "C" {
    /// CPython's bound methods and the function of one; documented, but missing in pyo3-ffi.
    static mut PyMethod_Type: ffi::PyTypeObject;
    fn PyMethod_Function(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// The code of a plain Python function, or a method with one, without attributes of its own: it says all of the function.
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

/// Whether an object is a Python function with this code.
pub fn is_function_of(object: &Bound<'_, PyAny>, code: &Py<PyAny>) -> bool {
    // SAFETY: both are alive; the code is only asked for of a function, which lends it, and compared by its address.
    unsafe { ffi::PyFunction_Check(object.as_ptr()) != 0 && ffi::PyFunction_GetCode(object.as_ptr()) == code.as_ptr() }
}

/// What became of a call in a context.
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
/// `result` is what a call returned inside `context`, which this thread entered: a new reference, or NULL with an error.
#[inline]
unsafe fn finish_call(py: Python<'_>, context: &Py<PyAny>, result: *mut ffi::PyObject) -> Called {
    // SAFETY: the caller's promise; leaving a context must not disturb the error, so that is taken first.
    unsafe {
        if result.is_null() {
            // A panic that Python code lets through goes on in PyO3 at this point. The message is on stderr; the loop, which
            // holds the baton, is not to go along.
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

// ---- threads and frames

/// `threading.get_ident()` of this thread.
pub fn thread_ident() -> u64 {
    // SAFETY: no preconditions.
    unsafe { ffi::PyThread_get_thread_ident() as u64 }
}

/// The interpreter's state of one thread, for others to look at.
#[derive(Debug)]
pub struct ThreadState(*mut ffi::PyThreadState);

// SAFETY: the pointer is followed only by `top_frame`, which has its own conditions.
unsafe impl Send for ThreadState {}
// SAFETY: as above.
unsafe impl Sync for ThreadState {}

impl ThreadState {
    /// This thread's.
    pub fn current(_py: Python<'_>) -> Self {
        // SAFETY: attached, so there is one.
        Self(unsafe { ffi::PyThreadState_Get() })
    }

    /// The frame that the thread runs or is blocked in. Only for a thread that still exists: a `Member` is taken off its
    /// loop's list by its own thread, under the GIL, before that thread ends.
    pub fn top_frame<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyFrame>> {
        // SAFETY: the thread exists (see above), so its state does; the GIL keeps it from changing its frames. The result is
        // a new reference or NULL without an error.
        unsafe {
            let frame = ffi::PyThreadState_GetFrame(self.0);
            Bound::from_owned_ptr_or_opt(py, frame.cast()).map(|frame| frame.cast_into_unchecked())
        }
    }
}

/// The instruction that a frame is at, in bytes from the start of its code.
pub fn frame_instruction(frame: &Bound<'_, PyFrame>) -> i32 {
    // SAFETY: a live frame.
    unsafe { ffi::PyFrame_GetLasti(frame.as_ptr().cast()) }
}

/// The code that a frame runs.
pub fn frame_code<'py>(frame: &Bound<'py, PyFrame>) -> Bound<'py, PyCode> {
    // SAFETY: a live frame always has a code object; the result is a new reference.
    unsafe {
        Bound::from_owned_ptr(frame.py(), ffi::PyFrame_GetCode(frame.as_ptr().cast()).cast()).cast_into_unchecked()
    }
}

// ---- frames that are about to begin

/// What every new frame of the process passes while it is set (PEP 523): see `handoff/frames.rs`.
static FRAME_GATE: OnceLock<fn(Python<'_>) -> PyResult<()>> = OnceLock::new();
/// Who evaluated frames before us, if it was not the interpreter itself. Written under the GIL.
static EVALUATOR: Mutex<Option<ffi::_PyFrameEvalFunction>> = Mutex::new(None);

unsafe extern "C" fn evaluate(
    thread: *mut ffi::PyThreadState,
    frame: *mut ffi::_PyInterpreterFrame,
    throw: c_int,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter evaluates frames with the GIL held, and calls us with arguments that are meant for another
    // evaluator just like it. With `throw`, an error is set that the frame begins with: a gate that fails sets another.
    unsafe {
        let py = Python::assume_attached();
        stay_when_ended(); // any thread of the process may be in here, and for long
        let thrown = if throw != 0 { PyErr::take(py) } else { None };
        let outcome = catch_unwind(AssertUnwindSafe(|| FRAME_GATE.get().map_or(Ok(()), |gate| gate(py))));
        let throw = match outcome {
            Ok(Ok(())) => {
                if let Some(error) = thrown {
                    error.restore(py);
                }
                throw
            }
            Ok(Err(error)) => {
                error.restore(py);
                1
            }
            Err(_) => {
                panicked().restore(py);
                1
            }
        };
        let evaluator = *EVALUATOR.lock().unwrap_or_else(PoisonError::into_inner);
        let default = private::for_rescue().expect("whoever set this evaluator has looked it up").evaluators.default;
        evaluator.unwrap_or(default)(thread, frame, throw)
    }
}

/// Has every frame that begins pass `gate`, or no longer. One and the same gate at all times.
pub fn set_frame_gate(_py: Python<'_>, gate: fn(Python<'_>) -> PyResult<()>, on: bool) {
    let Some(&private::ForRescue { evaluators: private::Evaluators { default, current, set }, .. }) =
        private::for_rescue()
    else {
        return; // without it nobody is rescued
    };
    let _ = FRAME_GATE.set(gate); // an earlier call has set the same
    // SAFETY: the current interpreter, under the GIL; both functions are valid for ever. The interpreter reports its own
    // evaluator as `_PyEval_EvalFrameDefault`, and takes that as "none".
    unsafe {
        let interpreter = ffi::PyInterpreterState_Get();
        let now = current(interpreter);
        let ours: ffi::_PyFrameEvalFunction = evaluate;
        let mut before = EVALUATOR.lock().unwrap_or_else(PoisonError::into_inner);
        if on && !ptr::fn_addr_eq(now, ours) {
            *before = (!ptr::fn_addr_eq(now, default)).then_some(now);
            set(interpreter, Some(ours));
        } else if !on && ptr::fn_addr_eq(now, ours) {
            // Otherwise another tool was set on top of us, and calls us: then our gate stays, and lets everybody pass.
            set(interpreter, Some(before.take().unwrap_or(default)));
        }
    }
}

/// Whether a callable is implemented in C without a Python function in between: what `C_RETURN` events follow.
pub fn is_c_function(callable: &Bound<'_, PyAny>) -> bool {
    callable.is_instance_of::<PyCFunction>() || ptr::eq(callable.get_type_ptr(), &raw mut ffi::PyMethodDescr_Type)
}

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

/// Whether an object is a float or an int, and not of a subclass.
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

/// Whether the caller's reference is the only one.
pub fn is_unshared(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) == 1 }
}

/// Names a live object by its address.
pub fn address(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr() as usize
}

/// A pointer to a handle that is being run: written by the thread that runs it, read by others under the GIL.
#[derive(Debug, Default)]
pub struct CurrentHandle(AtomicPtr<ffi::PyObject>);

impl CurrentHandle {
    /// Until what is returned is dropped, this handle is being run.
    #[inline]
    pub fn hold<'a, T>(&'a self, handle: &'a Py<T>) -> HeldHandle<'a> {
        self.0.store(handle.as_ptr(), Ordering::Relaxed);
        HeldHandle(self)
    }

    /// The handle, if one is being run.
    pub fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let object = self.0.load(Ordering::Relaxed);
        // SAFETY: `hold` is called with the GIL held, and what it returns borrows the handle until it clears this, also under
        // the GIL: as we hold it now, a pointer that is set is alive.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, object).map(Bound::unbind) }
    }
}

/// A handle that is being run.
pub struct HeldHandle<'a>(&'a CurrentHandle);

impl Drop for HeldHandle<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.0.store(ptr::null_mut(), Ordering::Relaxed);
    }
}

/// Classes that are handed to Python by name only.
pub fn type_name(class: &Bound<'_, PyType>) -> String {
    class.name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}
