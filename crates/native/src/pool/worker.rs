//! A thread of the pool: it takes one job after the other, and waits in between.

use super::job::{Call, Job};
use super::{Parking, PoolCore};
use crate::event_loop::Shared;
use crate::ffi::{GilCell, name, stay_when_ended};
use everloop_core::poll::Poller;
use everloop_core::slots::Slots;
use everloop_core::wait::{self, SpinThenPark, Wake};
use pyo3::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time that a thread without work stays.
const LINGER: Duration = Duration::from_secs(10);

/// A loop that has got something, and may sleep.
struct ToWake {
    shared: Arc<Shared>,
    /// The loop's poller. It is asked for under the GIL: a thread that forks meanwhile must not leave its lock taken in
    /// the child.
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
    /// True while the pool counts on this thread to look for a job.
    coming: bool,
    /// The job that it runs.
    job: Option<Py<Job>>,
    /// The loop that has got something from this thread. It is woken before another job begins, or when the GIL is let
    /// go of.
    to_wake: Option<ToWake>,
}

/// A thread of the pool: it asks this for its calls.
#[pyclass(frozen, module = "everloop._native")]
pub struct Worker {
    pool: Py<PoolCore>,
    parking: Arc<Parking>,
    state: GilCell<WorkerState>,
}

thread_local! {
    /// The job that this thread runs.
    static CURRENT: RefCell<Option<Py<Job>>> = const { RefCell::new(None) };
}

#[pymethods]
impl PoolCore {
    /// Makes the worker of a thread of the pool, on that thread.
    fn _enter(slf: &Bound<'_, Self>, number: u32) -> Worker {
        stay_when_ended(); // it calls us for each of its jobs, and need not schedule anything
        Worker {
            pool: slf.clone().unbind(),
            parking: Arc::new(Parking { number, place: SpinThenPark::default() }),
            state: GilCell::new(WorkerState { coming: true, job: None, to_wake: None }),
        }
    }
}

impl Worker {
    /// The next job. From here on the pool no longer counts on this thread.
    fn take(&self, py: Python<'_>) -> Option<Py<Job>> {
        let coming = self.state.with(py, |state| std::mem::replace(&mut state.coming, false));
        self.pool.get().state.with(py, |state| state.take(coming))
    }

    /// Waits to be woken. False: nobody needs this thread any more.
    fn park(&self, py: Python<'_>) -> bool {
        let pool = self.pool.get();
        let parking = &self.parking;
        if !pool.state.with(py, |state| state.begin_idle(parking.number, Arc::clone(parking))) {
            return false;
        }
        let to_wake = self.state.with(py, |state| state.to_wake.take());
        py.detach(|| {
            if let Some(to_wake) = to_wake {
                wait::note_release();
                to_wake.wake();
            }
            let deadline = Instant::now() + LINGER;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if parking.place.park(Some(left)) == Wake::Unparked || left.is_zero() {
                    break;
                }
            }
        });
        let (woken, closed) = pool.state.with(py, |state| (state.end_idle(parking.number), state.is_closed()));
        // Whoever has taken this thread off the list counts on it, unless that was the end of the pool.
        self.state.with(py, |state| state.coming = woken && !closed);
        woken
    }

    /// The call of this thread's job is done.
    fn finish_call(&self, py: Python<'_>, outcome: PyResult<Py<PyAny>>) -> PyResult<()> {
        CURRENT.with_borrow_mut(Option::take);
        let Some(job) = self.state.with(py, |state| state.job.take()) else { return Ok(()) };
        let outcome = job.get().leave_context(py).and(outcome);
        self.finish_job(job.bind(py), outcome)
    }

    /// The job is done: its slot is free, and its result is on the way.
    fn finish_job(&self, job: &Bound<'_, Job>, outcome: PyResult<Py<PyAny>>) -> PyResult<()> {
        let py = job.py();
        let pool = self.pool.get();
        pool.release_slot(py, job.get());
        let Some(core) = Job::finish(job, outcome, &pool.context)? else { return Ok(()) };
        let shared = Arc::clone(&core.get().shared);
        if let Some(poller) = shared.poller() {
            let other = self.state.with(py, |state| state.to_wake.replace(ToWake { shared, poller }));
            drop(other);
        }
        Ok(())
    }

    /// Wakes the loop that has got something.
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
                if self.park(py) {
                    continue;
                }
                self.wake_now(py);
                self.pool.get().state.with(py, Slots::thread_ended);
                return Ok(None);
            };
            self.wake_now(py);
            // Another thread is woken before this job runs, which may block. If none can be started, this one does all.
            let _ = PoolCore::wake_next(self.pool.bind(py), None);
            match job.get().begin(py, self.parking.number) {
                Ok(Some(call)) => {
                    CURRENT.set(Some(job.clone_ref(py)));
                    self.state.with(py, |state| state.job = Some(job));
                    return Ok(Some(call));
                }
                Ok(None) => self.pool.get().release_slot(py, job.get()),
                Err(error) => self.finish_job(job.bind(py), Err(error))?,
            }
        }
    }

    /// The job that it runs, or None.
    #[getter]
    fn job(&self, py: Python<'_>) -> Option<Py<Job>> {
        self.state.with(py, |state| state.job.as_ref().map(|job| job.clone_ref(py)))
    }

    /// The call has returned this.
    fn finish(&self, py: Python<'_>, result: Py<PyAny>) -> PyResult<()> {
        self.finish_call(py, Ok(result))
    }

    /// The call has raised this.
    fn finish_with(&self, py: Python<'_>, error: Bound<'_, PyAny>) -> PyResult<()> {
        self.finish_call(py, Err(PyErr::from_value(error)))
    }
}

/// The job that the calling thread runs, or None.
#[pyfunction]
pub fn current_job(py: Python<'_>) -> Option<Py<Job>> {
    CURRENT.with_borrow(|job| job.as_ref().map(|job| job.clone_ref(py)))
}

/// The calling thread is going to wait in the bridge: where it runs a job, another one may run meanwhile.
///
/// Returns the job, for `reclaim_slot`.
#[pyfunction]
pub fn lend_slot(py: Python<'_>) -> PyResult<Option<Py<Job>>> {
    let Some(job) = current_job(py) else { return Ok(None) };
    match job.get().limiter() {
        Some(limiter) => limiter.call_method1(py, name!(py, "_lend"), (&job,)).map(drop)?,
        None => {
            let pool = job.get().pool().bind(py).cast::<PoolCore>()?;
            pool.get().state.with(py, Slots::lend);
            PoolCore::wake_next(pool, None)?;
        }
    }
    Ok(Some(job))
}

/// The thread has waited, and goes on at once, whatever runs.
#[pyfunction]
pub fn reclaim_slot(job: &Bound<'_, Job>) -> PyResult<()> {
    let py = job.py();
    match job.get().limiter() {
        Some(limiter) => limiter.call_method1(py, name!(py, "_reclaim"), (job,)).map(drop),
        None => {
            let pool = job.get().pool().bind(py).cast::<PoolCore>()?;
            pool.get().state.with(py, Slots::reclaim);
            Ok(())
        }
    }
}
