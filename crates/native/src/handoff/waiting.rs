//! The native half of `everloop.block_on()`: a step waits aside until a future of its own loop is done.

use super::{End, SIGNAL_CHECK, current, finish_resume, release, resume, wait_granted};
use crate::event_loop::{LoopCore, Waiting};
use crate::exit;
use crate::ffi::name;
use crate::place::{Kind, Place, lock};
use everloop_core::baton::Manner;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const PENDING: u8 = 0;
/// The future is done, and the waiting thread is queued for the baton.
const DONE: u8 = 1;
/// The thread has stopped waiting.
const ABANDONED: u8 = 2;

/// The done-callback of the future: queues the thread that waits, so that the baton comes to it in the same step.
#[pyclass(frozen, module = "everloop._native")]
struct WakeWaiter {
    core: Py<LoopCore>,
    place: Arc<Place>,
    state: AtomicU8,
}

#[pymethods]
impl WakeWaiter {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        // Both sides hold the GIL when they change the state.
        if self.state.compare_exchange(PENDING, DONE, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            && self.core.get().baton().queue_resume(&self.place.seat)
        {
            self.place.seat.parker().unpark();
        }
    }
}

#[pymethods]
impl LoopCore {
    /// Waits aside until `future` is done, `timeout` seconds at the most; it is cancelled if `task` is.
    ///
    /// Returns whether it is done, and whether a cancellation was passed on: a later wait of the same step is told so,
    /// since each would pass it on again, into the clean-up. Raises what a signal handler raises meanwhile, and
    /// RuntimeError where this thread does not run the loop.
    #[pyo3(signature = (future, task, timeout=None, cancelled=false))]
    fn _wait_aside(
        slf: &Bound<'_, Self>,
        future: &Bound<'_, PyAny>,
        task: Option<Py<PyAny>>,
        timeout: Option<f64>,
        cancelled: bool,
    ) -> PyResult<(bool, bool)> {
        let py = slf.py();
        let (core, place) = current(py)
            .filter(|(core, place)| core.is(slf) && core.get().baton().is_held_by(place.id()))
            .ok_or_else(|| PyRuntimeError::new_err("this thread does not run a step of the loop"))?;
        if exit::has_begun() {
            return Err(PyRuntimeError::new_err(
                "block_on() needs another thread to go on with the loop, and the interpreter is ending: await instead",
            ));
        }
        let waiter = Py::new(
            py,
            WakeWaiter { core: core.clone().unbind(), place: Arc::clone(&place), state: AtomicU8::new(PENDING) },
        )?;
        future.call_method1("add_done_callback", (&waiter,))?;
        let entry = Waiting { task, future: future.clone().unbind(), home: place.home, cancelled };
        lock(&core.get().waiting).push(entry);
        let outcome = wait(&core, &place, &waiter, timeout);
        let entry = {
            let mut waiting = lock(&core.get().waiting);
            waiting.iter().position(|entry| entry.future.is(future)).map(|at| waiting.swap_remove(at))
        };
        let cancelled = entry.is_some_and(|entry| entry.cancelled);
        outcome.map(|done| (done, cancelled))
    }
}

fn wait(
    core: &Bound<'_, LoopCore>,
    place: &Arc<Place>,
    waiter: &Py<WakeWaiter>,
    timeout: Option<f64>,
) -> PyResult<bool> {
    let py = core.py();
    let this = core.get();
    let state = &waiter.get().state;
    let deadline = timeout.map(|seconds| {
        Instant::now() + Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::from_secs(u64::MAX >> 32))
    });
    if let Err(error) = release(core, place, Kind::Waiting, None, 0, false, Manner::Loud) {
        state.store(ABANDONED, Ordering::SeqCst);
        resume(core, place)?;
        return Err(error);
    }
    loop {
        let timed_out = place.rest(py, || {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let sleep = if place.home { Some(left.map_or(SIGNAL_CHECK, |left| left.min(SIGNAL_CHECK))) } else { left };
            if !this.baton().is_granted(&place.seat) {
                place.seat.parker().park_briefly(sleep);
            }
            deadline.is_some_and(|deadline| Instant::now() >= deadline)
        });
        if this.baton().is_granted(&place.seat) {
            finish_resume(core, place, true, End::InStep)?;
            return Ok(true);
        }
        let mut signal = py.check_signals();
        if signal.is_ok() && !timed_out && !this.is_closed() {
            continue;
        }
        let done = state.compare_exchange(PENDING, ABANDONED, Ordering::SeqCst, Ordering::SeqCst).is_err();
        if done {
            // The wake-up is on its way; an interrupt is raised once it is here.
            let (granted, raised) = wait_granted(py, this, place, || false);
            finish_resume(core, place, granted, End::InStep)?;
            signal = signal.and(raised.map_or(Ok(()), Err));
        } else {
            resume(core, place)?;
        }
        return signal.map(|()| done);
    }
}

/// Looks for tasks that were cancelled while they wait here: their futures are cancelled in turn. Called by the holder once
/// a turn, while anybody waits.
pub fn pass_on_cancellations(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    let py = core.py();
    let this = core.get();
    let stopping = this.is_stopping();
    let candidates: Vec<_> = lock(&this.waiting)
        .iter()
        .filter(|entry| !entry.cancelled)
        .map(|entry| (entry.task.as_ref().map(|task| task.clone_ref(py)), entry.future.clone_ref(py), entry.home))
        .collect();
    for (task, future, home) in candidates {
        // The loop cannot leave its home thread while that waits in the middle of a step.
        let cancelled = match task {
            Some(task) => task.bind(py).getattr(name!(py, "_must_cancel"))?.is_truthy()?,
            None => false,
        };
        let cancel = cancelled || (home && stopping);
        if cancel {
            if let Some(entry) = lock(&this.waiting).iter_mut().find(|entry| entry.future.is(&future)) {
                entry.cancelled = true;
            }
            future.call_method0(py, "cancel")?;
        }
    }
    Ok(())
}
