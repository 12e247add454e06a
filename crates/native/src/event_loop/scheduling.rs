//! How a handle comes into the queues of a loop, from the thread that holds its baton and from others.

use crate::event_loop::state::{LoopCore, Post};
use crate::handle::Handle;
use crate::lock::lock;
use crate::this_thread::own_id;
use everloop_core::baton::{After, Pending, ThreadId};
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

    /// As `schedule`, of a thread that does not run this loop. It wakes the loop soon, when it has let go of
    /// the GIL: a loop that is woken before that only wakes up to wait.
    pub fn post_quietly(&self, handle: Py<Handle>) {
        self.shared.last_post.note();
        self.queues.inbox.push(Post::Soon(handle));
    }

    /// What a thread that lets go of the baton tells the next one. Only for the thread that holds it, or on its behalf.
    pub fn pending(&self, holder: ThreadId) -> Pending {
        let (ready, deadline) = self
            .queues
            .turn
            .with(self.baton(), holder, |turn| (turn.wait() == Wait::No, turn.timers.first()))
            .unwrap_or((true, None));
        Pending { ready: ready || self.queues.inbox.is_filled() || self.is_stopping(), deadline }
    }

    /// Carries out what a release left to do, but for starting threads: says whether that is needed.
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

    /// Whether a handle waits for a step that is aside.
    pub fn is_deferred(&self, handle: &Py<Handle>) -> bool {
        self.shared.counters.aside.load(Ordering::Relaxed) > 0
            && lock(&self.queues.deferred).iter().any(|deferred| deferred.is(handle))
    }
}
