//! Queues the handles that became ready outside the steps: those of other threads, of timers, and of files.

use crate::clock;
use crate::driver::state::Driver;
use crate::event_loop::{Post, timing};
use everloop_core::registry::Direction;
use pyo3::prelude::*;
use std::mem;
use std::sync::atomic::Ordering;

/// About so many bytes are read in one turn. More of them would have left the processor's caches before the steps that
/// they wake run, and each would need memory of its own. (Streams: twice the throughput.)
const INTAKE: usize = 256 * 1024;

impl Driver<'_> {
    /// Queues what other threads have sent.
    pub(super) fn take_posts(&mut self) {
        if !self.this().queues.inbox.is_filled() {
            return;
        }
        self.on_turn(|turn| {
            self.this().queues.inbox.take(|post| match post {
                Post::Soon(handle) => turn.push(handle),
                Post::At(when, handle) => turn.timers.insert(when, handle),
            });
        });
        self.share.hear();
    }

    /// Queues the timers that are due. `times`: a time at which they were looked at before, or an earlier one; and now,
    /// both of the system's clock.
    #[inline]
    pub(super) fn collect_timers(&self, times: impl FnOnce() -> (u64, u64)) -> PyResult<()> {
        if !self.on_turn(|turn| turn.timers.is_empty()) {
            let (last, now) = times();
            let due = timing::due_by(&self.core, now)?;
            let first = self.on_turn(|turn| {
                let first = turn.timers.first();
                turn.collect(due);
                first
            });
            if let Some(when) = first.filter(|when| *when <= due) {
                self.this().shared.meter.note_due(clock::from_seconds(due - when), last, now);
            }
        }
        Ok(())
    }

    /// Queues the owners of the files that are ready: as many as will read [`INTAKE`], judged by those of the last
    /// turn. The others come in the next turns, before files are polled again.
    pub(super) fn collect_events(&mut self) {
        let core = self.core.clone();
        let this = core.get();
        if self.on_turn(|turn| !turn.found.is_empty()) {
            // The events that have waited go first. What this thread has found besides will be found again.
            self.events.clear();
            self.exchange_waiting_events();
        } else {
            self.poller.take_wake_up(&self.events);
        }
        let counters = &this.shared.counters;
        let (intake, files) = (counters.intake.swap(0, Ordering::Relaxed), counters.collected.load(Ordering::Relaxed));
        let most = (INTAKE * files).checked_div(intake).map_or(usize::MAX, |most| most.max(1));
        let mut collected = 0;
        while collected < most
            && let Some(event) = self.events.next()
        {
            collected += 1;
            let [reader, writer] = this.owners(self.py, event);
            for (handle, direction) in [(reader, Direction::Read), (writer, Direction::Write)] {
                match handle {
                    Some(handle) if handle.get().is_cancelled(self.py) => {
                        this.forget_cancelled(event, direction, &handle)
                    }
                    Some(handle) if this.is_deferred(&handle) => this.disarm(event, direction),
                    Some(handle) => self.on_turn(|turn| turn.push(handle)),
                    None => {}
                }
            }
        }
        counters.collected.store(collected, Ordering::Relaxed);
        self.exchange_waiting_events();
    }

    /// Exchanges the events of this thread for those that wait in the loop's queues for a later turn.
    fn exchange_waiting_events(&mut self) {
        let this = self.core.get();
        let events = &mut self.events;
        let swapped = this.queues.turn.with(this.baton(), self.member.id(), |turn| mem::swap(&mut turn.found, events));
        debug_assert!(swapped.is_some(), "a driver holds the baton between its waits");
    }
}
