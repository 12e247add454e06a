//! The baton goes to another thread of the loop between two steps, and comes back.

use crate::driver::state::Driver;
use crate::ffi;
use crate::handle::Handle;
use crate::handoff;
use crate::watchdog_sleep;
use everloop_core::baton::ThreadId;
use everloop_core::sync::lock;
use pyo3::prelude::*;

impl Driver<'_> {
    /// Lets those go first who want the baton. Returns false if this relief thread has given the baton up.
    pub(super) fn give_way(&mut self) -> PyResult<bool> {
        let this = self.core.get();
        let Some(after) = this.baton().give_way(&self.member.waiter, this.pending(self.id())) else { return Ok(true) };
        let _none_to_start = this.after_release(after); // the baton goes to somebody who waits for it
        if !self.member.home {
            return Ok(false);
        }
        self.await_baton().map(|()| true)
    }

    /// Home waits until the baton is back.
    pub(super) fn await_baton(&self) -> PyResult<()> {
        let this = self.core.get();
        let (member, waiter) = (&*self.member, &self.member.waiter);
        let (_, raised) = handoff::wait_granted(self.py, this, member, || this.baton().queue_home(waiter));
        watchdog_sleep::wake();
        this.shared.counters.end_standstill();
        raised.map_or(Ok(()), Err)
    }

    /// Hands the baton to the thread to which the task of `handle` is pinned. Returns true if this thread goes on with
    /// the next step: the baton is back, or it could not go there now.
    pub(super) fn send_to(&mut self, thread: ThreadId, handle: Py<Handle>) -> PyResult<bool> {
        let this = self.core.get();
        let task = handle.bind(self.py).get().task(self.py).map_or(0, |task| ffi::address(&task));
        let there = lock(&this.threads.members).get(&thread).cloned();
        let is_aside = there.as_ref().is_some_and(|there| there.aside_reason().is_some());
        if is_aside && !this.threads.pins.yields(task) {
            lock(&this.queues.deferred).push(handle); // until a step that is aside comes back
            return Ok(true);
        }
        if is_aside || there.is_none() {
            // Where its thread is gone, so are the task's greenlets: let the task fail in its own words.
            let pin = this.threads.pins.set(task, None);
            drop(pin);
            self.on_turn(|turn| turn.push_front(handle));
            return Ok(true);
        }
        self.on_turn(|turn| turn.push_front(handle));
        if this.baton().hand_to(&self.member.waiter, thread) {
            return if self.member.home { self.await_baton().map(|()| true) } else { Ok(false) };
        }
        // That thread is on its way into or out of the poll, and waits for no baton yet: the next turn tries again.
        this.shared.wake();
        // The pinned step goes to the end of the queue, so that others can run before that.
        let handle = self.on_turn(|turn| turn.next());
        if let Some(handle) = handle {
            self.on_turn(|turn| turn.push(handle));
        }
        self.member.without_gil(self.py, std::thread::yield_now);
        Ok(true)
    }
}
