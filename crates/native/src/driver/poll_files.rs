//! Files are polled, and the loop sleeps if there is nothing else to do.

use crate::clock;
use crate::driver::gil_share;
use crate::driver::sleep::check_poll;
use crate::driver::state::Driver;
use crate::event_loop::timing;
use everloop_core::turn::Wait;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Driver<'_> {
    /// Polls, and queues the files and timers that are ready. Sleeps if there is nothing else to do. Polls nothing if
    /// files were `found` before that still wait. Returns false if this is a relief thread and the baton is elsewhere.
    pub(super) fn poll_files(&mut self, mut wait: Wait, mut found: bool) -> PyResult<bool> {
        let core = self.core.clone();
        let this = core.get();
        if self.member.home {
            self.py.check_signals()?;
            wait = self.on_turn(|turn| turn.wait()); // a handler may have queued something
        }

        let mut now = clock::now();
        let mut last = this.shared.meter.counted();
        this.shared.meter.look(now);
        let timeout = match wait {
            Wait::Until(when) => Some(clock::until(when, timing::due_by(&core, now)?)),
            _ => None,
        };
        let must_stop = this.is_stopping() && (self.member.home && self.may_stop());
        let may_sleep = wait != Wait::No && timeout != Some(Duration::ZERO) && !must_stop;

        // A loop whose last sleep lasted has nothing to read this time either, most likely.
        if !(found || may_sleep && self.sleeps_at_once) {
            check_poll(self.poller.wait(&mut self.events, Some(Duration::ZERO)))?;
            found = !self.events.is_empty();
        }
        let sleeps = !found && may_sleep;
        if sleeps {
            if !self.sleep(wait, timeout, now)? {
                return Ok(false);
            }
            found = !self.events.is_empty();
            last = now;
            now = clock::now();
            this.shared.meter.get_up(now);
            self.take_posts(); // one of them has ended the sleep, most likely
        }

        if sleeps {
            self.share.was_free();
        } else if self.share.is_due(now) {
            let aside = this.shared.counters.aside.load(Ordering::Relaxed) > 0;
            gil_share::lend(&mut self.share, self.py, &self.member, now, aside);
        }

        if found {
            self.collect_events();
        }
        self.collect_timers(|| (last, now))?;
        if this.queues.cancelled.is_majority(self.on_turn(|turn| turn.timers.len())) {
            let py = self.py;
            let dead = self.on_turn(|turn| turn.timers.take_dead(|handle| handle.get().is_cancelled(py)));
            this.queues.cancelled.clear();
            drop(dead);
        }
        Ok(true)
    }
}
