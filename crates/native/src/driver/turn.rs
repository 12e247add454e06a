//! One turn of the loop.

use crate::clock;
use crate::driver::state::Driver;
use crate::handoff::block_on;
use crate::lock::lock;
use everloop_core::turn::Wait;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

/// While work is ready, files are looked at after so many steps, and whenever the watchdog has looked.
const STEPS_BETWEEN_LOOKS: usize = 256;
/// The same in turns.
const TURNS_BETWEEN_LOOKS: u32 = 32;
/// So many turns after a sleep files are looked at in every turn, as asyncio does: programs, tests above all, let a few turns
/// pass and expect that what was sent has arrived. A loop that is busy for longer saves the system call.
const TURNS_OF_LOOKS: u32 = 16;
impl Driver<'_> {
    /// Turns until the loop stops or another thread has the baton.
    pub fn drive(&mut self) -> PyResult<()> {
        self.share.was_free();
        while self.turn()? {}
        Ok(())
    }

    /// False: the loop stops, at home; or another thread has the baton, if this is a relief thread.
    fn turn(&mut self) -> PyResult<bool> {
        let core = self.core.clone();
        let this = core.get();
        let turns = &this.shared.counters.turns;
        turns.store(turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed); // nobody else writes

        // Whoever wants a step back goes first.
        if this.baton().is_wanted() && !self.give_way()? {
            return Ok(false);
        }
        if self.member.home
            && let Some(error) = lock(&this.run.fatal).take()
        {
            return Err(error);
        }

        self.take_posts();
        if this.shared.counters.in_block_on.load(Ordering::Relaxed) != 0 {
            block_on::pass_on_cancellations(&core)?;
        }

        // Files: always before a sleep, and now and then while work is ready. Timers: in every turn, since programs count on
        // it that what is due by now, `call_later(0, ...)` first of all, runs in the next turn.
        let (wait, found) = self.on_turn(|turn| (turn.wait(), !turn.found.is_empty()));
        let stale = this.shared.heartbeat.take_look();
        let is_fresh = self.turns_awake < TURNS_OF_LOOKS;
        self.turns_awake += u32::from(is_fresh);
        if found || wait != Wait::No || stale || is_fresh || self.steps_left == 0 || self.turns_left == 0 {
            if !self.poll_files(wait, found)? {
                return Ok(self.member.home);
            }
            self.steps_left = STEPS_BETWEEN_LOOKS;
            self.turns_left = TURNS_BETWEEN_LOOKS;
        } else {
            self.collect_timers(clock::now)?;
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
