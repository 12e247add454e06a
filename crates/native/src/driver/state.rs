//! The state of one thread that turns a loop.

use crate::event_loop::LoopCore;
use crate::handle::Handle;
use crate::handoff::pinning;
use crate::member::Member;
use everloop_core::baton::ThreadId;
use everloop_core::lock_share::LockShare;
use everloop_core::poll::{Events, Poller};
use everloop_core::turn::Turn;
use everloop_core::wait::AdaptiveSpin;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One thread that turns the loop whenever it holds the baton.
pub struct Driver<'py> {
    pub(super) py: Python<'py>,
    pub(super) core: Bound<'py, LoopCore>,
    /// This thread, as the loop's other threads see it.
    pub(super) member: Arc<Member>,
    /// A reference of its own: the loop may be closed while this thread is in the poll.
    pub(super) poller: Arc<Poller>,
    /// The files that the last poll has found ready, until they are queued.
    pub(super) events: Events,
    pub(super) greenlets: pinning::GreenletWatch<'py>,
    /// The program's own way to sleep, at home, if it has set one.
    pub(super) sleeper: Option<Bound<'py, PyAny>>,
    pub(super) share: LockShare,
    /// True if the last sleep lasted: the next one begins without a poll before it.
    pub(super) sleeps_at_once: bool,
    /// Learns whether it pays to stay awake for a moment, since other threads end the sleep at once.
    pub(super) adaptive_spin: AdaptiveSpin,
    /// Steps that may run before files are polled again.
    pub(super) steps_left: usize,
    /// Turns that may pass before files are polled again.
    pub(super) turns_left: u32,
    /// Turns since the last sleep, counted up to `TURNS_OF_POLLS`.
    pub(super) turns_awake: u32,
}

impl<'py> Driver<'py> {
    /// `sleeper`: `wait(fd, seconds or None)`, in which this thread sleeps if its greenlets are to go on meanwhile.
    pub fn new(core: &Bound<'py, LoopCore>, member: Arc<Member>, sleeper: Option<Bound<'py, PyAny>>) -> PyResult<Self> {
        let py = core.py();
        Ok(Self {
            py,
            core: core.clone(),
            member,
            poller: core.get().shared.poller().ok_or_else(|| PyRuntimeError::new_err("Event loop is closed"))?,
            events: Events::default(),
            greenlets: pinning::GreenletWatch::new(py)?,
            sleeper,
            share: LockShare::default(),
            sleeps_at_once: false,
            adaptive_spin: AdaptiveSpin::default(),
            steps_left: 0,
            turns_left: 0,
            turns_awake: 0,
        })
    }

    pub(super) fn this(&self) -> &LoopCore {
        self.core.get()
    }

    pub(super) fn id(&self) -> ThreadId {
        self.member.id()
    }

    /// The queues that the holder of the baton has for itself. `f` runs no Python code.
    pub(super) fn on_turn<R>(&self, f: impl FnOnce(&mut Turn<Py<Handle>>) -> R) -> R {
        let this = self.this();
        this.queues.turn.with(this.baton(), self.id(), f).expect("a driver holds the baton between its waits")
    }

    /// This thread no longer turns the loop.
    pub fn end(self) -> PyResult<()> {
        self.greenlets.end()
    }

    /// True if the loop may stop now. Steps in blocking calls come back before that; those in `block_on` wait for the
    /// next run.
    pub(super) fn may_stop(&self) -> bool {
        let counters = &self.this().shared.counters;
        counters.aside.load(Ordering::Relaxed) <= counters.in_block_on.load(Ordering::Relaxed)
    }
}
