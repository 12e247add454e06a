//! The notes for the log that tell of blocked steps. There is one when a step has blocked for too long, and one more
//! when that is over.
//!
//! When a report begins and ends is decided elsewhere (`everloop_core::watchdog`). This file takes down what is to be
//! told, and leaves it as a note (`outbox.rs`). The text is made in Python, on the thread that writes it
//! (`everloop/watch/report_writer.py`).

use super::block::{Block, BlockKey, own};
use super::named_verdict::{NamedVerdict, span_of};
use super::snapshot::{Snapshot, holder, names as names_of_step, tell_names};
use crate::clock;
use crate::event_loop::{LoopCore, Shared};
use crate::member::Member;
use crate::outbox;
use everloop_core::sync::lock;
use everloop_core::sys;
use everloop_core::watchdog::OpenReport;
use everloop_stacks::Frame;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefMethods, PyWeakrefReference};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// Begins a report: the step of `member` has blocked since `since`; `released` is when it was put aside. The verdict
/// says why.
pub fn begin(
    core: &Bound<'_, LoopCore>,
    reference: &Arc<Py<PyWeakrefReference>>,
    member: &Member,
    since: u64,
    released: Option<u64>,
    verdict: NamedVerdict,
) -> PyResult<OpenReport> {
    let seen = Snapshot::take(core, member)?;
    let reference = Arc::clone(reference);
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let seconds = clock::to_seconds(clock::now().saturating_sub(since));
    let rescued_after = released.map(|at| clock::to_seconds(at.saturating_sub(since)));
    outbox::leave("blocked", move |details| {
        details.set_item("number", number)?;
        details.set_item("seconds", seconds)?;
        details.set_item("rescued_after", rescued_after)?;
        details.set_item("loop", &*reference)?;
        verdict.tell(details)?;
        seen.tell(details)
    });
    Ok(OpenReport { number, since })
}

/// Begins a report of a block that nobody could look at with the GIL; `told` if its text was written already.
///
/// Whose step it is, is looked up by the thread that writes the note, if the step still runs; or else told by the thread
/// that has run it.
pub fn begin_blind(
    reference: &Arc<Py<PyWeakrefReference>>,
    shared: &Arc<Shared>,
    block: &Block,
    verdict: NamedVerdict,
    now: u64,
    told: bool,
) -> OpenReport {
    let since = block.who.since;
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let seconds = clock::to_seconds(now.saturating_sub(since));
    let frames = verdict.frames(block).to_vec();
    let thread = verdict.other_holder.as_ref().map_or(block.who.thread, |(number, _)| *number);
    let title = sys::thread_title(thread);
    let (reference, shared) = (Arc::clone(reference), Arc::clone(shared));
    let step = if let BlockKey::Step(tick) = block.who.key { Some(tick) } else { None };
    let asked = block.names_asked();
    outbox::leave("blocked", move |details| {
        details.set_item("number", number)?;
        details.set_item("seconds", seconds)?;
        details.set_item("told", told)?;
        details.set_item("loop", &*reference)?;
        details.set_item("thread", thread)?;
        details.set_item("title", title)?;
        let core = reference.bind(details.py()).upgrade();
        let core = core.as_ref().and_then(|core| core.cast::<LoopCore>().ok());
        if let Some(member) = core.and_then(|core| member_of(core, thread)) {
            details.set_item("thread", &member.name)?;
        }
        let holder = || core.filter(|_| step == Some(shared.heartbeat.tick())).and_then(holder);
        let names = asked.and_then(|asked| asked.get().cloned());
        let names = names.or_else(|| Some(names_of_step(details.py(), &*holder()?)));
        tell_names(details, names)?;
        details.set_item("waiting", 0)?; // `named` says what waits, if the step goes on
        for unknown in ["columns", "inside", "relief", "rescued_after"] {
            details.set_item(unknown, None::<u32>)?;
        }
        verdict.tell(details)?;
        tell_frames(details, &frames)
    });
    OpenReport { number, since }
}

/// The thread of a loop that has this number.
fn member_of(core: &Bound<'_, LoopCore>, number: u32) -> Option<Arc<Member>> {
    lock(&core.get().threads.members).values().find(|member| member.thread == number).cloned()
}

/// A block that has begun to be told of goes on. `told` if its text was written already; who waits is known from `seen`.
pub fn lasts(open: OpenReport, verdict: NamedVerdict, now: u64, told: bool, seen: Option<&Snapshot>) {
    let seconds = clock::to_seconds(now.saturating_sub(open.since));
    let waiting = seen.map(Snapshot::waiting);
    outbox::leave("lasts", move |details| {
        details.set_item("number", open.number)?;
        details.set_item("seconds", seconds)?;
        details.set_item("told", told)?;
        if let Some((waiting, due, ready)) = waiting {
            details.set_item("waiting", waiting)?;
            details.set_item("due", due)?;
            details.set_item("ready", ready)?;
        }
        verdict.tell(details)
    });
}

/// The GIL has come while a step lasts of which nobody could say whose it is.
pub fn name(core: &Bound<'_, LoopCore>, member: &Member, open: OpenReport) -> PyResult<()> {
    let seen = Snapshot::take(core, member)?;
    outbox::leave("named", move |details| {
        details.set_item("number", open.number)?;
        seen.tell_names(details)
    });
    Ok(())
}

/// Tells of frames that were read without the GIL.
fn tell_frames(details: &Bound<'_, PyDict>, frames: &[Frame]) -> PyResult<()> {
    let line = own(frames);
    details.set_item("file", line.map_or("<native>", |frame| &frame.file))?;
    details.set_item("line", line.map_or(0, |frame| frame.line))?;
    details.set_item("function", line.map_or("", |frame| &frame.function))?;
    details.set_item("span", line.and_then(span_of))?;
    let stack = frames.iter().map(|frame| (frame.file.as_str(), frame.line, frame.qualified.as_str(), span_of(frame)));
    details.set_item("stack", PyTuple::new(details.py(), stack.collect::<Vec<_>>())?)
}

/// Its step has been put aside, and blocks the loop no longer.
pub fn rescued(open: OpenReport, now: u64) {
    tell("rescued", open, now, None);
}

/// Its step has ended or come back, or its loop's run is over. The verdict is one of all that was seen of it.
pub fn end(open: OpenReport, now: u64, verdict: Option<NamedVerdict>) {
    tell("ended", open, now, verdict);
}

fn tell(method: &'static str, open: OpenReport, now: u64, verdict: Option<NamedVerdict>) {
    let seconds = clock::to_seconds(now.saturating_sub(open.since));
    outbox::leave(method, move |details| {
        details.set_item("number", open.number)?;
        details.set_item("seconds", seconds)?;
        verdict.map_or(Ok(()), |verdict| verdict.tell(details))
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
