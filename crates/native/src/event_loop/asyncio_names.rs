//! The private attributes of a loop that asyncio, and programs that know it well, read and set.

use crate::event_loop::state::LoopCore;
use everloop_core::sync::lock;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

impl LoopCore {
    /// The thread that holds the baton; home while nobody does.
    fn thread_ident(&self) -> Option<u64> {
        if !self.baton().is_open() {
            return None;
        }
        let members = lock(&self.threads.members);
        let holder = self.baton().holder().and_then(|id| members.get(&id).cloned());
        holder.or_else(|| members.values().find(|member| member.home).cloned()).map(|member| member.ident)
    }
}

#[pymethods]
impl LoopCore {
    #[getter(_stopping)]
    fn get_stopping(&self) -> bool {
        self.is_stopping()
    }

    #[setter(_stopping)]
    fn set_stopping(&self, stopping: bool) {
        self.run.stopping.store(stopping, Ordering::Relaxed);
    }

    #[getter(_task_factory)]
    fn task_factory(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.factories.factory(py)
    }

    #[setter(_task_factory)]
    fn set_task_factory(&self, factory: &Bound<'_, PyAny>) {
        self.factories.set_factory(factory);
    }

    #[getter(_debug)]
    fn get_debug_flag(&self) -> bool {
        self.is_debug()
    }

    #[setter(_debug)]
    fn set_debug_flag(&self, debug: &Bound<'_, PyAny>) -> PyResult<()> {
        self.debug.store(debug.is_truthy()?, Ordering::Relaxed);
        Ok(())
    }

    #[getter(_closed)]
    fn get_closed(&self) -> bool {
        self.is_closed()
    }

    #[setter(_closed)]
    fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// The thread whose steps run now; asyncio's debug checks compare with it.
    #[getter(_thread_id)]
    fn get_thread_id(&self) -> Option<u64> {
        self.thread_ident()
    }

    /// asyncio's constructor sets it. That has no effect: the baton knows the thread.
    #[setter(_thread_id)]
    fn set_thread_id(&self, _ident: &Bound<'_, PyAny>) {}

    /// Wakes a loop that sleeps: asyncio's own code calls this after it has queued something.
    fn _write_to_self(&self) {
        self.shared.wake();
    }
}
