//! The threads of a loop's default executor, which `run_in_executor`, `to_thread` and others put jobs on.
//!
//! Threads start on demand and go when they have had nothing to do for a while. Whoever takes a job and leaves others behind
//! rouses the next thread: a burst of short jobs is done by the one thread that has the GIL, and long ones spread. What
//! comes of a job goes to its loop as one handle, and a sleeping loop is woken once for all that end meanwhile.
//!
//! The threads run Python code that takes one job after the other (python/everloop/pool.py), so that none of our frames
//! is below a user's function: one that outlives the interpreter is ended by it, and would have to be unwound through them.
//!
//! Who touches what: the `State` anybody, under the GIL; a `Job`'s body its thread and its loop, under the GIL.

use crate::clock;
use crate::event_loop::{LoopCore, Shared};
use crate::exit;
use crate::ffi::{GilCell, name, thread_ident};
use crate::handle::{Handle, Native};
use everloop_core::parker::Wake;
use everloop_core::poll::Poller;
use everloop_core::spot::{self, Spot};
use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a thread without work stays.
const LINGER: Duration = Duration::from_secs(10);

// ---- jobs

/// What there is to call: a function, its arguments and keywords.
type Call = (Py<PyAny>, Py<PyTuple>, Option<Py<PyDict>>);

/// The same for Python, where keywords are never missing.
type FullCall = (Py<PyAny>, Py<PyTuple>, Py<PyDict>);

#[derive(Default)]
struct Body {
    /// Gone once a thread has begun it, or it was withdrawn.
    call: Option<Call>,
    /// What came of it, until that is delivered.
    outcome: Option<PyResult<Py<PyAny>>>,
    /// Whether its limiter is still to be told of the end.
    limited: bool,
    begun: Option<Begun>,
    /// A future of its loop that waits for the end of the thread's work, where the job's own was cancelled.
    waiter: Option<Py<PyAny>>,
    delivered: bool,
    /// Whether its caller no longer wants it.
    cancelled: bool,
    /// Whether nobody waits for its thread either.
    abandoned: bool,
}

/// Where and since when it runs.
#[derive(Clone, Copy)]
struct Begun {
    thread: u64,
    since: u64,
    worker: u32,
}

/// One call on a thread of the pool, for a future.
#[pyclass(frozen, weakref, module = "everloop._native")]
pub struct Job {
    body: GilCell<Body>,
    /// The loop of the future; None for a `concurrent.futures.Future`.
    core: Option<Py<LoopCore>>,
    future: Py<PyAny>,
    /// For its handle: one that nobody else enters.
    context: Py<PyAny>,
    /// What is called, for those who look.
    function: Py<PyAny>,
    pool: Py<PoolCore>,
    /// Who limits such jobs; None: the slots of the pool do.
    limiter: Option<Py<PyAny>>,
}

static DELIVER: Native = Native { name: "_deliver", run: |job| job.cast::<Job>()?.get().deliver(job.py()) };

impl Job {
    /// Whether it takes one of the pool's slots.
    fn is_counted(&self) -> bool {
        self.limiter.is_none()
    }

    fn begin(&self, py: Python<'_>, worker: u32) -> PyResult<Option<Call>> {
        if self.body.with(py, |body| body.call.is_none()) {
            return Ok(None); // withdrawn
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
        let begun = Begun { thread: thread_ident(), since: clock::now(), worker };
        self.body.with(py, |body| body.begun = Some(begun));
        Ok(Some(call))
    }

    /// Hands what came of it to its loop, which the caller wakes soon. A closed loop takes nothing any more.
    fn end(slf: &Bound<'_, Self>, outcome: PyResult<Py<PyAny>>) -> PyResult<Option<ToWake>> {
        let py = slf.py();
        let this = slf.get();
        let old = this.body.with(py, |body| body.outcome.replace(outcome));
        drop(old);
        let Some(core) = &this.core else { return this.deliver(py).map(|()| None) };
        if core.get().is_closed() {
            return this.give_back(py).map(|()| None); // the limiter may serve other loops
        }
        let (job, loop_) = (slf.clone().into_any().unbind(), core.clone_ref(py).into_any());
        let handle = Handle::new_native(job, &DELIVER, this.context.clone_ref(py), loop_);
        core.get().post_quietly(Py::new(py, handle)?);
        let shared = Arc::clone(&core.get().shared);
        Ok(shared.poller().map(|poller| ToWake { shared, poller }))
    }

    /// In the loop, if there is one: gives the future what came of the job.
    fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        let (outcome, waiter) = self.body.with(py, |body| {
            body.delivered = true;
            (body.outcome.take(), body.waiter.take())
        });
        self.give_back(py)?;
        if let Some(waiter) = waiter
            && !waiter.bind(py).call_method0(name!(py, "done"))?.is_truthy()?
        {
            waiter.bind(py).call_method1(name!(py, "set_result"), (py.None(),))?;
        }
        let future = self.future.bind(py);
        if future.call_method0(name!(py, "done"))?.is_truthy()? {
            return Ok(()); // its caller has gone
        }
        match outcome {
            Some(Ok(result)) => future.call_method1(name!(py, "set_result"), (result,)).map(drop),
            Some(Err(error)) => {
                let error =
                    if self.core.is_some() { asyncio_error(error, py)? } else { error.into_value(py).into_any() };
                match future.call_method1(name!(py, "set_exception"), (error,)) {
                    Ok(_) => Ok(()),
                    // a StopIteration, which no future takes up to CPython 3.12.1: its caller must not wait for ever
                    Err(refused) => {
                        future.call_method1(name!(py, "set_exception"), (refused.into_value(py),)).map(drop)
                    }
                }
            }
            None => Ok(()),
        }
    }

    fn give_back(&self, py: Python<'_>) -> PyResult<()> {
        match &self.limiter {
            Some(limiter) if self.body.with(py, |body| std::mem::take(&mut body.limited)) => {
                limiter.call_method1(py, name!(py, "release"), (&self.future,)).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// asyncio's own errors in place of those of `concurrent.futures`, as asyncio passes them on.
fn asyncio_error(error: PyErr, py: Python<'_>) -> PyResult<Py<PyAny>> {
    static CONVERT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let convert = CONVERT.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("asyncio.futures")?.getattr("_convert_future_exc")?.unbind())
    })?;
    convert.call1(py, (error.into_value(py),))
}

#[pymethods]
impl Job {
    /// Takes the job back, if no thread has begun it. True: it never runs.
    fn withdraw(&self, py: Python<'_>) -> PyResult<bool> {
        let call = self.body.with(py, |body| body.call.take());
        let withdrawn = call.is_some();
        drop(call);
        if withdrawn {
            self.give_back(py)?;
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

    /// Its caller no longer wants it.
    fn cancel(&self, py: Python<'_>) {
        self.body.with(py, |body| body.cancelled = true);
    }

    /// Whether its caller no longer wants it.
    fn cancelled(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.cancelled)
    }

    /// Nobody waits for its thread any more, not even at the end of the program.
    fn abandon(&self, py: Python<'_>) {
        self.body.with(py, |body| body.abandoned = true);
    }

    /// Whether nobody waits for its thread any more.
    fn abandoned(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.abandoned)
    }

    /// What it is for.
    #[getter]
    fn future(&self, py: Python<'_>) -> Py<PyAny> {
        self.future.clone_ref(py)
    }

    /// The loop that waits for it. AttributeError: a `concurrent.futures.Future` does.
    #[getter]
    fn r#loop(&self, py: Python<'_>) -> PyResult<Py<LoopCore>> {
        let core = self.core.as_ref().map(|core| core.clone_ref(py));
        core.ok_or_else(|| PyAttributeError::new_err("no loop waits for this job"))
    }

    /// What is called.
    #[getter]
    fn function(&self, py: Python<'_>) -> Py<PyAny> {
        self.function.clone_ref(py)
    }

    /// The thread that runs it, as `threading.get_ident()`; None before.
    #[getter]
    fn thread(&self, py: Python<'_>) -> Option<u64> {
        self.body.with(py, |body| body.begun.map(|begun| begun.thread))
    }

    /// Since when it runs, in seconds of the loop's clock; None before.
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
        visit.call(&self.context)?;
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

// ---- the pool

/// Where one thread of the pool waits.
struct Seat {
    number: u32,
    spot: Spot,
}

#[derive(Default)]
struct State {
    /// Jobs that take a slot.
    counted: VecDeque<Py<Job>>,
    /// Jobs that others limit.
    free: VecDeque<Py<Job>>,
    /// Threads without work, the latest last.
    idle: Vec<Arc<Seat>>,
    threads: usize,
    /// Threads that have been roused or started, and have not looked for a job yet.
    coming: usize,
    /// Slots taken.
    running: usize,
    /// Those of them whose threads wait in the bridge, and let others run meanwhile.
    lent: usize,
    slots: usize,
    closed: bool,
    next_number: u32,
}

/// How the next job gets its thread.
enum Rouse {
    Nobody,
    Idle(Arc<Seat>),
    Start,
}

impl State {
    fn has_work(&self) -> bool {
        !self.free.is_empty() || (!self.counted.is_empty() && self.running < self.slots + self.lent)
    }

    fn take(&mut self) -> Option<Py<Job>> {
        if let Some(job) = self.free.pop_front() {
            return Some(job);
        }
        if self.running < self.slots + self.lent {
            let job = self.counted.pop_front()?;
            self.running += 1;
            return Some(job);
        }
        None
    }

    /// Somebody has to come for what is queued, unless somebody comes already, who rouses the next one in turn.
    fn rouse(&mut self, prefer: Option<u32>) -> Rouse {
        if self.coming > 0 || !self.has_work() {
            return Rouse::Nobody;
        }
        self.coming += 1;
        let preferred = prefer.and_then(|number| self.idle.iter().rposition(|seat| seat.number == number));
        let seat = preferred.map(|at| self.idle.remove(at)).or_else(|| self.idle.pop());
        seat.map_or(Rouse::Start, Rouse::Idle)
    }
}

/// The threads of a default executor. `everloop.pool.ThreadPool` is the other half: use that.
#[pyclass(frozen, subclass, dict, weakref, module = "everloop._native")]
pub struct PoolCore {
    state: GilCell<State>,
    /// In which what came of jobs is delivered.
    context: Py<PyAny>,
}

impl PoolCore {
    fn rouse(slf: &Bound<'_, Self>, prefer: Option<u32>) -> PyResult<()> {
        let py = slf.py();
        match slf.get().state.with(py, |state| state.rouse(prefer)) {
            Rouse::Nobody => Ok(()),
            Rouse::Idle(seat) => {
                seat.spot.rouse();
                Ok(())
            }
            Rouse::Start => {
                let number = slf.get().state.with(py, |state| {
                    state.threads += 1;
                    state.next_number += 1;
                    state.next_number - 1
                });
                slf.call_method1(name!(py, "_start_thread"), (number,)).map(drop).inspect_err(|_| {
                    slf.get().state.with(py, |state| {
                        state.threads -= 1;
                        state.coming -= 1;
                    });
                })
            }
        }
    }
}

#[pymethods]
impl PoolCore {
    #[new]
    #[pyo3(signature = (slots, *_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        slots: i64,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        if slots < 1 {
            return Err(PyValueError::new_err(format!("a pool needs at least one thread, not {slots}")));
        }
        let context = py.import("contextvars")?.call_method0("Context")?.unbind();
        let state = State { slots: usize::try_from(slots)?, ..State::default() };
        Ok(Self { state: GilCell::new(state), context })
    }

    /// Queues `function(*args, **kwargs)` for `future`, a future of `loop` or one of `concurrent.futures`.
    ///
    /// `call`: what is really called, where `function` only prepares it. `limiter`: who limits such
    /// jobs in place of the pool; its `release(future)` is called in the loop once the thread is done, or the job was
    /// withdrawn. `prefer`: the number of the thread that should run it, if that has nothing else to do.
    #[pyo3(signature = (r#loop, future, function, args, kwargs=None, call=None, limiter=None, prefer=None, /))]
    #[allow(clippy::too_many_arguments)]
    fn _queue(
        slf: &Bound<'_, Self>,
        r#loop: Option<Py<LoopCore>>,
        future: &Bound<'_, PyAny>,
        function: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<Bound<'_, PyDict>>,
        call: Option<&Bound<'_, PyAny>>,
        limiter: Option<Py<PyAny>>,
        prefer: Option<u32>,
    ) -> PyResult<Py<Job>> {
        let py = slf.py();
        let this = slf.get();
        if this.state.with(py, |state| state.closed) {
            return Err(PyRuntimeError::new_err("cannot schedule new futures after shutdown"));
        }
        let body = Body {
            call: Some((
                function.clone().unbind(),
                args.clone().unbind(),
                kwargs.filter(|kwargs| !kwargs.is_empty()).map(Bound::unbind),
            )),
            limited: limiter.is_some(),
            ..Body::default()
        };
        let job = Job {
            body: GilCell::new(body),
            core: r#loop,
            future: future.clone().unbind(),
            context: this.context.clone_ref(py),
            function: call.unwrap_or(function).clone().unbind(),
            pool: slf.clone().unbind(),
            limiter,
        };
        let counted = job.is_counted();
        let job = Py::new(py, job)?;
        let queued = job.clone_ref(py);
        this.state.with(py, |state| if counted { &mut state.counted } else { &mut state.free }.push_back(queued));
        if let Err(error) = Self::rouse(slf, prefer)
            && this.state.with(py, |state| state.threads == 0)
        {
            job.get().withdraw(py)?;
            return Err(error);
        }
        Ok(job)
    }

    /// What a thread of the pool asks for its calls. Made on that thread.
    fn _enter(slf: &Bound<'_, Self>, number: u32) -> Worker {
        Worker {
            pool: slf.clone().unbind(),
            no_keywords: PyDict::new(slf.py()).unbind(),
            seat: Arc::new(Seat { number, spot: Spot::default() }),
            state: GilCell::new(WorkerState { coming: true, job: None, to_wake: None }),
        }
    }

    /// Takes no more jobs; threads end once nothing is queued.
    ///
    /// With `drop_queued`, the futures of what was queued are returned, to be cancelled.
    fn _shut(&self, py: Python<'_>, drop_queued: bool) -> Vec<Py<PyAny>> {
        let (idle, dropped) = self.state.with(py, |state| {
            state.closed = true;
            let mut dropped = Vec::new();
            if drop_queued {
                dropped.extend(state.free.drain(..));
                dropped.extend(state.counted.drain(..));
            }
            (std::mem::take(&mut state.idle), dropped)
        });
        for seat in idle {
            seat.spot.rouse();
        }
        dropped.iter().map(|job| job.get().future.clone_ref(py)).collect()
    }

    /// The number of slots: how many counted jobs run at once, beside those that wait in the bridge.
    #[getter]
    fn get_slots(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.slots)
    }

    /// (threads, idle, running counted jobs, lent slots, queued jobs)
    fn _numbers(&self, py: Python<'_>) -> (usize, usize, usize, usize, usize) {
        self.state.with(py, |state| {
            (state.threads, state.idle.len(), state.running, state.lent, state.counted.len() + state.free.len())
        })
    }

    /// In a forked child: the threads are the parent's, and so is what they did. One that goes on in the child
    /// counts no more, so whatever it gives back is taken without asking.
    fn _after_fork(&self, py: Python<'_>) {
        let old = self.state.with(py, |state| {
            let slots = state.slots;
            let closed = state.closed;
            let next_number = state.next_number;
            std::mem::replace(state, State { slots, closed, next_number, ..State::default() })
        });
        std::mem::forget(old); // the dead threads' references are let be
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)?;
        self.state.traverse(|state| state.counted.iter().chain(&state.free).try_for_each(|job| visit.call(job)))
    }

    fn __clear__(&self, py: Python<'_>) {
        let queued = self.state.with(py, |state| (std::mem::take(&mut state.counted), std::mem::take(&mut state.free)));
        drop(queued);
    }
}

// ---- a thread of the pool

/// A loop that has got something, and may sleep.
struct ToWake {
    shared: Arc<Shared>,
    /// Its poller: asked for under the GIL, since another thread that forks must not leave that lock taken in the child.
    poller: Arc<Poller>,
}

impl ToWake {
    fn wake(&self) {
        if self.shared.baton.is_polling() {
            self.poller.wake();
        }
    }
}

struct WorkerState {
    /// Whether the pool counts on this thread to look for a job.
    coming: bool,
    job: Option<Py<Job>>,
    /// The loop that has got something from this thread, and is to be woken. Before another job begins, or when the GIL is
    /// let go of.
    to_wake: Option<ToWake>,
}

/// What a thread of the pool asks for its calls.
#[pyclass(frozen, module = "everloop._native")]
pub struct Worker {
    pool: Py<PoolCore>,
    no_keywords: Py<PyDict>,
    seat: Arc<Seat>,
    state: GilCell<WorkerState>,
}

thread_local! {
    /// The job that this thread runs.
    static CURRENT: RefCell<Option<Py<Job>>> = const { RefCell::new(None) };
}

impl Worker {
    fn take(&self, py: Python<'_>) -> Option<Py<Job>> {
        let coming = self.state.with(py, |state| std::mem::replace(&mut state.coming, false));
        self.pool.get().state.with(py, |state| {
            state.coming = state.coming.saturating_sub(usize::from(coming));
            state.take()
        })
    }

    /// The slot is free again.
    fn leave_slot(&self, py: Python<'_>, job: &Job) {
        if job.is_counted() {
            self.pool.get().state.with(py, |state| state.running = state.running.saturating_sub(1));
        }
    }

    /// Waits to be roused. False: nobody needs this thread any more.
    fn rest(&self, py: Python<'_>) -> bool {
        let pool = self.pool.get();
        let closed = pool.state.with(py, |state| {
            if !state.closed {
                state.idle.push(Arc::clone(&self.seat));
            }
            state.closed
        });
        if closed {
            return false;
        }
        let seat = &self.seat;
        let to_wake = self.state.with(py, |state| state.to_wake.take());
        py.detach(|| {
            if let Some(to_wake) = to_wake {
                spot::note_free_gil();
                to_wake.wake();
            }
            let deadline = Instant::now() + LINGER;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if seat.spot.wait(Some(left)) == Wake::Unparked || left.is_zero() {
                    break;
                }
            }
            exit::gate();
        });
        let (roused, closed) = pool.state.with(py, |state| {
            let at = state.idle.iter().position(|idle| Arc::ptr_eq(idle, seat));
            if let Some(at) = at {
                state.idle.remove(at);
            }
            (at.is_none(), state.closed)
        });
        // Whoever has taken it off the list counts on it, unless that was the end of the pool.
        self.state.with(py, |state| state.coming = roused && !closed);
        roused
    }

    fn finish(&self, py: Python<'_>, outcome: PyResult<Py<PyAny>>) -> PyResult<()> {
        CURRENT.with_borrow_mut(Option::take);
        let Some(job) = self.state.with(py, |state| state.job.take()) else { return Ok(()) };
        self.leave_slot(py, job.get());
        self.end(job.bind(py), outcome)
    }

    fn end(&self, job: &Bound<'_, Job>, outcome: PyResult<Py<PyAny>>) -> PyResult<()> {
        let py = job.py();
        if let Some(to_wake) = Job::end(job, outcome)? {
            let other = self.state.with(py, |state| state.to_wake.replace(to_wake));
            drop(other);
        }
        Ok(())
    }

    fn wake_now(&self, py: Python<'_>) {
        if let Some(to_wake) = self.state.with(py, |state| state.to_wake.take()) {
            to_wake.wake();
        }
    }
}

#[pymethods]
impl Worker {
    /// The next call of this thread, as (function, args, kwargs); None: the thread is to end.
    fn next(&self, py: Python<'_>) -> PyResult<Option<FullCall>> {
        loop {
            let Some(job) = self.take(py) else {
                if self.rest(py) {
                    continue;
                }
                self.wake_now(py);
                self.pool.get().state.with(py, |state| state.threads = state.threads.saturating_sub(1));
                return Ok(None);
            };
            self.wake_now(py);
            // Before it runs, as it may block. If no thread can be started, this one does what is queued, one by one.
            let _ = PoolCore::rouse(self.pool.bind(py), None);
            match job.get().begin(py, self.seat.number) {
                Ok(Some((function, args, kwargs))) => {
                    CURRENT.set(Some(job.clone_ref(py)));
                    self.state.with(py, |state| state.job = Some(job));
                    let kwargs = kwargs.unwrap_or_else(|| self.no_keywords.clone_ref(py));
                    return Ok(Some((function, args, kwargs)));
                }
                Ok(None) => self.leave_slot(py, job.get()),
                Err(error) => {
                    self.leave_slot(py, job.get());
                    self.end(job.bind(py), Err(error))?;
                }
            }
        }
    }

    /// The job that it runs, or None.
    #[getter]
    fn job(&self, py: Python<'_>) -> Option<Py<Job>> {
        self.state.with(py, |state| state.job.as_ref().map(|job| job.clone_ref(py)))
    }

    /// The call has returned.
    fn returned(&self, py: Python<'_>, result: Py<PyAny>) -> PyResult<()> {
        self.finish(py, Ok(result))
    }

    /// The call has raised.
    fn raised(&self, py: Python<'_>, error: Bound<'_, PyAny>) -> PyResult<()> {
        self.finish(py, Err(PyErr::from_value(error)))
    }
}

/// Sets in the current context what `after`, a copy of `before`, has other than that; not the variable `but`.
#[pyfunction]
#[pyo3(signature = (before, after, but, /))]
pub fn carry_over(before: &Bound<'_, PyAny>, after: &Bound<'_, PyAny>, but: &Bound<'_, PyAny>) -> PyResult<()> {
    for variable in after.try_iter()? {
        let variable = variable?;
        if variable.is(but) {
            continue;
        }
        let value = after.get_item(&variable)?;
        if before.get_item(&variable).is_ok_and(|old| old.is(&value)) {
            continue;
        }
        variable.call_method1(name!(before.py(), "set"), (value,))?;
    }
    Ok(())
}

/// The job that the calling thread runs, or None.
#[pyfunction]
pub fn current_job(py: Python<'_>) -> Option<Py<Job>> {
    CURRENT.with_borrow(|job| job.as_ref().map(|job| job.clone_ref(py)))
}

/// The calling thread is going to wait in the bridge: where it runs a job, another one may run meanwhile.
///
/// Returns the job, for `take_back`.
#[pyfunction]
pub fn lend(py: Python<'_>) -> PyResult<Option<Py<Job>>> {
    let Some(job) = current_job(py) else { return Ok(None) };
    match &job.get().limiter {
        Some(limiter) => limiter.call_method1(py, name!(py, "lend"), (&job,)).map(drop)?,
        None => {
            let pool = job.get().pool.bind(py);
            pool.get().state.with(py, |state| state.lent += 1);
            PoolCore::rouse(pool, None)?;
        }
    }
    Ok(Some(job))
}

/// The thread has waited, and goes on at once, whatever runs.
#[pyfunction]
pub fn take_back(job: &Bound<'_, Job>) -> PyResult<()> {
    let py = job.py();
    match &job.get().limiter {
        Some(limiter) => limiter.call_method1(py, name!(py, "take_back"), (job,)).map(drop),
        None => {
            job.get().pool.get().state.with(py, |state| state.lent = state.lent.saturating_sub(1));
            Ok(())
        }
    }
}
