//! Handle and TimerHandle: a callback with its arguments and its context, to be run once or to be cancelled.
//!
//! They behave as `asyncio.Handle` and `asyncio.TimerHandle`, and say so to `isinstance` (through `__class__`).

mod running;
mod timer;

pub use timer::TimerHandle;

use crate::errors::{call_exception_handler, ends_loop};
use crate::ffi::{self, Called, GilCell, name};
use crate::private;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};
use running::Running;
use std::sync::Arc;

/// A method of a native object, which handles call without a detour through Python.
pub struct Native {
    /// Its name in Python, for those who look at the handle.
    pub name: &'static str,
    pub run: fn(&Bound<'_, PyAny>) -> PyResult<()>,
    /// Where a step that is aside is in the handle's context: whether it runs in a copy of that, or waits for the step.
    pub runs_beside: fn(&Bound<'_, PyAny>) -> bool,
}

impl Native {
    pub const fn new(name: &'static str, run: fn(&Bound<'_, PyAny>) -> PyResult<()>) -> Self {
        Self { name, run, runs_beside: |_| false }
    }

    pub const fn beside(self, runs_beside: fn(&Bound<'_, PyAny>) -> bool) -> Self {
        Self { runs_beside, ..self }
    }

    #[inline]
    fn run_in(&self, object: &Bound<'_, PyAny>, context: &Py<PyAny>) -> Called {
        match ffi::run_in_context(object.py(), context, || (self.run)(object)) {
            Called::ContextBusy(_) if (self.runs_beside)(object) => self.run_in_copy(object, context),
            called => called,
        }
    }

    #[cold]
    fn run_in_copy(&self, object: &Bound<'_, PyAny>, context: &Py<PyAny>) -> Called {
        match ffi::copy_of_context(object.py(), context) {
            Ok(copy) => ffi::run_in_context(object.py(), &copy, || (self.run)(object)),
            Err(error) => Called::Raised(error),
        }
    }
}

/// Up to three arguments without a tuple: most callbacks have fewer.
#[derive(Default)]
pub enum Args {
    /// None, and the callback is not to be called: it is the object whose native method runs.
    Native(&'static Native),
    #[default]
    None,
    One(Py<PyAny>),
    Two(Py<PyAny>, Py<PyAny>),
    Three(Py<PyAny>, Py<PyAny>, Py<PyAny>),
    Many(Py<PyTuple>),
}

impl Args {
    #[inline]
    pub fn new<'a, 'py: 'a>(
        py: Python<'py>,
        mut from: impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>>,
    ) -> PyResult<Self> {
        let mut next = || from.next().map(|object| object.to_owned().unbind());
        Ok(match (next(), next(), next()) {
            (None, _, _) => Self::None,
            (Some(a), None, _) => Self::One(a),
            (Some(a), Some(b), None) => Self::Two(a, b),
            (Some(a), Some(b), Some(c)) if from.len() == 0 => Self::Three(a, b, c),
            (Some(a), Some(b), Some(c)) => {
                let rest = from.map(|object| object.to_owned().unbind());
                let all: Vec<_> = [a, b, c].into_iter().chain(rest).collect();
                Self::Many(PyTuple::new(py, all)?.unbind())
            }
        })
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Native(native) => Self::Native(native),
            Self::None => Self::None,
            Self::One(a) => Self::One(a.clone_ref(py)),
            Self::Two(a, b) => Self::Two(a.clone_ref(py), b.clone_ref(py)),
            Self::Three(a, b, c) => Self::Three(a.clone_ref(py), b.clone_ref(py), c.clone_ref(py)),
            Self::Many(all) => Self::Many(all.clone_ref(py)),
        }
    }

    fn to_tuple<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        match self {
            Self::None | Self::Native(_) => Ok(PyTuple::empty(py)),
            Self::One(a) => PyTuple::new(py, [a]),
            Self::Two(a, b) => PyTuple::new(py, [a, b]),
            Self::Three(a, b, c) => PyTuple::new(py, [a, b, c]),
            Self::Many(all) => Ok(all.bind(py).clone()),
        }
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::None | Self::Native(_) => Ok(()),
            Self::One(a) => visit.call(a),
            Self::Two(a, b) => visit.call(a).and_then(|()| visit.call(b)),
            Self::Three(a, b, c) => visit.call(a).and_then(|()| visit.call(b)).and_then(|()| visit.call(c)),
            Self::Many(all) => visit.call(all),
        }
    }
}

/// What there is to run. Gone once the handle is cancelled.
struct Call {
    callback: Py<PyAny>,
    args: Args,
}

struct Body {
    call: Option<Call>,
    cancelled: bool,
    /// Whether it calls, or called, a native method.
    native: bool,
    /// None only between `tp_clear` and the end.
    context: Option<Py<PyAny>>,
    loop_: Option<Py<PyAny>>,
    /// Where it was scheduled (debug mode).
    source_traceback: Option<Py<PyAny>>,
    /// How it looked before it was cancelled (debug mode).
    old_repr: Option<Py<PyAny>>,
    /// Of `call_soon_threadsafe`, from CPython 3.14 on.
    running: Option<Arc<Running>>,
}

/// A scheduled callback: what `loop.call_soon` returns.
///
/// Not with PyO3's `freelist`: objects that come back from it are unknown to the garbage collector (PyO3 0.30).
#[pyclass(frozen, weakref, subclass, module = "everloop._native")]
pub struct Handle(GilCell<Body>);

/// What became of a run.
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

    #[inline]
    pub fn is_cancelled(&self, py: Python<'_>) -> bool {
        self.0.with(py, |body| body.cancelled)
    }

    /// Lets other threads wait for the end of its callback.
    pub fn set_thread_safe(&self, py: Python<'_>) {
        self.0.with(py, |body| body.running = Some(Arc::new(Running::new())));
    }

    /// Another callback, with the same arguments. Only before it is queued.
    pub fn replace_callback(&self, py: Python<'_>, callback: Py<PyAny>) {
        let old =
            self.0.with(py, |body| body.call.as_mut().map(|call| std::mem::replace(&mut call.callback, callback)));
        drop(old);
    }

    /// Whether it calls a native method: a transport's.
    pub fn is_native(&self, py: Python<'_>) -> bool {
        self.0.with(py, |body| body.native)
    }

    /// The callback will run in another context.
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
            Some((call.callback.clone_ref(py), call.args.clone_ref(py), context, body.running.clone()))
        });
        let Some((callback, args, context, running)) = parts else { return Ran::Done };
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
        ran
    }

    /// Waits until its callback does not run, where that is to be waited for: see running.rs.
    fn wait_ended(&self, py: Python<'_>) -> PyResult<()> {
        let Some(running) = self.running(py) else { return Ok(()) };
        running.wait_ended(py, self._loop(py).as_ref().map(|loop_| loop_.bind(py)))
    }

    fn running(&self, py: Python<'_>) -> Option<Arc<Running>> {
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

fn is_debug(loop_: &Bound<'_, PyAny>) -> PyResult<bool> {
    loop_.getattr(name!(loop_.py(), "_debug"))?.is_truthy()
}

fn asyncio_class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<Bound<'py, PyType>> {
    cell.import(py, "asyncio", name).cloned()
}

#[pymethods]
impl Handle {
    /// Cancels the callback; of no effect if it was cancelled or run before.
    pub fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let body = &slf.get().0;
        slf.get().wait_ended(py)?;
        let was_cancelled = body.with(py, |b| std::mem::replace(&mut b.cancelled, true));
        if was_cancelled {
            return Ok(());
        }
        let loop_ = body.with(py, |b| b.loop_.as_ref().map(|l| l.clone_ref(py)));
        if loop_.map_or(Ok(false), |loop_| is_debug(loop_.bind(py)))? {
            // Keep a representation of what is being thrown away.
            let repr = slf.repr()?.into_any().unbind();
            body.with(py, |b| b.old_repr = Some(repr));
        }
        if let Ok(timer) = slf.cast::<TimerHandle>() {
            timer.get().note_cancelled();
        }
        let call = body.with(py, |b| b.call.take());
        drop(call);
        Ok(())
    }

    /// Whether the callback was cancelled.
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

    /// What asyncio tells the exception handler.
    fn _report_exception(slf: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let Some(loop_) = this._loop(py) else { return Ok(()) };
        let callback = this._callback(py);
        let source = match &callback {
            Some(callback) => {
                let args = this._args(py)?;
                format_callback_source(py, callback, &args, None)?.bind(py).str()?.to_string()
            }
            // It cancelled itself before it failed.
            None => slf.repr()?.to_string(),
        };
        let traceback = this._source_traceback(py);
        let mut concerned = vec![("handle", Some(slf.as_any()))];
        if let Some(traceback) = &traceback {
            concerned.push(("source_traceback", Some(traceback.bind(py))));
        }
        call_exception_handler(loop_.bind(py), &format!("Exception in callback {source}"), exception, &concerned)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        if let Some(repr) = slf.get().0.with(py, |body| body.old_repr.as_ref().map(|r| r.clone_ref(py))) {
            return Ok(repr.bind(py).str()?.to_string());
        }
        let info: Vec<String> = slf
            .call_method0("_repr_info")?
            .try_iter()?
            .map(|part| Ok(part?.str()?.to_string()))
            .collect::<PyResult<_>>()?;
        Ok(format!("<{}>", info.join(" ")))
    }

    fn _repr_info<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let this = slf.get();
        // The real class: `__class__` answers with asyncio's.
        let name = if this.running(py).is_some() { "_ThreadSafeHandle" } else { &ffi::type_name(&slf.get_type()) };
        let info = vec![name];
        let info = PyList::new(py, info)?;
        if this.is_cancelled(py) {
            info.append("cancelled")?;
        }
        if let Some(call) = this._callback(py) {
            let args = this._args(py)?;
            let debug = this._loop(py).is_some_and(|loop_| is_debug(loop_.bind(py)).unwrap_or(false));
            info.append(format_callback_source(py, &call, &args, Some(debug))?)?;
        }
        if let Some(traceback) = this._source_traceback(py) {
            let frame = traceback.bind(py).get_item(-1)?;
            info.append(format!("created at {}:{}", frame.get_item(0)?.str()?, frame.get_item(1)?.str()?))?;
        }
        Ok(info)
    }

    #[getter]
    pub fn _callback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.callback(py).map(Bound::unbind)
    }

    #[getter]
    fn _args(&self, py: Python<'_>) -> PyResult<Option<Py<PyTuple>>> {
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
    fn _loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
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
        static TIMER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = slf.py();
        if slf.get().running(py).is_some() {
            return private::THREAD_SAFE_HANDLE.class_for(slf);
        }
        if slf.is_instance_of::<TimerHandle>() {
            return Ok(asyncio_class(py, &TIMER, "TimerHandle")?.into_any());
        }
        Ok(asyncio_class(py, &HANDLE, "Handle")?.into_any())
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

/// As asyncio's, which shows arguments only in debug mode since 3.13.
fn format_callback_source(
    py: Python<'_>,
    callback: &Py<PyAny>,
    args: &Option<Py<PyTuple>>,
    debug: Option<bool>,
) -> PyResult<Py<PyAny>> {
    let Some(function) = private::FORMAT_CALLBACK.look_up(py)? else {
        return Ok(callback.bind(py).repr()?.into_any().unbind());
    };
    let knows_debug =
        function.getattr("__kwdefaults__")?.cast::<PyDict>().is_ok_and(|k| k.contains("debug").unwrap_or(false));
    if knows_debug && let Some(debug) = debug {
        let kwargs = PyDict::new(py);
        kwargs.set_item("debug", debug)?;
        return Ok(function.call((callback, args), Some(&kwargs))?.unbind());
    }
    Ok(function.call1((callback, args))?.unbind())
}
