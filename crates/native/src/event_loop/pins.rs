//! The tasks of a loop that are pinned to threads.

use everloop_core::baton::ThreadId;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use everloop_core::sync::{Mutex, lock};

/// One pinned task.
pub struct Pin {
    pub thread: ThreadId,
    /// The greenlets that it is suspended in.
    pub greenlets: Vec<Py<PyWeakrefReference>>,
    /// True if the task goes on elsewhere while that thread's step is aside.
    pub yields: bool,
}

/// The pinned tasks of one loop, by the address of the task: its greenlets run its coroutine and so keep it alive.
#[derive(Default)]
pub struct Pins {
    /// The number of tasks that are pinned. Written under the GIL; read before every step.
    count: AtomicUsize,
    /// The pins by task. Written and read under the GIL.
    pins: Mutex<HashMap<usize, Pin>>,
}

impl Pins {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// True if a task is pinned to this thread, which then must not end.
    pub fn holds(&self, thread: ThreadId) -> bool {
        !self.is_empty() && lock(&self.pins).values().any(|pin| pin.thread == thread)
    }

    /// Returns the thread to which a task is pinned.
    pub fn thread_of(&self, task: usize) -> Option<ThreadId> {
        lock(&self.pins).get(&task).map(|pin| pin.thread)
    }

    /// True if a task goes on elsewhere while the step of the thread that it is pinned to is aside.
    pub fn yields(&self, task: usize) -> bool {
        lock(&self.pins).get(&task).is_some_and(|pin| pin.yields)
    }

    /// Pins a task; with `None` it unpins it. Returns the pin that the task had.
    pub fn set(&self, task: usize, pin: Option<Pin>) -> Option<Pin> {
        let mut pins = lock(&self.pins);
        let old = match pin {
            Some(pin) => pins.insert(task, pin),
            None => pins.remove(&task),
        };
        self.count.store(pins.len(), Ordering::Relaxed);
        old
    }
}
