//! The part of a loop that threads without the GIL may touch.

use crate::event_loop::counters::Counters;
use crate::event_loop::sighting::Sighting;
use everloop_core::baton::Baton;
use everloop_core::heartbeat::Heartbeat;
use everloop_core::meter::Meter;
use everloop_core::poll::Poller;
use everloop_core::registry::Change;
use everloop_core::sync::{Mutex, lock};
use everloop_core::wait::LastPost;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Nanoseconds that a step of any loop may take, while somebody asks for that; `u64::MAX`: nobody does. Written by the
/// program, and read by the watchdog.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets the nanoseconds that a step of any loop may take before it is reported; `u64::MAX`: as each loop says.
pub(super) fn set_limit(nanoseconds: u64) {
    LIMIT.store(nanoseconds, Ordering::Relaxed);
}

/// Nanoseconds that a step may take before it is reported. Written by the program, and read by the watchdog.
pub struct ReportAfter {
    own: AtomicU64,
}

impl ReportAfter {
    /// What the watchdog goes by: the loop's own time, or the limit for all, where that is shorter.
    pub fn load(&self, order: Ordering) -> u64 {
        self.own.load(order).min(LIMIT.load(order))
    }

    /// What the program has set on the loop: `slow_callback_duration`.
    pub fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, nanoseconds: u64) {
        self.own.store(nanoseconds, Ordering::Relaxed);
    }
}

/// The part of a loop that threads without the GIL may touch: the watchdog, threads that wait for the baton, pool
/// threads.
pub struct Shared {
    pub baton: Baton,
    pub heartbeat: Heartbeat,
    /// The kernel's number of the thread that turns the loop, or did last. Written by it; read by the watchdog.
    pub turner: AtomicU32,
    /// Gone once the loop is closed. A thread that polls has a reference of its own, so that its descriptor is not
    /// closed meanwhile. Written and read under the GIL: a thread that forks must not leave this lock taken in the
    /// child.
    pub(super) poller: Mutex<Option<Arc<Poller>>>,
    /// The last post of another thread. Written by that, under the GIL; read by the holder, who stays awake for such
    /// posts.
    pub last_post: LastPost,
    /// True if blocked steps are put aside. This and the other options are written by the program, and read by the
    /// watchdog.
    pub rescue: AtomicBool,
    /// True if steps that compute are divided, too: `rescue` is true then.
    pub divides: AtomicBool,
    /// The heartbeat of the slice that ran last, of a step that was divided. Written by its thread, under the GIL; read
    /// by the watchdog. So are the next two: when that slice began, and how long the last one took that has ended.
    pub slice: AtomicU64,
    pub slice_since: AtomicU64,
    pub slice_took: AtomicU64,
    /// Nanoseconds that a call may block before its step is put aside.
    pub rescue_after: AtomicU64,
    /// Nanoseconds that a step may take before it is reported: `slow_callback_duration`.
    pub report_after: ReportAfter,
    /// The number of relief threads that are started as soon as they are wanted.
    pub max_relief: AtomicUsize,
    /// True while the watchdog looks at the loop. Written by home; read by whoever wants a relief thread.
    pub watched: AtomicBool,
    pub counters: Counters,
    /// What its time goes into. Written by the holder.
    pub meter: Meter,
    /// What was last seen of the loop.
    pub sighting: Sighting,
}

impl Shared {
    pub(super) fn new(poller: Poller) -> Self {
        Self {
            baton: Baton::default(),
            heartbeat: Heartbeat::default(),
            turner: AtomicU32::new(0),
            poller: Mutex::new(Some(Arc::new(poller))),
            last_post: LastPost::default(),
            rescue: AtomicBool::new(false),
            divides: AtomicBool::new(false),
            slice: AtomicU64::new(0),
            slice_since: AtomicU64::new(0),
            slice_took: AtomicU64::new(0),
            rescue_after: AtomicU64::new(20_000_000),
            report_after: ReportAfter { own: AtomicU64::new(100_000_000) },
            max_relief: AtomicUsize::new(128),
            watched: AtomicBool::new(false),
            counters: Counters::default(),
            meter: Meter::default(),
            sighting: Sighting::default(),
        }
    }

    /// The poller, unless the loop is closed.
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

    /// Tells the kernel which files are watched. A closed loop watches nothing.
    pub(super) fn apply(&self, change: Change) -> std::io::Result<()> {
        self.poller().map_or(Ok(()), |poller| Ok(poller.apply(change)?))
    }
}
