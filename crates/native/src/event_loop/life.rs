//! The life of a loop: that it runs, stops and is closed, and the references that the collector sees.

use crate::event_loop::state::{LoopCore, Post};
use crate::ffi;
use crate::handle::Handle;
use crate::this_thread::own_id;
use everloop_core::registry::Change;
use everloop_core::sync::{lock, try_look};
use everloop_core::turn::Turn;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use std::sync::atomic::Ordering;

#[pymethods]
impl LoopCore {
    /// Stops the loop at the end of its turn. Steps that are aside in a blocking call come back first.
    fn stop(&self) {
        self.run.stopping.store(true, Ordering::Relaxed);
        if self.baton().is_polling() {
            self.shared.wake();
        }
    }

    /// True if the loop is running.
    fn is_running(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let baton = slf.get().baton();
        let is_running = baton.is_open();
        if is_running && !baton.is_held_by(own_id()) {
            // A task that begins at once asks this, and must not begin beside the loop's steps.
            slf.call_method0("_refuse_foreign_start")?;
        }
        Ok(is_running)
    }

    /// Throws away all that is queued or watched. Steps that are aside get RuntimeError when they come back.
    fn _close_core(slf: &Bound<'_, Self>) {
        let this = slf.get();
        this.closed.store(true, Ordering::Relaxed);
        let mut posts = Vec::new();
        this.queues.inbox.take(|post| posts.push(post));
        // A loop that is closed does not run: nobody is inside `turn`.
        let queued = ffi::peek(&this.queues.turn, slf.py(), Turn::take_all);
        let watched = {
            let mut registry = lock(&this.files.registry);
            let fds: Vec<_> = registry.watched().map(|(fd, _)| fd).collect();
            for fd in fds {
                let _ = this.shared.apply(Change::Delete(fd));
            }
            registry.take_all()
        };
        let deferred = std::mem::take(&mut *lock(&this.queues.deferred));
        let poller = lock(&this.shared.poller).take();
        drop(poller);
        drop((posts, queued, watched, deferred));
        this.factories.forget_keywords(slf.py());
        for member in lock(&this.threads.members).values() {
            member.waiter.parker().unpark();
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut result = Ok(());
        let mut see = |handle: &Py<Handle>| {
            if result.is_ok() {
                result = visit.call(handle);
            }
        };
        ffi::peek_traverse(&self.queues.turn, |turn| turn.iter().for_each(&mut see));
        self.queues.inbox.try_each(|post| match post {
            Post::Soon(handle) | Post::At(_, handle) => see(handle),
        });
        try_look(&self.files.registry, |registry| registry.iter().for_each(&mut see));
        try_look(&self.queues.deferred, |deferred| deferred.iter().for_each(&mut see));
        result.and_then(|()| self.factories.traverse(&visit))
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        Self::_close_core(slf);
        slf.get().factories.set_factory(&slf.py().None().into_bound(slf.py()));
    }
}
