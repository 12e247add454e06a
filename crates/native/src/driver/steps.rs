//! One step: a handle runs.

use crate::clock;
use crate::driver::state::Driver;
use crate::event_loop::timing;
use crate::handle::{Handle, Ran};
use crate::handoff::{self, pinning};
use crate::watchdog;
use everloop_core::sync::lock;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

impl Driver<'_> {
    /// Runs one handle. Returns false if this thread no longer has the baton.
    #[inline]
    pub(super) fn step(&mut self, handle: Py<Handle>) -> PyResult<bool> {
        let this = self.core.get();
        let bound = handle.bind(self.py);
        if !this.threads.pins.is_empty()
            && let Some(thread) = pinning::thread_of(&this.threads.pins, bound)
            && thread != self.id()
        {
            return self.send_to(thread, handle);
        }
        if this.threads.task_owner.load(Ordering::Relaxed) != 0 {
            handoff::tasks::make_room(&self.core, &self.member)?;
        }
        let begun = if this.is_debug() { Some(timing::seconds(&self.core)?) } else { None };
        this.shared.heartbeat.begin_step();
        let running = self.member.current.hold(&handle);
        let ran = Handle::run(bound);
        drop(running);
        if !this.baton().is_held_by(self.id()) && !handoff::end_of_step(&self.core, &self.member) {
            return Ok(false); // the loop was closed while the step was aside
        }
        this.shared.heartbeat.end_step();
        if this.shared.heartbeat.take_question() {
            watchdog::answer_question(&this.shared, bound);
        }
        if let Some(begun) = begun {
            self.tell_if_slow(bound, begun)?;
        }
        self.greenlets.check(&self.member)?;
        if !this.threads.pins.is_empty() || self.member.has_switched() {
            pinning::settle(self.py, &this.threads.pins, &self.member, bound.get().task(self.py))?;
        }
        match ran {
            Ran::Done => {
                handle.drop_ref(self.py);
                Ok(true)
            }
            Ran::Busy(error) => self.defer(handle, error),
            Ran::Fatal(error) => self.fail(error),
        }
    }

    /// Debug mode tells of slow callbacks, in asyncio's words, and by the loop's own clock as it does.
    #[cold]
    fn tell_if_slow(&self, handle: &Bound<'_, Handle>, begun: f64) -> PyResult<()> {
        let took = timing::seconds(&self.core)? - begun;
        if took >= clock::to_seconds(self.this().shared.report_after.own()) {
            self.core.call_method1("_log_slow_callback", (handle, took))?;
        }
        Ok(())
    }

    /// The handle could not run, since its context is entered. By a step that is aside: then it waits for that. By
    /// whoever runs the loop: then its error is reported.
    fn defer(&self, handle: Py<Handle>, error: PyErr) -> PyResult<bool> {
        if self.this().shared.counters.aside.load(Ordering::Relaxed) > 0 {
            lock(&self.this().queues.deferred).push(handle);
            return Ok(true);
        }
        match Handle::report(handle.bind(self.py), error) {
            Ran::Fatal(error) => self.fail(error),
            _ => Ok(true),
        }
    }

    /// SystemExit or KeyboardInterrupt of a step: it is to come out of `run_forever`, on the home thread.
    fn fail(&self, error: PyErr) -> PyResult<bool> {
        if self.member.home {
            return Err(error);
        }
        let replaced = self.this().run.fatal.put(error);
        drop(replaced);
        // Home may sleep in the poll, with nothing else to do.
        self.this().shared.wake();
        Ok(true)
    }

    /// The baton has come to a relief thread, perhaps for a step that nobody else may run: that runs before anything
    /// else, since the thread that sent the baton wants it back. Returns false if the baton is elsewhere afterwards.
    pub fn run_pinned(&mut self) -> PyResult<bool> {
        let this = self.core.get();
        if this.threads.pins.is_empty() {
            return Ok(true);
        }
        let Some(handle) = self.on_turn(|turn| turn.next()) else { return Ok(true) };
        if pinning::thread_of(&this.threads.pins, handle.bind(self.py)) == Some(self.id()) {
            return self.step(handle);
        }
        self.on_turn(|turn| turn.push_front(handle));
        Ok(true)
    }
}
