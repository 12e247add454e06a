//! A member: a thread that turns a loop, or did and is blocked. What the loop's other threads and the watchdog need to
//! know of it.
//!
//! **Who may touch what.** Everything here is changed with the GIL held: by the thread itself, or by the watchdog,
//! which puts a step aside and probes a thread on its behalf. So none of these locks is ever waited for, and a forked
//! child finds them free. `reason`, `Asked::is_open`, `no_rescue` and `switched` say without a lock what is asked at
//! every gate or every step.
//!
//! **What is taken out is dropped outside the lock**: the last reference to an object of the program runs its code.

use crate::aside::{Aside, AsideTimes, Back, Reason};
use crate::bases;
use crate::ffi::{self, CurrentHandle, ThreadState, thread_ident};
use crate::gates::Gates;
use crate::this_thread::{collects, own_no_rescue, own_waiter};
use everloop_core::baton::{ThreadId, Waiter};
use everloop_core::sync::{Mutex, assert_unlocked, lock};
use everloop_core::sys::{self, CpuClock};
use everloop_core::wait;
use pyo3::marker::Ungil;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFrame, PyWeakrefMethods, PyWeakrefReference};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::{iter, mem};

/// One thread that turns the loop, or did and is blocked.
pub struct Member {
    pub waiter: Arc<Waiter>,
    /// True for the thread that called `run_forever`.
    pub home: bool,
    /// `threading.get_ident()`
    pub ident: u64,
    pub name: String,
    pub state: ThreadState,
    /// The kernel's number of this thread.
    pub thread: u32,
    pub cpu: Option<CpuClock>,
    /// The address of the frame below every step, 0 for none: a thread whose top frame is this one runs no Python in
    /// its step. It is there for as long as the member is on its loop's list.
    pub base_frame: usize,
    /// The handle that it runs now. Written by the thread; read by it and by the watchdog.
    pub current: CurrentHandle,
    /// True while it runs Python code that is not its step's, which no gate stops: it starts a relief thread, or
    /// handles a signal while it waits for the baton. Written and read by the thread.
    ungated: AtomicBool,
    /// True while it is in a call that must not be put aside: see `no_rescue`. Written by the thread; read by the
    /// watchdog.
    no_rescue: Arc<AtomicBool>,
    /// Its step, if that is aside. Written by the thread, or by the watchdog on its behalf; read by them, and by the
    /// thread that runs the next step, which puts the task here.
    aside: Mutex<Option<Aside>>,
    /// The last time at which its step came back that did not know of it. Written by its thread, read by the report.
    back: Mutex<Option<Back>>,
    /// `aside`'s reason, 0 for none. Written with it; read by the thread at its gates, and by whoever counts who is
    /// there.
    reason: AtomicU8,
    /// True if a debugger is at this thread: see handoff/debugger.rs. Written and read by the thread and by the
    /// watchdog.
    debugger: AtomicBool,
    /// The gates that tell when the thread runs its next instruction: see handoff/rescue.rs. Opened by the watchdog;
    /// closed by the thread at a gate, by the watchdog, or by the thread when it leaves the loop.
    probe: Asked<()>,
    /// The gates at which the step is to be divided, and the heartbeat of that step: see handoff/division.rs. Opened by
    /// the watchdog; closed as those of a probe.
    division: Asked<u64>,
    /// The step that has passed cancellations of its task on to what it waited for, and how many: see
    /// handoff/block_on.rs. Written by the holder; read by the thread.
    passed_on: Mutex<Option<(Py<PyWeakrefReference>, u64)>>,
    /// Greenlets that the step has switched to: see handoff/pinning.rs. Written and read by the thread.
    greenlets: Mutex<Vec<Py<PyAny>>>,
    /// True if there are any, or a debugger is at a relief thread: asked after every step.
    switched: AtomicBool,
}

/// Gates that the watchdog has opened for a thread whose step runs, with what is to be known when it comes there.
#[derive(Default)]
struct Asked<T> {
    gates: Mutex<Option<(Gates, T)>>,
    /// True if there are any. Written with them; read by the thread at its gates, and by the watchdog without the GIL.
    is_open: AtomicBool,
}

impl<T> Asked<T> {
    #[inline]
    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Notes gates that were opened. There are none yet.
    fn begin(&self, gates: Gates, details: T) {
        *lock(&self.gates) = Some((gates, details));
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Closes the gates, if there are any, and returns what is to be known.
    fn end(&self, py: Python<'_>) -> PyResult<Option<T>> {
        if !self.is_open.swap(false, Ordering::Relaxed) {
            return Ok(None);
        }
        let Some((gates, details)) = lock(&self.gates).take() else { return Ok(None) };
        gates.close(py).map(|()| Some(details))
    }
}

impl Member {
    pub fn new(py: Python<'_>, home: bool, name: String) -> Self {
        let state = ThreadState::current(py);
        let base = state.top_frame(py);
        let base_frame = base.as_ref().map_or(0, |frame| ffi::address(frame));
        if let Some(base) = base {
            bases::note(&ffi::frame_code(&base));
        }
        Self {
            waiter: own_waiter(),
            home,
            ident: thread_ident(),
            name,
            state,
            thread: sys::thread_number(),
            cpu: CpuClock::of_this_thread(),
            base_frame,
            current: CurrentHandle::default(),
            aside: Mutex::new(None),
            back: Mutex::new(None),
            reason: AtomicU8::new(0),
            debugger: AtomicBool::new(false),
            ungated: AtomicBool::new(false),
            no_rescue: own_no_rescue(),
            probe: Asked::default(),
            division: Asked::default(),
            passed_on: Mutex::new(None),
            greenlets: Mutex::new(Vec::new()),
            switched: AtomicBool::new(false),
        }
    }

    #[inline]
    pub fn id(&self) -> ThreadId {
        self.waiter.id()
    }

    /// The frame that this thread is in. Only while the member is on its loop's list, and not to be kept: a frame that
    /// somebody still has when its function returns takes over what its variables name.
    pub fn top_frame<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyFrame>> {
        self.state.top_frame(py)
    }

    /// The frames of the step, the innermost one first: none if it is in no Python code of its own. As `top_frame`.
    pub fn step_frames<'py>(&self, py: Python<'py>) -> impl Iterator<Item = Bound<'py, PyFrame>> {
        let mut last = None;
        iter::from_fn(move || {
            let next = last.as_ref().map_or_else(|| self.top_frame(py), ffi::caller);
            last = Some(next.filter(|frame| ffi::address(frame) != self.base_frame)?);
            last.clone()
        })
    }

    /// True if the step is in Python code of its own. Only while the member is on its loop's list.
    pub fn runs_python(&self, py: Python<'_>) -> bool {
        self.step_frames(py).next().is_some()
    }

    /// The reason why this thread's step is aside, if it is.
    #[inline]
    pub fn aside_reason(&self) -> Option<Reason> {
        Reason::from_number(self.reason.load(Ordering::Relaxed))
    }

    /// Lets go of the GIL while `f` sleeps: the one way in which a thread that turns a loop does so.
    pub fn without_gil<T: Ungil>(&self, py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
        assert_unlocked();
        py.detach(|| {
            wait::note_release();
            f()
        })
    }

    /// True if the thread is in a call that must not be put aside, or in a finalizer that the garbage collector runs.
    pub fn forbids_rescue(&self) -> bool {
        self.no_rescue.load(Ordering::Relaxed) || collects(self.ident)
    }

    /// True if a debugger was at this thread when that was asked last.
    #[inline]
    pub fn has_debugger(&self) -> bool {
        self.debugger.load(Ordering::Relaxed)
    }

    /// Notes whether a debugger is at this thread: then the tasks of a relief thread stay on it.
    pub fn note_debugger(&self, found: bool) {
        self.debugger.store(found, Ordering::Relaxed);
        if found && !self.home {
            self.switched.store(true, Ordering::Relaxed);
        }
    }

    /// True while the thread runs Python code that is not its step's.
    pub fn is_ungated(&self) -> bool {
        self.ungated.load(Ordering::SeqCst)
    }

    /// Runs Python code on this thread that is not its step's, and so need not wait for the baton.
    pub fn ungated<T>(&self, f: impl FnOnce() -> T) -> T {
        /// Sets the flag back, also where `f` panics: the step goes on with an error then, and has to pass its gates.
        struct Reset<'a>(&'a AtomicBool, bool);

        impl Drop for Reset<'_> {
            fn drop(&mut self) {
                self.0.store(self.1, Ordering::SeqCst);
            }
        }

        let _reset = Reset(&self.ungated, self.ungated.swap(true, Ordering::SeqCst));
        f()
    }

    /// True if this thread has to stop before it runs another instruction, or to have it noted.
    #[inline]
    pub fn is_gated(&self) -> bool {
        self.aside_reason().is_some_and(Reason::needs_gates) || self.is_probing()
    }

    /// Notes that the step that runs here has passed on so many cancellations of its task.
    pub fn note_passed_on(&self, py: Python<'_>, count: u64) -> PyResult<()> {
        let Some(handle) = self.current.get(py) else { return Ok(()) };
        let step = PyWeakrefReference::new(handle.bind(py))?.unbind();
        let old = lock(&self.passed_on).replace((step, count));
        drop(old);
        Ok(())
    }

    /// The number of cancellations of its task that the step that runs here has passed on; None: it has passed on none.
    pub fn passed_on(&self, py: Python<'_>) -> Option<u64> {
        let (step, count) = lock(&self.passed_on).as_ref().map(|(step, count)| (step.clone_ref(py), *count))?;
        let handle = self.current.get(py)?;
        step.bind(py).upgrade().is_some_and(|noted| noted.is(&handle)).then_some(count)
    }

    /// Notes that the step has switched to this greenlet.
    pub fn note_greenlet(&self, greenlet: Py<PyAny>) {
        self.switched.store(true, Ordering::Relaxed);
        lock(&self.greenlets).push(greenlet);
    }

    /// True if the step has switched to a greenlet, or a debugger is at this relief thread.
    #[inline]
    pub fn has_switched(&self) -> bool {
        self.switched.load(Ordering::Relaxed)
    }

    /// Takes the greenlets that the step has switched to.
    pub fn take_greenlets(&self) -> Vec<Py<PyAny>> {
        self.switched.store(false, Ordering::Relaxed);
        mem::take(&mut *lock(&self.greenlets))
    }

    /// True if it is to be noted when the thread runs its next instruction.
    pub fn is_probing(&self) -> bool {
        self.probe.is_open()
    }

    /// Begins a probe, which these gates answer. There is none yet.
    pub fn begin_probe(&self, gates: Gates) {
        self.probe.begin(gates, ());
    }

    /// Ends the probe, if there is one: the thread has moved, or it no longer matters whether it does.
    pub fn end_probe(&self, py: Python<'_>) -> PyResult<()> {
        self.probe.end(py).map(drop)
    }

    /// True if the step is to be divided at its next instruction.
    #[inline]
    pub fn is_dividing(&self) -> bool {
        self.division.is_open()
    }

    /// Has the step with this heartbeat divided at these gates. There are none yet.
    pub fn begin_division(&self, gates: Gates, tick: u64) {
        self.division.begin(gates, tick);
    }

    /// Closes the gates at which the step is to be divided, if there are any. Returns the heartbeat of that step.
    pub fn end_division(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.division.end(py)
    }

    /// Notes that its step is aside.
    pub fn put_aside(&self, aside: Aside) {
        self.reason.store(aside.reason as u8, Ordering::Relaxed);
        *lock(&self.aside) = Some(aside);
    }

    /// Takes the record of its step, which is aside no longer.
    pub fn take_aside(&self) -> Option<Aside> {
        self.reason.store(0, Ordering::Relaxed);
        lock(&self.aside).take()
    }

    /// Keeps the task of its step, which was moved out of the way.
    pub fn keep_task(&self, task: Py<PyAny>) {
        let old = lock(&self.aside).as_mut().and_then(|aside| aside.task.replace(task));
        drop(old);
    }

    /// The numbers of its step that is aside, since the first piece of its wait.
    pub fn aside_times(&self) -> Option<AsideTimes> {
        lock(&self.aside).as_ref().map(|aside| aside.first)
    }

    /// Notes that its step has come back.
    pub fn note_back(&self, back: Back) {
        *lock(&self.back) = Some(back);
    }

    /// The last time at which its step came back, if it is still the one of this heartbeat, and may be about to go aside
    /// again.
    pub fn back(&self, tick: u64, now: u64) -> Option<Back> {
        lock(&self.back).filter(|back| back.goes_on(tick, now))
    }

    /// The number of the release by which its step went aside.
    pub fn aside_serial(&self) -> Option<u64> {
        lock(&self.aside).as_ref().map(|aside| aside.serial)
    }

    /// The learned site at which its step is aside, and the time at which it began to block there.
    pub fn aside_at<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyCode>, i32, u64)> {
        let aside = lock(&self.aside);
        let (aside, (code, offset)) = aside.as_ref().and_then(|aside| Some((aside, aside.gates.site(py)?)))?;
        Some((code, offset, aside.since))
    }

    /// In a forked child, whose only thread this is: what its step needs to be stopped is opened anew. A probe is over,
    /// as the thread runs Python: it has forked.
    pub fn reopen_gates(&self, py: Python<'_>) -> PyResult<()> {
        self.end_probe(py)?;
        self.end_division(py)?;
        let Some(closed) = lock(&self.aside).as_mut().map(|aside| mem::take(&mut aside.gates)) else { return Ok(()) };
        let mut opened = Some(closed.reopen(py)?);
        // Opening may run Python code, so it is not done under the lock. Only this thread could bring the step back.
        if let Some(aside) = lock(&self.aside).as_mut() {
            aside.gates = opened.take().unwrap_or_default();
        }
        drop(opened);
        Ok(())
    }
}
