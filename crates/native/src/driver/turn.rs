//! One turn of the loop.

use crate::clock;
use crate::driver::state::Driver;
use crate::handoff::{block_on, debugger};
use everloop_core::turn::Wait;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

/// While work is ready, files are polled after so many steps, and whenever the watchdog has looked.
const STEPS_BETWEEN_POLLS: usize = 256;
/// While work is ready, files are polled after so many turns.
const TURNS_BETWEEN_POLLS: u32 = 32;
/// So many turns after a sleep files are polled in every turn.
const TURNS_OF_POLLS: u32 = 16;

impl Driver<'_> {
    /// Turns until the loop stops or another thread has the baton.
    pub fn drive(&mut self) -> PyResult<()> {
        self.share.was_free();
        debugger::note(self.py, &self.member)?;
        while self.turn()? {}
        Ok(())
    }

    /// One turn. Returns false if the loop stops, at home; or if another thread has the baton and this is a relief
    /// thread.
    fn turn(&mut self) -> PyResult<bool> {
        let core = self.core.clone();
        let this = core.get();
        let turns = &this.shared.counters.turns;
        turns.store(turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed); // nobody else writes
        this.shared.turner.store(self.member.thread, Ordering::Relaxed);

        // Whoever wants a step back goes first.
        if this.baton().is_wanted() && !self.give_way()? {
            return Ok(false);
        }
        if self.member.home
            && let Some(error) = this.run.fatal.take()
        {
            return Err(error);
        }

        self.take_posts();
        if this.shared.counters.in_block_on.load(Ordering::Relaxed) != 0 {
            block_on::pass_on_cancellations(&core)?;
        }

        // Files: before every sleep, and now and then while work is ready. Timers: in every turn.
        let (wait, found) = self.on_turn(|turn| (turn.wait(), !turn.found.is_empty()));
        let watchdog_looked = this.shared.heartbeat.take_look();
        if watchdog_looked || self.member.has_debugger() {
            debugger::note(self.py, &self.member)?;
        }
        let is_fresh = self.turns_awake < TURNS_OF_POLLS;
        self.turns_awake += u32::from(is_fresh);
        if found || wait != Wait::No || watchdog_looked || is_fresh || self.steps_left == 0 || self.turns_left == 0 {
            if !self.poll_files(wait, found)? {
                return Ok(self.member.home);
            }
            self.steps_left = STEPS_BETWEEN_POLLS;
            self.turns_left = TURNS_BETWEEN_POLLS;
        } else {
            self.collect_timers(|| (this.shared.meter.counted(), clock::now()))?;
        }

        // One generation: what these steps make ready runs in the next turn.
        let steps = self.on_turn(|turn| turn.begin());
        self.steps_left = self.steps_left.saturating_sub(steps);
        self.turns_left -= 1;
        while let Some(handle) = self.on_turn(|turn| turn.next()) {
            if !self.step(handle)? {
                return Ok(false);
            }
            if this.baton().is_wanted() && !self.give_way()? {
                return Ok(false);
            }
        }

        if self.member.home && this.is_stopping() && self.may_stop() {
            return Ok(false);
        }
        Ok(true)
    }
}
