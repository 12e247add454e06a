//! The notes for the log that tell of blocked steps. There is one when a step has blocked for too long, and one more
//! when that is over.
//!
//! When a report begins and ends is decided elsewhere (`everloop_core::watchdog`). This file takes down what is to be
//! told, and leaves it as a note (`outbox.rs`). The text is made in Python, on the thread that writes it
//! (`everloop/watch/report_writer.py`).

use super::snapshot::Snapshot;
use crate::clock;
use crate::event_loop::LoopCore;
use crate::member::Member;
use crate::outbox;
use everloop_core::watchdog::OpenReport;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// Begins a report: the step of `member` has blocked since `since`; `released` is when it was put aside.
pub fn begin(core: &Bound<'_, LoopCore>, member: &Member, since: u64, released: Option<u64>) -> PyResult<OpenReport> {
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
    Ok(OpenReport { number, since })
}

/// Its step has been put aside, and blocks the loop no longer.
pub fn rescued(open: OpenReport, now: u64) {
    tell("rescued", open, now);
}

/// Its step has ended or come back, or its loop's run is over.
pub fn end(open: OpenReport, now: u64) {
    tell("ended", open, now);
}

fn tell(method: &'static str, open: OpenReport, now: u64) {
    let seconds = clock::to_seconds(now.saturating_sub(open.since));
    outbox::leave(method, move |details| {
        details.set_item("number", open.number)?;
        details.set_item("seconds", seconds)
    });
}

/// A step has blocked, but nobody could look before it ended.
pub fn unseen(nanoseconds: u64) {
    let seconds = clock::to_seconds(nanoseconds);
    outbox::leave("unseen", move |details| details.set_item("seconds", seconds));
}

/// The run of the loop is to end, and has waited for the step of `member` for so long.
pub fn holds_end(core: &Bound<'_, LoopCore>, member: &Member, waited: u64) -> PyResult<()> {
    let seen = Snapshot::take(core, member)?;
    let reference = PyWeakrefReference::new(core)?.unbind();
    outbox::leave("holds_end", move |details| {
        details.set_item("loop", reference)?;
        details.set_item("seconds", clock::to_seconds(waited))?;
        seen.tell(details)
    });
    Ok(())
}

/// Nobody watches a loop: the system refuses the watchdog its thread.
pub fn unwatched(core: &Bound<'_, LoopCore>, error: String) -> PyResult<()> {
    let reference = PyWeakrefReference::new(core)?.unbind();
    outbox::leave("unwatched", move |details| {
        details.set_item("loop", reference)?;
        details.set_item("error", error)
    });
    Ok(())
}

/// The watchdog could not do something.
pub fn failed(error: PyErr) {
    outbox::leave("failed", move |details| details.set_item("error", error.value(details.py())));
}
