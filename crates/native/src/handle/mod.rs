//! Handle and TimerHandle: a callback with its arguments and its context, to be run once or to be cancelled.
//!
//! They behave as `asyncio.Handle` and `asyncio.TimerHandle`, and say so to `isinstance` (through `__class__`).

mod args;
mod description;
mod native;
mod running;
mod timer;

pub use args::Args;
pub use native::Native;
pub use timer::TimerHandle;

use crate::errors::ends_loop;
use crate::ffi::{self, Called, Free, GilCell, Reuse, name};
use crate::private;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};
use running::Running;
use std::mem;
use std::sync::Arc;

/// The callback and its arguments.
struct Call {
    callback: Py<PyAny>,
    args: Args,
}

impl Call {
    #[inline]
    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { callback: self.callback.clone_ref(py), args: self.args.clone_ref(py) }
    }

    /// Drops it. Cheaper than to let it go, which asks whether the thread is attached.
    #[inline]
    fn drop_ref(self, py: Python<'_>) {
        self.callback.drop_ref(py);
        self.args.drop_ref(py);
    }
}

/// The parts that change; none, in a handle that is free. Written by the thread that runs, cancels or makes the handle,
/// under the GIL.
#[derive(Default)]
struct Body {
    /// None once the handle is cancelled.
    call: Option<Call>,
    cancelled: bool,
    /// True if it calls, or called, a native method.
    native: bool,
    /// None only between `tp_clear` and the end.
    context: Option<Py<PyAny>>,
    loop_: Option<Py<PyAny>>,
    /// The place where it was scheduled (debug mode).
    source_traceback: Option<Py<PyAny>>,
    /// The `repr` from before it was cancelled (debug mode).
    old_repr: Option<Py<PyAny>>,
    /// The run of the callback, for a handle of `call_soon_threadsafe` from CPython 3.14 on.
    running: Option<Arc<Running>>,
}

/// A scheduled callback: what `loop.call_soon` returns.
#[pyclass(frozen, weakref, subclass, module = "everloop._native")]
pub struct Handle(GilCell<Body>);

/// The outcome of a run.
pub enum Ran {
    Done,
    /// Its context is entered elsewhere: try again later, or report `PyErr` if nobody is going to leave it.
    Busy(PyErr),
    /// `SystemExit` or `KeyboardInterrupt`: for whoever called `run_forever`.
    Fatal(PyErr),
}

impl Handle {
    #[inline]
    pub fn new(callback: Py<PyAny>, args: Args, context: Py<PyAny>, loop_: Py<PyAny>) -> Self {
        let native = matches!(args, Args::Native(_));
        Self(GilCell::new(Body {
            call: Some(Call { callback, args }),
            cancelled: false,
            native,
            context: Some(context),
            loop_: Some(loop_),
            source_traceback: None,
            old_repr: None,
            running: None,
        }))
    }

    /// Makes the Python object.
    #[inline]
    pub fn into_object(self, py: Python<'_>) -> PyResult<Py<Self>> {
        ffi::reuse(py, self, |object, handle| handle.move_into(object)).or_else(|handle| Py::new(py, handle))
    }

    /// Gives its contents to an object that has none.
    #[inline]
    fn move_into(self, object: &Bound<'_, Self>) {
        let none = object.get().0.with(object.py(), |body| mem::replace(body, self.0.into_inner()));
        mem::forget(none); // nothing to drop
    }

    /// Drops all that it refers to.
    #[inline]
    fn empty(&self, py: Python<'_>) {
        let body = self.0.with(py, mem::take);
        if let Some(call) = body.call {
            call.drop_ref(py);
        }
        if let Some(context) = body.context {
            context.drop_ref(py);
        }
        if let Some(loop_) = body.loop_ {
            loop_.drop_ref(py);
        }
    }

    #[inline]
    pub fn is_cancelled(&self, py: Python<'_>) -> bool {
        self.0.with(py, |body| body.cancelled)
    }

    /// Lets other threads wait for the end of its callback.
    pub fn set_thread_safe(&self, py: Python<'_>) {
        self.0.with(py, |body| body.running = Some(Arc::new(Running::new())));
    }

    /// Sets another callback, with the same arguments. Only before it is queued.
    pub fn replace_callback(&self, py: Python<'_>, callback: Py<PyAny>) {
        let old = self.0.with(py, |body| body.call.as_mut().map(|call| mem::replace(&mut call.callback, callback)));
        drop(old);
    }

    /// True if it calls a native method: a transport's, for one.
    pub fn is_native(&self, py: Python<'_>) -> bool {
        self.0.with(py, |body| body.native)
    }

    /// Has the callback run in another context.
    pub fn set_context(&self, py: Python<'_>, context: Py<PyAny>) {
        let old = self.0.with(py, |body| body.context.replace(context));
        drop(old);
    }

    /// The callback, or the object whose native method runs, and that method; None: cancelled.
    pub fn call<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyAny>, Option<&'static Native>)> {
        self.0.with(py, |body| {
            body.call.as_ref().map(|call| {
                let native = if let Args::Native(native) = &call.args { Some(*native) } else { None };
                (call.callback.bind(py).clone(), native)
            })
        })
    }

    /// The callback, unless cancelled.
    pub fn callback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let (callback, native) = self.call(py)?;
        match native {
            Some(native) => callback.getattr(native.name).ok(),
            None => Some(callback),
        }
    }

    /// The task that this handle steps or wakes, if that is what it does.
    pub fn task<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let is_native = |call: &Call| matches!(call.args, Args::Native(_));
        if self.0.with(py, |body| body.call.as_ref().is_none_or(is_native)) {
            return None;
        }
        let owner = self.callback(py)?.getattr_opt(name!(py, "__self__")).ok()??;
        let is_task = owner.hasattr(name!(py, "get_coro")).unwrap_or(false);
        is_task.then_some(owner)
    }

    /// Notes where it was scheduled, as asyncio's debug mode does.
    pub fn set_source_traceback(&self, py: Python<'_>, traceback: Py<PyAny>) {
        self.0.with(py, |body| body.source_traceback = Some(traceback));
    }

    /// Runs the callback in its context, unless it was cancelled. Errors go to the loop's exception handler.
    #[inline]
    pub fn run(slf: &Bound<'_, Self>) -> Ran {
        let py = slf.py();
        let parts = slf.get().0.with(py, |body| {
            let call = body.call.as_ref()?;
            let context = body.context.as_ref()?.clone_ref(py);
            Some((call.clone_ref(py), context, body.running.clone()))
        });
        // The callback may cancel its own handle, and it must not go meanwhile.
        let Some((Call { callback, args }, context, running)) = parts else { return Ran::Done };
        if let Some(running) = &running {
            running.begin(py);
        }
        let called = match &args {
            Args::Native(native) => native.run_in(callback.bind(py), &context),
            Args::None => ffi::call_in_context(py, &context, &callback, []),
            Args::One(a) => ffi::call_in_context(py, &context, &callback, [a]),
            Args::Two(a, b) => ffi::call_in_context(py, &context, &callback, [a, b]),
            Args::Three(a, b, c) => ffi::call_in_context(py, &context, &callback, [a, b, c]),
            Args::Many(all) => ffi::call_tuple_in_context(py, &context, &callback, all),
        };
        let ran = match called {
            Called::Returned => Ran::Done,
            Called::ContextBusy(error) => Ran::Busy(error),
            Called::Raised(error) => Self::report(slf, error),
        };
        if let Some(running) = running {
            running.end(py);
        }
        Call { callback, args }.drop_ref(py);
        context.drop_ref(py);
        ran
    }

    /// Cancels the callback, and calls `note` if it was not cancelled before. `is_debug` says whether a loop is in debug
    /// mode.
    #[inline]
    pub fn cancel_noting(
        slf: &Bound<'_, Self>,
        is_debug: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<bool>,
        note: impl FnOnce(),
    ) -> PyResult<()> {
        let py = slf.py();
        let body = &slf.get().0;
        slf.get().wait_ended(py)?;
        let was_cancelled = body.with(py, |b| mem::replace(&mut b.cancelled, true));
        if was_cancelled {
            return Ok(());
        }
        let loop_ = body.with(py, |b| b.loop_.as_ref().map(|l| l.clone_ref(py)));
        if loop_.map_or(Ok(false), |loop_| is_debug(loop_.bind(py)))? {
            // Keep a representation of what is being thrown away.
            let repr = slf.repr()?.into_any().unbind();
            body.with(py, |b| b.old_repr = Some(repr));
        }
        note();
        if let Some(call) = body.with(py, |b| b.call.take()) {
            call.drop_ref(py);
        }
        Ok(())
    }

    /// Waits until its callback does not run, where that is to be waited for: see running.rs.
    fn wait_ended(&self, py: Python<'_>) -> PyResult<()> {
        let Some(running) = self.running(py) else { return Ok(()) };
        running.wait_ended(py, self._loop(py).as_ref().map(|loop_| loop_.bind(py)))
    }

    pub(super) fn running(&self, py: Python<'_>) -> Option<Arc<Running>> {
        self.0.with(py, |body| body.running.clone())
    }

    /// Hands an error to the loop's exception handler, unless it is one that ends the loop.
    #[cold]
    pub fn report(slf: &Bound<'_, Self>, error: PyErr) -> Ran {
        let py = slf.py();
        if ends_loop(py, &error) {
            return Ran::Fatal(error);
        }
        match slf.call_method1("_report_exception", (error.value(py),)) {
            Ok(_) => Ran::Done,
            // A handler may raise SystemExit or KeyboardInterrupt; the loop catches everything else.
            Err(error) if ends_loop(py, &error) => Ran::Fatal(error),
            Err(error) => {
                error.write_unraisable(py, Some(slf));
                Ran::Done
            }
        }
    }
}

impl Reuse for Handle {
    fn free() -> &'static Free<Self> {
        static FREE: Free<Handle> = Free::new();
        &FREE
    }

    fn strip(slf: &Bound<'_, Self>) {
        slf.get().empty(slf.py());
    }
}

/// Before there is a handle.
pub fn install(py: Python<'_>) {
    ffi::install_reuse::<Handle>(py);
    ffi::install_reuse::<TimerHandle>(py);
}

/// True if a loop is in debug mode.
pub fn is_debug(loop_: &Bound<'_, PyAny>) -> PyResult<bool> {
    loop_.getattr(name!(loop_.py(), "_debug"))?.is_truthy()
}

#[pymethods]
impl Handle {
    /// Cancels the callback; of no effect if it was cancelled or run before.
    pub fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::cancel_noting(slf, is_debug, || ())
    }

    /// True if the callback was cancelled.
    pub fn cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        self.wait_ended(py)?;
        Ok(self.is_cancelled(py))
    }

    /// The context that the callback runs in.
    pub fn get_context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.with(py, |body| body.context.as_ref().map(|c| c.clone_ref(py)))
    }

    /// Runs the callback now: asyncio's own code calls this of handles that it did not make.
    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        match Self::run(slf) {
            Ran::Done => Ok(()),
            Ran::Fatal(error) => Err(error),
            Ran::Busy(error) => match Self::report(slf, error) {
                Ran::Fatal(error) => Err(error),
                _ => Ok(()),
            },
        }
    }

    #[getter]
    pub fn _callback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.callback(py).map(Bound::unbind)
    }

    #[getter]
    pub fn _args(&self, py: Python<'_>) -> PyResult<Option<Py<PyTuple>>> {
        let args = self.0.with(py, |body| body.call.as_ref().map(|call| call.args.clone_ref(py)));
        args.map(|args| args.to_tuple(py).map(Bound::unbind)).transpose()
    }

    #[getter]
    fn _context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_context(py)
    }

    #[getter]
    fn _cancelled(&self, py: Python<'_>) -> bool {
        self.is_cancelled(py)
    }

    #[getter]
    pub fn _loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.with(py, |body| body.loop_.as_ref().map(|l| l.clone_ref(py)))
    }

    #[getter]
    pub fn _source_traceback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.with(py, |body| body.source_traceback.as_ref().map(|t| t.clone_ref(py)))
    }

    /// `isinstance(handle, asyncio.Handle)` holds.
    #[getter]
    fn __class__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static HANDLE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = slf.py();
        if slf.get().running(py).is_some() {
            return private::THREAD_SAFE_HANDLE.class_for(slf);
        }
        Ok(HANDLE.import(py, "asyncio", "Handle")?.clone().into_any())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.traverse(|body| {
            if let Some(call) = &body.call {
                visit.call(&call.callback)?;
                call.args.traverse(&visit)?;
            }
            visit.call(&body.context)?;
            visit.call(&body.loop_)?;
            visit.call(&body.source_traceback)?;
            visit.call(&body.old_repr)
        })
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let garbage = slf.get().0.with(slf.py(), |body| {
            (
                body.call.take(),
                body.context.take(),
                body.loop_.take(),
                body.source_traceback.take(),
                body.old_repr.take(),
            )
        });
        drop(garbage);
    }
}
