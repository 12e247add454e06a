//! Open reports. There is one note when a step has blocked for too long, and one more when that is over.
//!
//! This file decides when; each report is a note for the log (`outbox.rs`). The text is made in Python, on the thread that
//! writes it (`everloop/watch/report_writer.py`).

use super::snapshot::Snapshot;
use crate::aside::Reason;
use crate::clock;
use crate::event_loop::LoopCore;
use crate::member::Member;
use crate::outbox;
use everloop_core::sync::lock;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The time between two looks at the steps that are aside, in nanoseconds.
const ASIDE_PERIOD: u64 = 5_000_000;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// A report that has begun, and has not ended yet: what is remembered of it here.
struct OpenReport {
    /// Its number, which all notes that belong to it carry.
    number: u64,
    since: u64,
}

/// The reports of one loop that have begun, and have not ended yet.
#[derive(Default)]
pub struct OpenReports {
    /// The step that blocks the loop itself, by its heartbeat.
    stall: Option<(u64, OpenReport)>,
    /// Steps that were put aside, by the number of their release.
    asides: HashMap<u64, OpenReport>,
    looked: u64,
}

impl OpenReports {
    pub fn has_stall(&self, tick: u64) -> bool {
        self.stall.as_ref().is_some_and(|(of, _)| *of == tick)
    }

    pub fn has_asides(&self) -> bool {
        !self.asides.is_empty()
    }

    /// The step with this heartbeat has blocked since `since`.
    pub fn begin_stall(
        &mut self,
        core: &Bound<'_, LoopCore>,
        member: &Arc<Member>,
        tick: u64,
        since: u64,
    ) -> PyResult<()> {
        self.stall = Some((tick, OpenReport::new(core, member, since, None)?));
        Ok(())
    }

    /// The step with this heartbeat has ended. Needs no GIL.
    pub fn end_stall(&mut self, tick: u64, now: u64) {
        if let Some((_, open)) = self.stall.take_if(|(of, _)| *of == tick) {
            open.end(now);
        }
    }

    /// The step that blocked the loop has been put aside: it goes on blocking, but not the loop.
    pub fn move_aside(&mut self, serial: u64) {
        let Some((_, open)) = self.stall.take() else { return };
        let seconds = clock::to_seconds(clock::now().saturating_sub(open.since));
        let number = open.number;
        outbox::leave("rescued", move |details| {
            details.set_item("number", number)?;
            details.set_item("seconds", seconds)
        });
        self.asides.insert(serial, open);
    }

    /// A step blocked, but nobody could look before it ended.
    pub fn unseen(nanoseconds: u64) {
        let seconds = clock::to_seconds(nanoseconds);
        outbox::leave("unseen", move |details| details.set_item("seconds", seconds));
    }

    pub fn is_aside_due(&self, now: u64) -> bool {
        now - self.looked >= ASIDE_PERIOD
    }

    /// Begins reports of steps that have been aside for long, and ends those of steps that have come back.
    pub fn look_aside(&mut self, core: &Bound<'_, LoopCore>, now: u64, report_after: u64) -> PyResult<()> {
        self.looked = now;
        let members: Vec<_> = lock(&core.get().threads.members).values().cloned().collect();
        let mut there = Vec::new();
        // The report also names the thread that goes on with the loop: at the next look, if that is only being started.
        let is_known = !core.get().threads.spawning.load(Ordering::Relaxed);
        for member in members {
            if !matches!(member.aside_reason(), Some(Reason::Rescued | Reason::Learned)) {
                continue;
            }
            let Some(aside) = member.aside_times() else { continue };
            there.push(aside.serial);
            let is_due = is_known && now.saturating_sub(aside.since) >= report_after;
            if is_due && !self.asides.contains_key(&aside.serial) {
                let open = OpenReport::new(core, &member, aside.since, Some(aside.released))?;
                self.asides.insert(aside.serial, open);
            }
        }
        let gone: Vec<u64> = self.asides.keys().copied().filter(|serial| !there.contains(serial)).collect();
        gone.iter().filter_map(|serial| self.asides.remove(serial)).for_each(|open| open.end(now));
        Ok(())
    }

    /// The run is over: everything that has begun ends now.
    pub fn finish(&mut self, now: u64) {
        let stall = self.stall.take().map(|(_, open)| open);
        stall.into_iter().chain(std::mem::take(&mut self.asides).into_values()).for_each(|open| open.end(now));
    }
}

impl OpenReport {
    /// Tells that the step of `member` blocks; `released` is when it was put aside.
    fn new(core: &Bound<'_, LoopCore>, member: &Member, since: u64, released: Option<u64>) -> PyResult<Self> {
        let seen = Snapshot::take(core, member)?;
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let seconds = clock::to_seconds(clock::now().saturating_sub(since));
        let rescued_after = released.map(|at| clock::to_seconds(at.saturating_sub(since)));
        outbox::leave("blocked", move |details| {
            details.set_item("number", number)?;
            details.set_item("seconds", seconds)?;
            details.set_item("rescued_after", rescued_after)?;
            seen.tell(details)
        });
        Ok(Self { number, since })
    }

    fn end(self, now: u64) {
        let seconds = clock::to_seconds(now.saturating_sub(self.since));
        outbox::leave("ended", move |details| {
            details.set_item("number", self.number)?;
            details.set_item("seconds", seconds)
        });
    }
}
