//! What one thread that turns a loop keeps for it.

use crate::event_loop::{LoopCore, Post};
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
    pub(super) member: Arc<Member>,
    pub(super) poller: Arc<Poller>,
    pub(super) events: Events,
    pub(super) posts: Vec<Post>,
    pub(super) greenlets: pinning::GreenletWatch<'py>,
    pub(super) sleeper: Option<Bound<'py, PyAny>>,
    pub(super) share: LockShare,
    /// The last sleep was one.
    pub(super) idle: bool,
    /// Of sleeping, where other threads end the sleep.
    pub(super) habit: AdaptiveSpin,
    /// Steps and turns left before files are looked at again.
    pub(super) steps_left: usize,
    pub(super) turns_left: u32,
    /// Turns since the last sleep, as far as that matters.
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
            posts: Vec::new(),
            greenlets: pinning::GreenletWatch::new(py)?,
            sleeper,
            share: LockShare::default(),
            idle: false,
            habit: AdaptiveSpin::default(),
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

    pub(super) fn on_turn<R>(&self, f: impl FnOnce(&mut Turn<Py<Handle>>) -> R) -> R {
        let this = self.this();
        this.queues.turn.with(this.baton(), self.id(), f).expect("a driver holds the baton between its waits")
    }

    /// This thread no longer turns the loop.
    pub fn end(self) -> PyResult<()> {
        self.greenlets.end()
    }

    /// Steps in blocking calls come back before the loop stops. Those in `block_on` wait for the next run.
    pub(super) fn may_stop(&self) -> bool {
        let counters = &self.this().shared.counters;
        counters.aside.load(Ordering::Relaxed) <= counters.in_block_on.load(Ordering::Relaxed)
    }
}
