//! A job: one call on a thread of the pool, and its result on the way back.
//!
//! Its life: queued, begun on a thread, *finished* (the call is done, its result stands in the job), *delivered* (in
//! the loop: the future has the result). Or it is withdrawn before a thread has begun it.
//!
//! **Who touches what.** Its thread and its loop write the `Body`, under the GIL; everything else never changes.

use crate::calls::carry_over;
use crate::clock;
use crate::event_loop::LoopCore;
use crate::ffi::{self, GilCell, name, thread_ident};
use crate::handle::{Args, Handle, Native};
use crate::private;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

/// A call: a function, its arguments and keywords.
pub type Call = (Py<PyAny>, Py<PyTuple>, Option<Py<PyDict>>);

#[derive(Default)]
struct Body {
    /// The call; None once a thread has begun it, or it was withdrawn.
    call: Option<Call>,
    /// The outcome of the call, until that is delivered.
    outcome: Option<PyResult<Py<PyAny>>>,
    /// True while it holds a token of its limiter.
    limited: bool,
    begun: Option<Begun>,
    /// A future of its loop that waits for the end of the thread's work, where the job's own was cancelled.
    waiter: Option<Py<PyAny>>,
    delivered: bool,
    /// True once its caller no longer wants it.
    cancelled: bool,
    /// True once nobody waits for its thread either.
    abandoned: bool,
}

/// A job that runs: on which thread, and since when.
#[derive(Clone, Copy)]
struct Begun {
    thread: u64,
    since: u64,
    worker: u32,
}

/// The context variables of a call.
pub struct Variables {
    /// As its caller had them; None where they stay there.
    pub before: Option<Py<PyAny>>,
    /// The context that it runs in.
    pub there: Py<PyAny>,
}

impl Variables {
    /// A copy of the current context's, to be carried over afterwards.
    pub fn of_caller(py: Python<'_>) -> PyResult<Self> {
        let before = ffi::copy_context(py)?;
        let there = ffi::copy_of_context(py, &before)?;
        Ok(Self { before: Some(before), there })
    }
}

/// One call on a thread of the pool, for a future.
#[pyclass(frozen, weakref, module = "everloop._native")]
pub struct Job {
    body: GilCell<Body>,
    /// The loop of the future; None for a `concurrent.futures.Future`.
    core: Option<Py<LoopCore>>,
    future: Py<PyAny>,
    /// None: it runs in the thread's own context.
    variables: Option<Variables>,
    /// The function that is called, for the report and the wait-for graph.
    function: Py<PyAny>,
    /// The pool, which stands above this file.
    pool: Py<PyAny>,
    /// The limiter whose token it holds; None: it takes a slot of the pool.
    limiter: Option<Py<PyAny>>,
}

static DELIVER: Native = Native::new("_deliver", |job| job.cast::<Job>()?.get().deliver(job.py()));

impl Job {
    pub fn new(
        pool: &Bound<'_, PyAny>,
        core: Option<Py<LoopCore>>,
        future: Py<PyAny>,
        call: Call,
        variables: Option<Variables>,
        function: &Bound<'_, PyAny>,
        limiter: Option<Py<PyAny>>,
    ) -> Self {
        let body = Body { call: Some(call), limited: limiter.is_some(), ..Body::default() };
        Self {
            body: GilCell::new(body),
            core,
            future,
            variables,
            function: function.clone().unbind(),
            pool: pool.clone().unbind(),
            limiter,
        }
    }

    /// True if it takes one of the pool's slots.
    pub fn is_counted(&self) -> bool {
        self.limiter.is_none()
    }

    pub fn pool(&self) -> &Py<PyAny> {
        &self.pool
    }

    pub fn limiter(&self) -> Option<&Py<PyAny>> {
        self.limiter.as_ref()
    }

    /// Takes the call, on the job's thread, which is in the job's context from here to `leave_context`. None: it is not
    /// to run.
    pub fn begin(&self, py: Python<'_>, worker: u32) -> PyResult<Option<Call>> {
        if self.body.with(py, |body| body.call.is_none()) {
            return Ok(None); // the job was withdrawn
        }
        let future = self.future.bind(py);
        let wanted = match self.core {
            Some(_) => !future.call_method0(name!(py, "done"))?.is_truthy()?,
            None => future.call_method0(name!(py, "set_running_or_notify_cancel"))?.is_truthy()?,
        };
        if !wanted {
            return Ok(None); // cancelled before it began: its task, which has yet to learn of that, withdraws it
        }
        let call = self.body.with(py, |body| body.call.take());
        let Some(call) = call else { return Ok(None) };
        if let Some(variables) = &self.variables {
            ffi::enter_context(py, &variables.there)?;
        }
        let begun = Begun { thread: thread_ident(), since: clock::now(), worker };
        self.body.with(py, |body| body.begun = Some(begun));
        Ok(Some(call))
    }

    /// The job's thread leaves the job's context, once the call has ended.
    pub fn leave_context(&self, py: Python<'_>) -> PyResult<()> {
        self.variables.as_ref().map_or(Ok(()), |variables| ffi::leave_context(py, &variables.there))
    }

    /// Takes the outcome, which `deliver` gives to the future in `context`. Returns the loop that is to be woken soon,
    /// if any. (A closed loop takes nothing any more.)
    pub fn finish<'a>(
        slf: &'a Bound<'_, Self>,
        outcome: PyResult<Py<PyAny>>,
        context: &Py<PyAny>,
    ) -> PyResult<Option<&'a Py<LoopCore>>> {
        let py = slf.py();
        let this = slf.get();
        let old = this.body.with(py, |body| body.outcome.replace(outcome));
        drop(old);
        let Some(core) = &this.core else { return this.deliver(py).map(|()| None) };
        if core.get().is_closed() {
            return this.release_token(py).map(|()| None); // the limiter may serve other loops
        }
        let (job, loop_) = (slf.clone().into_any().unbind(), core.clone_ref(py).into_any());
        let handle = Handle::new(job, Args::Native(&DELIVER), context.clone_ref(py), loop_);
        core.get().post_quietly(handle.into_object(py)?);
        Ok(Some(core))
    }

    /// Gives the outcome to the future: in the loop, if there is one.
    fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        let (outcome, waiter) = self.body.with(py, |body| {
            body.delivered = true;
            (body.outcome.take(), body.waiter.take())
        });
        self.release_token(py)?;
        if let Some(waiter) = waiter
            && !waiter.bind(py).call_method0(name!(py, "done"))?.is_truthy()?
        {
            waiter.bind(py).call_method1(name!(py, "set_result"), (py.None(),))?;
        }
        match outcome {
            Some(Ok(result)) => self.set(py, name!(py, "set_result"), result),
            Some(Err(error)) => {
                let error =
                    if self.core.is_some() { asyncio_error(error, py)? } else { error.into_value(py).into_any() };
                // Up to CPython 3.12.1 no future takes a StopIteration: its caller must not wait for ever.
                self.set(py, name!(py, "set_exception"), error)
                    .or_else(|refused| self.set(py, name!(py, "set_exception"), refused.into_value(py).into_any()))
            }
            None => Ok(()),
        }
    }

    /// Ends the future, unless its caller has gone.
    fn set(&self, py: Python<'_>, method: Bound<'_, PyString>, value: Py<PyAny>) -> PyResult<()> {
        let future = self.future.bind(py);
        match future.call_method1(method, (value,)) {
            Err(_) if future.call_method0(name!(py, "done"))?.is_truthy()? => Ok(()),
            set => set.map(drop),
        }
    }

    /// Gives its token back to the limiter, once.
    fn release_token(&self, py: Python<'_>) -> PyResult<()> {
        match &self.limiter {
            Some(limiter) if self.body.with(py, |body| std::mem::take(&mut body.limited)) => {
                limiter.call_method1(py, name!(py, "_release"), (&self.future,)).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// asyncio's own errors in place of those of `concurrent.futures`, as asyncio passes them on.
fn asyncio_error(error: PyErr, py: Python<'_>) -> PyResult<Py<PyAny>> {
    let error = error.into_value(py).into_any();
    match private::CONVERT_ERROR.look_up(py)? {
        Some(convert) => convert.call1((error,)).map(Bound::unbind),
        None => Ok(error),
    }
}

#[pymethods]
impl Job {
    /// Takes the job back, if no thread has begun it. True: it never runs.
    pub fn withdraw(&self, py: Python<'_>) -> PyResult<bool> {
        let call = self.body.with(py, |body| body.call.take());
        let withdrawn = call.is_some();
        drop(call);
        if withdrawn {
            self.release_token(py)?;
        }
        Ok(withdrawn)
    }

    /// Sets the result of `waiter`, a future of its loop, once its thread is done with it. False: it is.
    fn tell(&self, waiter: &Bound<'_, PyAny>) -> bool {
        let py = waiter.py();
        let waiter = waiter.clone().unbind();
        let (delivered, old) = self.body.with(py, |body| (body.delivered, body.waiter.replace(waiter)));
        drop(old);
        !delivered
    }

    /// Sets in the current context what it has set; not the variable `but`.
    fn carry_over(&self, but: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = but.py();
        match &self.variables {
            Some(Variables { before: Some(before), there }) => carry_over(before.bind(py), there.bind(py), but),
            _ => Ok(()),
        }
    }

    /// Its caller no longer wants it.
    fn cancel(&self, py: Python<'_>) {
        self.body.with(py, |body| body.cancelled = true);
    }

    /// True if its caller no longer wants it.
    fn cancelled(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.cancelled)
    }

    /// Nobody waits for its thread any more, not even at the end of the program.
    fn abandon(&self, py: Python<'_>) {
        self.body.with(py, |body| body.abandoned = true);
    }

    /// True if nobody waits for its thread any more.
    fn abandoned(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.abandoned)
    }

    /// The future that it is for.
    #[getter]
    pub fn future(&self, py: Python<'_>) -> Py<PyAny> {
        self.future.clone_ref(py)
    }

    /// The loop that waits for it. AttributeError: a `concurrent.futures.Future` does.
    #[getter]
    fn r#loop(&self, py: Python<'_>) -> PyResult<Py<LoopCore>> {
        let core = self.core.as_ref().map(|core| core.clone_ref(py));
        core.ok_or_else(|| PyAttributeError::new_err("no loop waits for this job"))
    }

    /// The function that is called.
    #[getter]
    fn function(&self, py: Python<'_>) -> Py<PyAny> {
        self.function.clone_ref(py)
    }

    /// The thread that runs it, as `threading.get_ident()`; None before.
    #[getter]
    fn thread(&self, py: Python<'_>) -> Option<u64> {
        self.body.with(py, |body| body.begun.map(|begun| begun.thread))
    }

    /// The time at which it began, in seconds of the loop's clock; None before.
    #[getter]
    fn since(&self, py: Python<'_>) -> Option<f64> {
        self.body.with(py, |body| body.begun.map(|begun| clock::to_seconds(begun.since)))
    }

    /// The number of the pool's thread that runs it; None before.
    #[getter]
    fn worker(&self, py: Python<'_>) -> Option<u32> {
        self.body.with(py, |body| body.begun.map(|begun| begun.worker))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(core) = &self.core {
            visit.call(core)?;
        }
        visit.call(&self.future)?;
        visit.call(&self.pool)?;
        if let Some(limiter) = &self.limiter {
            visit.call(limiter)?;
        }
        if let Some(Variables { before, there }) = &self.variables {
            before.as_ref().map_or(Ok(()), |before| visit.call(before))?;
            visit.call(there)?;
        }
        visit.call(&self.function)?;
        self.body.traverse(|body| {
            if let Some((function, args, kwargs)) = &body.call {
                visit.call(function)?;
                visit.call(args)?;
                if let Some(kwargs) = kwargs {
                    visit.call(kwargs)?;
                }
            }
            if let Some(Ok(result)) = &body.outcome {
                visit.call(result)?;
            }
            if let Some(waiter) = &body.waiter {
                visit.call(waiter)?;
            }
            Ok(())
        })
    }

    fn __clear__(&self, py: Python<'_>) {
        let body = self.body.with(py, std::mem::take);
        drop(body);
    }
}
