//! Puts handles into the queues of a loop, from the thread that holds its baton and from others.

use crate::event_loop::state::{LoopCore, Post};
use crate::ffi;
use crate::handle::Handle;
use crate::this_thread::own_id;
use everloop_core::baton::{After, Pending, ThreadId};
use everloop_core::sync::lock;
use everloop_core::turn::Wait;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

impl LoopCore {
    /// Queues a handle: in the loop's own queue if this thread holds the baton, else in the inbox.
    #[inline]
    pub fn schedule(&self, handle: Py<Handle>) {
        let mut handle = Some(handle);
        let queued =
            self.queues.turn.with(self.baton(), own_id(), |turn| handle.take().map(|handle| turn.push(handle)));
        if queued.is_none()
            && let Some(handle) = handle
        {
            self.post(Post::Soon(handle));
        }
    }

    /// As `schedule`, for a time of the loop's clock, in seconds.
    pub fn schedule_at(&self, when: f64, handle: Py<Handle>) {
        let mut handle = Some(handle);
        let queued = self
            .queues
            .turn
            .with(self.baton(), own_id(), |turn| handle.take().map(|handle| turn.timers.insert(when, handle)));
        if queued.is_none()
            && let Some(handle) = handle
        {
            self.post(Post::At(when, handle));
        }
    }

    fn post(&self, post: Post) {
        self.shared.last_post.note();
        self.queues.inbox.push(post);
        self.shared.wake_sleeper();
    }

    /// As `schedule`, for a thread that does not run this loop. The caller wakes the loop, once it has let go of the
    /// GIL: a loop that is woken before that only wakes up to wait.
    pub fn post_quietly(&self, handle: Py<Handle>) {
        self.shared.last_post.note();
        self.queues.inbox.push(Post::Soon(handle));
    }

    /// Returns what the next holder of the baton has to do. Called by the holder, or on its behalf.
    pub fn pending(&self, holder: ThreadId) -> Pending {
        let (ready, deadline) = self
            .queues
            .turn
            .with(self.baton(), holder, |turn| (turn.wait() == Wait::No, turn.timers.first()))
            .unwrap_or((true, None));
        Pending { ready: ready || self.queues.inbox.is_filled() || self.is_stopping(), deadline }
    }

    /// Does what a release of the baton left to do. Returns true if a relief thread is to be started, which it does not
    /// do.
    pub fn after_release(&self, after: After) -> bool {
        match after {
            After::Nothing => false,
            After::WakePoll => {
                self.shared.wake();
                false
            }
            After::Spawn => true,
        }
    }

    /// True if a handle waits for a step that is aside.
    pub fn is_deferred(&self, handle: &Py<Handle>) -> bool {
        self.shared.counters.aside.load(Ordering::Relaxed) > 0
            && lock(&self.queues.deferred).iter().any(|deferred| deferred.is(handle))
    }
}

#[pymethods]
impl LoopCore {
    /// The handles that are queued: those that are ready, and the timers, in no order.
    fn _queued(slf: &Bound<'_, Self>) -> (Vec<Py<Handle>>, Vec<Py<Handle>>) {
        let (py, this) = (slf.py(), slf.get());
        let (mut ready, mut timers) = ffi::peek(&this.queues.turn, py, |turn| {
            let copy = |handle: &Py<Handle>| handle.clone_ref(py);
            (turn.ready().map(copy).collect(), turn.timers.iter().map(copy).collect())
        })
        .unwrap_or_else(|| (Vec::new(), Vec::new()));
        this.queues.inbox.try_each(|post| match post {
            Post::Soon(handle) => ready.push(handle.clone_ref(py)),
            Post::At(_, handle) => timers.push(handle.clone_ref(py)),
        });
        (ready, timers)
    }
}
