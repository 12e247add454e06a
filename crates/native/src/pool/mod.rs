//! The threads of a loop's default executor, which `run_in_executor`, `to_thread` and others put jobs on.
//!
//! Threads start on demand and go when they have had nothing to do for a while. Whoever takes a job and leaves others behind
//! rouses the next thread: a burst of short jobs is done by the one thread that has the GIL, and long ones spread. What
//! comes of a job goes to its loop as one handle, and a sleeping loop is woken once for all that end meanwhile.
//!
//! The threads run Python code that takes one job after the other (python/everloop/pool.py), so that none of our frames
//! is below a user's function: one that outlives the interpreter is ended by it, and would have to be unwound through them.
//!
//! Who touches what: the `State` anybody, under the GIL.

mod job;

use crate::event_loop::create_task::new_future;
use crate::event_loop::{LoopCore, Shared};
use crate::ffi::{GilCell, name, stay_when_ended};
use everloop_core::poll::Poller;
use everloop_core::wait::{self, SpinThenPark, Wake};
pub use job::Job;
use job::{Call, Variables};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a thread without work stays.
const LINGER: Duration = Duration::from_secs(10);

// ---- the pool

/// Where one thread of the pool waits.
struct Seat {
    number: u32,
    place: SpinThenPark,
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

/// A call as Python hands it over.
type NewCall<'a, 'py> = (&'a Bound<'py, PyAny>, &'a Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>);

impl PoolCore {
    #[allow(clippy::too_many_arguments)]
    fn queue<'py>(
        slf: &Bound<'py, Self>,
        core: Option<Py<LoopCore>>,
        future: Py<PyAny>,
        (function, args, kwargs): NewCall<'_, 'py>,
        variables: Option<Variables>,
        shown: &Bound<'py, PyAny>,
        limiter: Option<Py<PyAny>>,
        prefer: Option<u32>,
    ) -> PyResult<Py<Job>> {
        let py = slf.py();
        let this = slf.get();
        if this.state.with(py, |state| state.closed) {
            return Err(PyRuntimeError::new_err("cannot schedule new futures after shutdown"));
        }
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty()).map(Bound::unbind);
        let call = (function.clone().unbind(), args.clone().unbind(), kwargs);
        let job = Job::new(slf, core, future, call, variables, shown, limiter);
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

    fn rouse(slf: &Bound<'_, Self>, prefer: Option<u32>) -> PyResult<()> {
        let py = slf.py();
        match slf.get().state.with(py, |state| state.rouse(prefer)) {
            Rouse::Nobody => Ok(()),
            Rouse::Idle(seat) => {
                seat.place.unpark();
                Ok(())
            }
            Rouse::Start => {
                stay_when_ended();
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
    /// `context`: the one that it runs in, which nobody else is in. `shown`: what is really called, where `function`
    /// only prepares it. `limiter`: who limits such jobs in place of the pool; its `release(future)` is called in the
    /// loop once the thread is done, or the job was withdrawn. `prefer`: the number of the thread that should run it,
    /// if that has nothing else to do.
    #[pyo3(signature = (r#loop, future, function, args, kwargs=None, context=None, shown=None, limiter=None, prefer=None, /))]
    #[allow(clippy::too_many_arguments)]
    fn _queue(
        slf: &Bound<'_, Self>,
        r#loop: Option<Py<LoopCore>>,
        future: Py<PyAny>,
        function: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<Bound<'_, PyDict>>,
        context: Option<Py<PyAny>>,
        shown: Option<&Bound<'_, PyAny>>,
        limiter: Option<Py<PyAny>>,
        prefer: Option<u32>,
    ) -> PyResult<Py<Job>> {
        let variables = context.map(|there| Variables { before: None, there });
        let shown = shown.unwrap_or(function);
        Self::queue(slf, r#loop, future, (function, args, kwargs), variables, shown, limiter, prefer)
    }

    /// As `_queue`, in a copy of the current context: see `Job.carry_over`. Without a future, it makes one.
    #[pyo3(signature = (r#loop, future, function, args, kwargs, limiter, /))]
    fn _call(
        slf: &Bound<'_, Self>,
        r#loop: &Bound<'_, LoopCore>,
        future: Option<Py<PyAny>>,
        function: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<Bound<'_, PyDict>>,
        limiter: Option<Py<PyAny>>,
    ) -> PyResult<Py<Job>> {
        let variables = Variables::of_caller(slf.py())?;
        let future = future.map_or_else(|| new_future(r#loop), Ok)?;
        Self::queue(
            slf,
            Some(r#loop.clone().unbind()),
            future,
            (function, args, kwargs),
            Some(variables),
            function,
            limiter,
            None,
        )
    }

    /// What a thread of the pool asks for its calls. Made on that thread.
    fn _enter(slf: &Bound<'_, Self>, number: u32) -> Worker {
        stay_when_ended(); // it calls us for each of its jobs, and need not schedule anything
        Worker {
            pool: slf.clone().unbind(),
            seat: Arc::new(Seat { number, place: SpinThenPark::default() }),
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
            seat.place.unpark();
        }
        dropped.iter().map(|job| job.get().future(py)).collect()
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
                wait::note_release();
                to_wake.wake();
            }
            let deadline = Instant::now() + LINGER;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if seat.place.park(Some(left)) == Wake::Unparked || left.is_zero() {
                    break;
                }
            }
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
        let outcome = job.get().leave(py).and(outcome);
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
    /// The next call of this thread, as (function, args, kwargs or None); None: the thread is to end.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Call>> {
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
                Ok(Some(call)) => {
                    CURRENT.set(Some(job.clone_ref(py)));
                    self.state.with(py, |state| state.job = Some(job));
                    return Ok(Some(call));
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
    match job.get().limiter() {
        Some(limiter) => limiter.call_method1(py, name!(py, "lend"), (&job,)).map(drop)?,
        None => {
            let pool = job.get().pool().bind(py);
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
    match job.get().limiter() {
        Some(limiter) => limiter.call_method1(py, name!(py, "take_back"), (job,)).map(drop),
        None => {
            job.get().pool().get().state.with(py, |state| state.lent = state.lent.saturating_sub(1));
            Ok(())
        }
    }
}
