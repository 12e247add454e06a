//! The pool: threads for the jobs of a loop's default executor, which `run_in_executor`, `to_thread` and others queue.
//!
//! It is a blocking pool as tokio has one: threads start on demand, and go when they have had nothing to do for a
//! while. A job takes one of the pool's slots from the moment that a thread takes it until its call has returned,
//! whatever becomes of the task that waits. Jobs that a limiter counts take none.
//!
//! **Who touches what.** Every thread may touch the `Slots`, under the GIL: they decide (`everloop_core::slots`). The
//! cell is never held over a call of Python code: each function decides inside `with`, and acts after it.
//!
//! **Who wakes whom.** Whoever queues a job wakes one idle thread, or starts one. A thread that takes a job wakes the
//! next one if more is queued. So a burst of short jobs is done by the one thread that has the GIL, and long jobs
//! spread. At most one thread is on its way (`coming`): a second one would only wait for the GIL. `coming` must go down
//! again in each case: the thread looks for a job (`Worker::take`), or it could not be started.
//!
//! **Who wakes the loop.** A result goes to the loop's inbox as one handle. The loop is woken when the thread lets go
//! of the GIL or takes its next job, not at once: a loop that is woken earlier finds the GIL taken, and waits a second
//! time. (Measured on an idle machine, round trips: 130 microseconds; 90 if the loop is woken early; 23 if both sides
//! spin for a while before they sleep.)
//!
//! **The races.**
//! - *An idle thread's time is up while somebody wakes it.* Whoever wakes it has taken it off the list `idle`, under
//!   the GIL. The thread looks whether it still stands there when it has the GIL again: if not, it is counted on, and
//!   looks for a job.
//! - *The job is withdrawn while a thread takes it.* `Job::begin` takes the call out of the job, under the GIL: the
//!   thread that comes first has it.
//! - *A fork.* No thread of the pool lives in the child. The child's state is a new one, and the old one's references
//!   are left alone, since the threads that they belong to were cut off at any point. The slot of a thread that forks
//!   is not counted there, so each number that a thread takes down stops at 0.
//! - *The interpreter ends.* The threads run Python code that takes one job after the other (python/everloop/pool.py),
//!   and no frame of Rust is below a user's function: a thread that outlives the interpreter is ended by that, and
//!   would be unwound through such a frame.
//!
//! **What would change the decisions.** On an interpreter without a GIL more than one thread should be woken for a
//! burst, and the loop at once.

mod job;
mod numbers;
mod worker;

use crate::event_loop::LoopCore;
use crate::event_loop::create_task::new_future;
use crate::ffi::{name, stay_when_ended};
use everloop_core::slots::{Slots, Wanted};
use everloop_core::wait::SpinThenPark;
pub use job::Job;
use job::Variables;
use numbers::CountedSlots;
pub use numbers::{after_fork, totals};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;
pub use worker::{Worker, current_job, lend_slot, reclaim_slot};

/// The place where one thread of the pool waits for work.
pub struct Parking {
    pub number: u32,
    pub place: SpinThenPark,
}

/// The threads of a default executor. `everloop.pool.ThreadPool` is the other half: use that.
#[pyclass(frozen, subclass, dict, weakref, module = "everloop._native")]
pub struct PoolCore {
    state: CountedSlots<Py<Job>, Arc<Parking>>,
    /// The context in which results are delivered.
    context: Py<PyAny>,
}

/// A call as Python hands it over.
type NewCall<'a, 'py> = (&'a Bound<'py, PyAny>, &'a Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>);

impl PoolCore {
    /// The job no longer takes a slot, if it took one.
    fn release_slot(&self, py: Python<'_>, job: &Job) {
        if job.is_counted() {
            self.state.with(py, Slots::release);
        }
    }

    /// Queues a job, and looks after a thread for it.
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
        if this.state.with(py, |state| state.is_closed()) {
            return Err(PyRuntimeError::new_err("cannot schedule new futures after shutdown"));
        }
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty()).map(Bound::unbind);
        let call = (function.clone().unbind(), args.clone().unbind(), kwargs);
        let job = Job::new(slf.as_any(), core, future, call, variables, shown, limiter);
        let counted = job.is_counted();
        let job = Py::new(py, job)?;
        let queued = job.clone_ref(py);
        this.state.with(py, |state| state.push(queued, counted));
        if let Err(error) = Self::wake_next(slf, prefer)
            && this.state.with(py, |state| state.threads() == 0)
        {
            job.get().withdraw(py)?;
            return Err(error);
        }
        Ok(job)
    }

    /// Wakes or starts a thread, if what is queued needs one. `prefer` is the number of the thread that should be
    /// woken.
    fn wake_next(slf: &Bound<'_, Self>, prefer: Option<u32>) -> PyResult<()> {
        let py = slf.py();
        match slf.get().state.with(py, |state| state.wake_next(prefer)) {
            Wanted::Nobody => Ok(()),
            Wanted::Idle(parking) => {
                parking.place.unpark();
                Ok(())
            }
            Wanted::Start(number) => {
                stay_when_ended();
                let started = slf.call_method1(name!(py, "_start_thread"), (number,));
                started.map(drop).inspect_err(|_| slf.get().state.with(py, Slots::thread_failed))
            }
        }
    }
}

impl PoolCore {
    /// In a forked child: the threads are the parent's, and so is what they did. One that goes on in the child
    /// counts no more, so whatever it gives back is taken without asking.
    pub fn after_fork(&self, py: Python<'_>) {
        self.state.register_again();
        let old = self.state.with(py, Slots::after_fork);
        std::mem::forget(old); // the dead threads' references are left alone
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
        Ok(Self { state: CountedSlots::new(usize::try_from(slots)?), context })
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

    /// Takes no more jobs; threads end once nothing is queued.
    ///
    /// With `drop_queued`, the futures of what was queued are returned, to be cancelled.
    fn _shut(&self, py: Python<'_>, drop_queued: bool) -> Vec<Py<PyAny>> {
        let (idle, dropped) = self.state.with(py, |state| state.close(drop_queued));
        for parking in idle {
            parking.place.unpark();
        }
        dropped.iter().map(|job| job.get().future(py)).collect()
    }

    /// The number of slots: how many counted jobs run at once, beside those that wait in the bridge.
    #[getter]
    fn get_slots(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.slots())
    }

    /// (threads, idle, running counted jobs, lent slots, queued jobs)
    fn _numbers(&self, py: Python<'_>) -> (usize, usize, usize, usize, usize) {
        self.state
            .with(py, |state| (state.threads(), state.idle(), state.running(), state.lent(), state.queued().count()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)?;
        self.state.traverse(|state| state.queued().try_for_each(|job| visit.call(job)))
    }

    fn __clear__(&self, py: Python<'_>) {
        let queued = self.state.with(py, Slots::take_queued);
        drop(queued);
    }
}
