//! The looks of the watchdog: as the native crate's `watchdog/watch.rs`.

use crate::driver::{Doing, Thread};
use crate::handoff::Reason;
use crate::program::MILLISECOND;
use crate::world::{Event, World};
use everloop_core::watchdog::{Look, Timing, period};

const REPORT_AFTER: u64 = 100 * MILLISECOND;

impl World<'_> {
    pub fn look(&mut self) {
        let (now, tick) = (self.now, self.heartbeat.tick());
        let period = period(REPORT_AFTER, self.program.rescue_after);
        let look = self.pulse.look(tick, Timing { now, last: self.looked, overslept: 0, period });
        self.looked = now;
        if let (Look::Lasts { since }, Some(rescue_after)) = (look, self.program.rescue_after)
            && now - since >= rescue_after
        {
            self.rescue();
        }
        // As the watchdog does: with the tick of before, which a rescue has changed.
        if self.standstill.look(tick, self.baton.is_free(), now) && self.obeys_standstill {
            let sits = |thread: &Thread| matches!(thread.doing, Doing::Spare | Doing::StandsBy(_));
            assert!(!self.threads.iter().any(sits), "a spare sits there, and nobody calls it");
            self.counts.standstills += 1;
            self.order();
        }
        let (waiting, slice) = (self.baton.has_patients(), tick == self.slice);
        if self.share.look(now, waiting, slice, self.turns, 0) {
            self.counts.hurried += 1;
            self.baton.hurry_patient();
            self.wake_unparked();
        }
        let late = self.random.within(0, period);
        self.add_event(period + late, Event::Look);
    }

    /// Puts a step aside that is in a call, on behalf of its thread.
    pub fn rescue(&mut self) {
        let Some(thread) = self.runs else { return };
        if !matches!(self.threads[thread].doing, Doing::Calls | Doing::Blocks | Doing::Wakes) {
            return;
        }
        let site = self.line(thread).expect("it is in a call").site;
        self.learned[site] = true;
        self.counts.rescues += 1;
        self.put_aside(thread, Reason::Rescued);
    }
}
