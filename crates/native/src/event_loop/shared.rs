//! What other threads see of a loop without the GIL.

use crate::event_loop::counters::Counters;
use crate::lock::lock;
use everloop_core::baton::Baton;
use everloop_core::heartbeat::Heartbeat;
use everloop_core::poll::Poller;
use everloop_core::registry::Change;
use everloop_core::wait::LastPost;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

/// What other threads see of a loop without the GIL.
pub struct Shared {
    pub baton: Baton,
    pub heartbeat: Heartbeat,
    /// Gone once the loop is closed. Whoever polls holds a reference of its own, so nobody's descriptor is closed under it.
    pub(super) poller: Mutex<Option<Arc<Poller>>>,
    /// When another thread has posted something last.
    pub last_post: LastPost,
    /// Whether blocked steps are put aside.
    pub rescue: AtomicBool,
    /// How long a call may block before that, in nanoseconds.
    pub rescue_after: AtomicU64,
    /// How long a step may take before it is reported, in nanoseconds: `slow_callback_duration`.
    pub report_after: AtomicU64,
    /// How many relief threads there may be.
    pub max_relief: AtomicUsize,
    pub counters: Counters,
}

impl Shared {
    pub(super) fn new(poller: Poller) -> Self {
        Self {
            baton: Baton::default(),
            heartbeat: Heartbeat::default(),
            poller: Mutex::new(Some(Arc::new(poller))),
            last_post: LastPost::default(),
            rescue: AtomicBool::new(false),
            rescue_after: AtomicU64::new(20_000_000),
            report_after: AtomicU64::new(100_000_000),
            max_relief: AtomicUsize::new(128),
            counters: Counters::default(),
        }
    }

    /// What the loop sleeps in, unless it is closed.
    pub fn poller(&self) -> Option<Arc<Poller>> {
        lock(&self.poller).clone()
    }

    /// Ends the sleep of whoever polls.
    pub fn wake(&self) {
        if let Some(poller) = self.poller() {
            poller.wake();
        }
    }

    /// Ends the loop's sleep, if it sleeps.
    pub fn wake_sleeper(&self) {
        if self.baton.is_polling() {
            self.wake();
        }
    }

    /// Tells the kernel what is watched. A closed loop watches nothing.
    pub(super) fn apply(&self, change: Change) -> std::io::Result<()> {
        self.poller().map_or(Ok(()), |poller| Ok(poller.apply(change)?))
    }
}
