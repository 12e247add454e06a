//! Which tasks are pinned to which threads.

use everloop_core::baton::ThreadId;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::lock::lock;

/// One pinned task.
pub struct Pin {
    pub thread: ThreadId,
    /// The greenlets that it is suspended in.
    pub greenlets: Vec<Py<PyWeakrefReference>>,
}

/// The pinned tasks of one loop, by the address of the task: its greenlets run its coroutine and so keep it alive.
#[derive(Default)]
pub struct Pins {
    /// How many there are: asked for every step. Written under the GIL.
    count: AtomicUsize,
    pins: Mutex<HashMap<usize, Pin>>,
}

impl Pins {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Whether any task is pinned to a thread, which then must not end.
    pub fn holds(&self, thread: ThreadId) -> bool {
        !self.is_empty() && lock(&self.pins).values().any(|pin| pin.thread == thread)
    }

    /// The thread that a task is pinned to.
    pub fn thread_of(&self, task: usize) -> Option<ThreadId> {
        lock(&self.pins).get(&task).map(|pin| pin.thread)
    }

    /// Pins a task, or unpins it (`None`). Gives back the pin it had.
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
