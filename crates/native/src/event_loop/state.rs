//! LoopCore: the native half of `EventLoop`, its fields, and what the collector asks of them.

use crate::clock;
use crate::errors::os_error;
use crate::event_loop::counters::Counters;
use crate::event_loop::factories::Factories;
use crate::event_loop::pins::Pins;
use crate::event_loop::shared::Shared;
use crate::ffi::GilCell;
use crate::handle::Handle;
use crate::member::Member;
use everloop_core::baton::{Baton, ThreadId};
use everloop_core::guarded::Guarded;
use everloop_core::heartbeat::Heartbeat;
use everloop_core::poll::Poller;
use everloop_core::ready::Inbox;
use everloop_core::registry::Registry;
use everloop_core::timers::Cancelled;
use everloop_core::turn::Turn;
use everloop_core::wait::LastPost;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefReference};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What a thread that does not hold the baton has for the loop.
pub enum Post {
    Soon(Py<Handle>),
    /// At a time of the loop's clock, in seconds.
    At(f64, Py<Handle>),
}

/// The native half of an event loop. `everloop.EventLoop` is the other half: use that.
#[pyclass(frozen, subclass, dict, weakref, module = "everloop._native")]
pub struct LoopCore {
    pub shared: Arc<Shared>,
    pub turn: Guarded<Turn<Py<Handle>>>,
    pub inbox: Inbox<Post>,
    pub(super) registry: Mutex<Registry<Py<Handle>>>,
    pub cancelled: Arc<Cancelled>,
    /// The transports by descriptor, weakly.
    pub(super) owned: GilCell<HashMap<RawFd, Py<PyWeakrefReference>>>,
    /// Every thread that turns this loop or is aside in it. Changed under the GIL.
    pub members: Mutex<HashMap<ThreadId, Arc<Member>>>,
    /// Handles whose context is entered by a step that is aside, and those pinned to a thread that is aside. They are put
    /// back into the queue when a step comes back.
    pub deferred: Mutex<Vec<Py<Handle>>>,
    /// Steps in `block_on` (handoff/block_on.rs), whose tasks are looked at every turn for a `cancel()`.
    pub block_ons: Mutex<Vec<Py<PyAny>>>,
    /// Tasks that only one thread may step.
    pub pins: Pins,
    pub factories: Factories,
    pub clock: clock::Source,
    /// SystemExit or KeyboardInterrupt of a step on a relief thread, for home to raise.
    pub fatal: Mutex<Option<PyErr>>,
    pub debug: AtomicBool,
    pub stopping: AtomicBool,
    pub(super) closed: AtomicBool,
    /// The thread whose step is aside and has left its task as the loop's current one, 0 for none. See handoff/tasks.rs.
    pub task_owner: AtomicU32,
    /// A relief thread is being started.
    pub spawning: AtomicBool,
    /// The machinery has failed on a relief thread: none goes on with this run, whose end home tells.
    pub failed: AtomicBool,
    /// What a panic said that has ended this loop.
    pub panic: Mutex<Option<String>>,
    /// It was told that there are as many relief threads as there may be.
    pub told_full: AtomicBool,
}

impl LoopCore {
    #[inline]
    pub fn baton(&self) -> &Baton {
        &self.shared.baton
    }

    pub fn is_debug(&self) -> bool {
        self.debug.load(Ordering::Relaxed)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    #[inline]
    pub fn check_open(&self) -> PyResult<()> {
        if self.is_closed() { Err(PyRuntimeError::new_err("Event loop is closed")) } else { Ok(()) }
    }
}

#[pymethods]
impl LoopCore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                baton: Baton::default(),
                heartbeat: Heartbeat::default(),
                poller: Mutex::new(Some(Arc::new(Poller::new().map_err(os_error)?))),
                last_post: LastPost::default(),
                rescue: AtomicBool::new(false),
                rescue_after: AtomicU64::new(20_000_000),
                report_after: AtomicU64::new(100_000_000),
                max_relief: AtomicUsize::new(128),
                counters: Counters::default(),
            }),
            turn: Guarded::new(Turn::default()),
            inbox: Inbox::default(),
            registry: Mutex::new(Registry::default()),
            cancelled: Arc::new(Cancelled::default()),
            owned: GilCell::new(HashMap::new()),
            members: Mutex::new(HashMap::new()),
            deferred: Mutex::new(Vec::new()),
            block_ons: Mutex::new(Vec::new()),
            pins: Pins::default(),
            factories: Factories::default(),
            clock: clock::Source::default(),
            fatal: Mutex::new(None),
            debug: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            task_owner: AtomicU32::new(0),
            spawning: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            panic: Mutex::default(),
            told_full: AtomicBool::new(false),
        })
    }
}
