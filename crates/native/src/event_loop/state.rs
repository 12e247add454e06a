//! LoopCore: the native half of `EventLoop`. Its fields, in groups, and who writes and reads each.

use crate::clock;
use crate::errors::os_error;
use crate::event_loop::factories::Factories;
use crate::event_loop::pins::Pins;
use crate::event_loop::shared::Shared;
use crate::ffi::GilCell;
use crate::handle::Handle;
use crate::member::Member;
use everloop_core::baton::{Baton, ThreadId};
use everloop_core::guarded::Guarded;
use everloop_core::poll::Poller;
use everloop_core::ready::Inbox;
use everloop_core::registry::Registry;
use everloop_core::sync::{Mutex, lock, rank};
use everloop_core::timers::Cancelled;
use everloop_core::turn::Turn;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefReference};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A handle from a thread that does not hold the baton.
pub enum Post {
    /// To run in the next turn.
    Soon(Py<Handle>),
    /// At a time of the loop's clock, in seconds.
    At(f64, Py<Handle>),
}

/// The handles that are to run.
pub struct Queues {
    /// The handles that are ready, and the timers. Written by the holder of the baton; others look at it under the GIL.
    pub turn: Guarded<Turn<Py<Handle>>>,
    /// The handles that other threads have sent. Any thread pushes, the holder empties it.
    pub inbox: Inbox<Post>,
    /// Handles that a step which is aside keeps from running: it has entered their context, or they are pinned to its
    /// thread. Filled by the holder. A step that comes back puts them back into the queue.
    pub deferred: Mutex<Vec<Py<Handle>>>,
    /// The number of cancelled timers in the heap. Counted by who cancels one, under the GIL; read by the holder, who throws
    /// them out when they are the majority.
    pub cancelled: Cancelled,
}

/// The files that the loop watches.
#[derive(Default)]
pub(super) struct Files {
    /// The handles by descriptor. Written by any thread, under its lock.
    pub registry: Mutex<Registry<Py<Handle>>, { rank::FILES }>,
    /// The descriptor of these by which the interpreter says that there was a signal, as long as no handler in the loop
    /// waits for that. Written by home; read by the watchdog.
    pub signals: Mutex<Option<RawFd>>,
    /// The transports by descriptor, weakly. Written and read under the GIL.
    pub owned: GilCell<HashMap<RawFd, Py<PyWeakrefReference>>>,
}

/// The threads of the loop, and what each of them keeps from the others. All of it is written under the GIL.
#[derive(Default)]
pub struct Threads {
    /// Every thread that turns this loop, or is aside in it. Written by that thread; read by the others and the
    /// watchdog.
    pub members: Mutex<HashMap<ThreadId, Arc<Member>>>,
    /// The tasks that only one thread may step. Written by the thread that runs such a step; read before every step.
    pub pins: Pins,
    /// The steps in `block_on` (handoff/block_on.rs). Written by them; the holder looks in every turn whether one of
    /// their tasks was cancelled.
    pub block_ons: Mutex<Vec<Py<PyAny>>>,
    /// The thread whose step is aside and has left its task as the loop's current one; 0 for none. See
    /// handoff/tasks.rs.
    pub task_owner: AtomicU32,
    /// True while a relief thread is being started. Written by who starts it and by that thread.
    pub spawning: AtomicBool,
    /// True once the log says that there are as many relief threads as there may be. Written and read by who starts
    /// them.
    pub told_full: AtomicBool,
    /// True once the log says that the system refuses threads, until it gives one. Written as `told_full`, and by that
    /// thread.
    pub told_refused: AtomicBool,
}

/// A value that is seldom there. Written and read under the GIL.
pub struct Seldom<T> {
    is_there: AtomicBool,
    value: Mutex<Option<T>>,
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self { is_there: AtomicBool::new(false), value: Mutex::new(None) }
    }
}

impl<T> Seldom<T> {
    /// Puts the value there. Returns the one that was there before.
    pub fn put(&self, value: T) -> Option<T> {
        self.is_there.store(true, Ordering::Relaxed);
        lock(&self.value).replace(value)
    }

    /// Takes the value. Without one that is a load, and no lock.
    #[inline]
    pub fn take(&self) -> Option<T> {
        if self.is_there.load(Ordering::Relaxed) && self.is_there.swap(false, Ordering::Relaxed) {
            return lock(&self.value).take();
        }
        None
    }
}

/// The state of the run that is going on, or of the next one. All of it is written under the GIL.
#[derive(Default)]
pub struct Run {
    /// True once home has had the loop told of each signal. Written by home; read by it when its step goes aside.
    pub hears_signals: AtomicBool,
    /// True from `stop()` to the end of the run. Written by any thread; read by home, after each generation.
    pub stopping: AtomicBool,
    /// The exception of a step on a relief thread that `run_forever` is to raise: SystemExit, KeyboardInterrupt.
    /// Written by that thread, taken by home.
    pub fatal: Seldom<PyErr>,
    /// True if the machinery has failed on a relief thread, not a callback: no relief thread goes on with this run.
    /// Written by that thread, and by home when the run ends.
    pub failed: AtomicBool,
    /// The text of the panic that has ended this loop. Written once; read when the loop is to run again.
    pub panic: Mutex<Option<String>>,
}

/// The native half of an event loop. `everloop.EventLoop` is the other half: use that.
#[pyclass(frozen, subclass, dict, weakref, module = "everloop._native")]
pub struct LoopCore {
    pub shared: Arc<Shared>,
    pub queues: Queues,
    pub(super) files: Files,
    pub threads: Threads,
    pub run: Run,
    pub factories: Factories,
    pub clock: clock::Source,
    /// True in debug mode. Written under the GIL; read by each `call_soon` and each step.
    pub debug: AtomicBool,
    /// True from `close()` on. Written under the GIL; read by any thread.
    pub(super) closed: AtomicBool,
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
        self.run.stopping.load(Ordering::Relaxed)
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
            shared: Arc::new(Shared::new(Poller::new().map_err(os_error)?)),
            queues: Queues {
                turn: Guarded::new(Turn::default()),
                inbox: Inbox::default(),
                deferred: Mutex::default(),
                cancelled: Cancelled::default(),
            },
            files: Files::default(),
            threads: Threads::default(),
            run: Run::default(),
            factories: Factories::default(),
            clock: clock::Source::default(),
            debug: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }
}
