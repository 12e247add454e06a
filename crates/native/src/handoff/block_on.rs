//! The native half of `everloop.block_on()`: a step waits aside until a future of its own loop is done.

use super::contexts::{self, Left};
use super::current::current;
use super::grant::{SIGNAL_CHECK, wait_granted};
use super::{go_on_in_step, release, relief, resume};
use crate::aside::Reason;
use crate::clock;
use crate::event_loop::LoopCore;
use crate::exit;
use crate::ffi::name;
use crate::gates::Gates;
use crate::member::Member;
use crate::private;
use crate::this_thread::own_id;
use everloop_core::baton::{Baton, Waiter};
use everloop_core::sync::lock;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The step does not wait: it has the baton, before its wait or after a time-out.
const IDLE: u8 = 0;
/// Its thread waits for the future.
const WAITING: u8 = 1;
/// The future is done; if the thread waited, it is queued for the baton.
const DONE: u8 = 2;

/// Where the system refuses threads, a step waits so long for one before it gives up. The watchdog asks half a dozen
/// times meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shortest time that a step waits between two looks whether its context is free.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// One wait of one step for one future, from its beginning to its end: `_wait_for`. However many wait for the same
/// future, each has its own, and is told of the cancellations of its own task.
#[pyclass(frozen, module = "everloop._native")]
pub struct StepWait {
    core: Py<LoopCore>,
    /// The thread whose step waits. Weak, as a member has a frame below the step, in which errors of this may be.
    member: Weak<Member>,
    waiter: Arc<Waiter>,
    future: Py<PyAny>,
    /// The task whose step waits; None in a plain callback.
    task: Option<Py<PyAny>>,
    /// IDLE, WAITING or DONE. Written and read by the thread that waits and by the future's done-callback, with the
    /// GIL.
    state: AtomicU8,
    /// The time at which the future was done while the thread waited, 0 for none. Written and read as `state`.
    done_at: AtomicU64,
    /// The number of cancellations of the task that were passed on, with those that it had before this wait. Written
    /// and read by the holder.
    passed_on: AtomicU64,
    /// True once the future was cancelled because the loop stops. Written and read by the holder.
    is_stopped: AtomicBool,
}

#[pymethods]
impl LoopCore {
    /// Begins to wait for `future`, cancelled whenever `task` is. RuntimeError: no step of the loop runs here.
    fn _wait_for(
        slf: &Bound<'_, Self>,
        future: &Bound<'_, PyAny>,
        task: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<StepWait>> {
        let py = slf.py();
        let (core, member) = held_here(slf)?;
        let passed_on = task.as_ref().map_or(Ok(0), |task| old_cancellations(&member, task))?;
        let wait = StepWait {
            core: core.unbind(),
            member: Arc::downgrade(&member),
            waiter: Arc::clone(&member.waiter),
            future: future.clone().unbind(),
            task: task.map(Bound::unbind),
            state: AtomicU8::new(IDLE),
            done_at: AtomicU64::new(0),
            passed_on: AtomicU64::new(passed_on),
            is_stopped: AtomicBool::new(false),
        };
        let wait = Py::new(py, wait)?;
        future.call_method1(name!(py, "add_done_callback"), (&wait,))?;
        Ok(wait)
    }
}

#[pymethods]
impl StepWait {
    /// The done-callback of the future: queues the thread that waits, so that the baton comes to it in the same step.
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        if self.state.swap(DONE, Ordering::SeqCst) != WAITING {
            return;
        }
        if self.baton().queue_resume(&self.waiter) {
            self.waiter.parker().unpark();
        } else {
            self.done_at.store(clock::now(), Ordering::Relaxed);
        }
    }

    /// Waits aside until the future is done, `timeout` seconds at the most; it is cancelled whenever the task is.
    ///
    /// Returns True if it is done. Raises what a signal handler raises meanwhile, and RuntimeError where this thread
    /// does not run the loop.
    #[pyo3(signature = (timeout=None, /))]
    fn aside(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<bool> {
        let (core, member) = held_here(slf.get().core.bind(slf.py()))?;
        if exit::has_begun() {
            return Err(PyRuntimeError::new_err(
                "block_on() needs another thread to go on with the loop, and the interpreter is ending: await instead",
            ));
        }
        let this = slf.get();
        if this.state.compare_exchange(IDLE, WAITING, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Ok(true);
        }
        lock(&core.get().threads.block_ons).push(slf.clone().into_any().unbind());
        let left = contexts::leave(slf.py(), &member)?;
        let outcome = wait(&core, &member, this, timeout);
        let back = left.map_or(Ok(()), |left| come_back(&core, &member, &left));
        let gone = {
            let mut block_ons = lock(&core.get().threads.block_ons);
            block_ons.iter().position(|other| other.is(slf)).map(|at| block_ons.swap_remove(at))
        };
        drop(gone);
        outcome.and_then(|done| back.map(|()| done))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.core)?;
        visit.call(&self.future)?;
        visit.call(&self.task)
    }
}

impl StepWait {
    fn baton(&self) -> &Baton {
        self.core.get().baton()
    }

    /// This thread has the baton, since the future is done: it goes on.
    fn note_wait(&self) {
        let done_at = self.done_at.swap(0, Ordering::Relaxed);
        if done_at != 0 {
            self.core.get().shared.counters.baton_waits.note(done_at);
        }
    }

    /// Ends the wait of this thread. True: the future is done, and its wake-up on its way.
    fn stop(&self) -> bool {
        self.state.compare_exchange(WAITING, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_err()
    }

    /// True if the future is to be cancelled now. Called by the holder.
    fn is_to_pass_on(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(member) = self.member.upgrade() else { return Ok(false) };
        let cancelled = match &self.task {
            Some(task) if is_to_be_cancelled(task.bind(py))? => {
                let now = cancellations(task.bind(py))?;
                member.note_passed_on(py, now)?;
                now > self.passed_on.swap(now, Ordering::Relaxed)
            }
            _ => false,
        };
        // The loop cannot end on its home thread while that waits in the middle of a step.
        let stops = member.home && self.core.get().is_stopping() && !self.is_stopped.swap(true, Ordering::Relaxed);
        Ok(cancelled || stops)
    }
}

/// The loop and this thread as its member, if that has its baton.
fn held_here<'py>(core: &Bound<'py, LoopCore>) -> PyResult<(Bound<'py, LoopCore>, Arc<Member>)> {
    current(core.py())
        .filter(|(running, member)| running.is(core) && running.get().baton().is_held_by(member.id()))
        .ok_or_else(|| PyRuntimeError::new_err("this thread does not run a step of the loop"))
}

/// True if a task was cancelled while its step runs: it is told at its next await.
fn is_to_be_cancelled(task: &Bound<'_, PyAny>) -> PyResult<bool> {
    private::MUST_CANCEL.of(task)?.map_or(Ok(false), |must_cancel| must_cancel.is_truthy())
}

/// The number of times that a task was cancelled, less those that it has taken back.
fn cancellations(task: &Bound<'_, PyAny>) -> PyResult<u64> {
    task.call_method0(name!(task.py(), "cancelling"))?.extract()
}

/// The number of a task's cancellations that a wait which begins must not pass on: those that the task was told of at
/// an await, and caught without taking them back; and those that earlier waits of the same step have passed on. asyncio
/// will tell the task of the latter once more, at its next await; until then, what its clean-up waits for must not be
/// cancelled by them.
fn old_cancellations(member: &Member, task: &Bound<'_, PyAny>) -> PyResult<u64> {
    let all = cancellations(task)?;
    Ok(match member.passed_on(task.py()) {
        Some(passed_on) => passed_on.min(all),
        None => all.saturating_sub(u64::from(is_to_be_cancelled(task)?)),
    })
}

/// True if the loop has waited for a thread since `standstill` and none is to be had, nor is there a step that would come
/// back and go on: all that are aside wait for what the loop does.
fn is_stuck(this: &LoopCore, standstill: u64) -> bool {
    let counters = &this.shared.counters;
    standstill != 0
        && standstill == counters.standstill_since()
        && clock::now().saturating_sub(standstill) >= PATIENCE.as_nanos() as u64
        && this.threads.told_refused.load(Ordering::Relaxed)
        && counters.aside.load(Ordering::Relaxed) <= counters.in_block_on.load(Ordering::Relaxed)
}

fn wait(core: &Bound<'_, LoopCore>, member: &Arc<Member>, own: &StepWait, timeout: Option<f64>) -> PyResult<bool> {
    let py = core.py();
    let this = core.get();
    let deadline = timeout.map(|seconds| {
        Instant::now() + Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::from_secs(u64::MAX >> 32))
    });
    if let Err(error) = release(core, member, Reason::BlockOn, 0, Gates::none()) {
        own.stop();
        resume(core, member)?;
        return Err(error);
    }
    let standstill = this.shared.counters.standstill_since();
    let longest = match (member.home, standstill) {
        (true, _) => Some(SIGNAL_CHECK),
        (false, 0) => None,
        (false, _) => Some(PATIENCE),
    };
    loop {
        let timed_out = member.without_gil(py, || {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let sleep = left.into_iter().chain(longest).min();
            if !this.baton().is_granted(&member.waiter) {
                member.waiter.parker().park_briefly(sleep);
            }
            deadline.is_some_and(|deadline| Instant::now() >= deadline)
        });
        if this.baton().is_granted(&member.waiter) {
            own.note_wait();
            go_on_in_step(core, member, true)?;
            return Ok(true);
        }
        let mut signal = py.check_signals();
        let is_stuck = signal.is_ok() && is_stuck(this, standstill);
        if signal.is_ok() && !timed_out && !is_stuck && !this.is_closed() {
            continue;
        }
        let done = own.stop();
        if done {
            // The wake-up is on its way; an interrupt is raised once it is here.
            let (granted, raised) = wait_granted(py, this, member, || false);
            if granted {
                own.note_wait();
            }
            go_on_in_step(core, member, granted)?;
            signal = signal.and(raised.map_or(Ok(()), Err));
        } else {
            resume(core, member)?;
            if is_stuck {
                return Err(relief::nobody_for_block_on(py, None));
            }
        }
        return signal.map(|()| done);
    }
}

/// Goes into the step's contexts again. Another step that is aside may be in one of them: then this one waits for that.
fn come_back(core: &Bound<'_, LoopCore>, member: &Arc<Member>, left: &Left) -> PyResult<()> {
    let py = core.py();
    let mut raised = Ok(());
    let mut pause = SHORTEST_PAUSE;
    // If this thread does not have the baton, the loop was closed: the step only ends.
    while !left.enter(py)? && core.get().baton().is_held_by(member.id()) {
        let released = release(core, member, Reason::BlockOn, 0, Gates::none()).map(drop);
        // This is seldom needed, and nobody tells when a context is left: so the thread looks now and then.
        member.without_gil(py, || member.waiter.parker().park_briefly(Some(pause)));
        pause = LONGEST_PAUSE.min(pause * 2);
        let resumed = resume(core, member);
        raised = raised.and(released).and(resumed);
    }
    raised
}

/// Looks for tasks that were cancelled while they wait here: their futures are cancelled in turn. Called by the holder
/// once a turn, while anybody waits.
pub fn pass_on_cancellations(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    let py = core.py();
    let block_ons: Vec<_> = lock(&core.get().threads.block_ons).iter().map(|wait| wait.clone_ref(py)).collect();
    for wait in block_ons {
        if let Ok(wait) = wait.bind(py).cast::<StepWait>()
            && wait.get().is_to_pass_on(py)?
        {
            wait.get().future.call_method0(py, name!(py, "cancel"))?;
        }
    }
    Ok(())
}

/// In a forked child the threads that waited are gone: what they waited for must not call them.
pub fn after_fork(core: &Bound<'_, LoopCore>) {
    let py = core.py();
    let all = std::mem::take(&mut *lock(&core.get().threads.block_ons));
    let (own, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|wait| {
        let Ok(wait) = wait.bind(py).cast::<StepWait>() else { return false };
        let is_own = wait.get().waiter.id() == own_id();
        if !is_own {
            wait.get().state.store(IDLE, Ordering::SeqCst);
        }
        is_own
    });
    lock(&core.get().threads.block_ons).extend(own);
    drop(gone);
}
