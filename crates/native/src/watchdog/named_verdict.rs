//! What is told of a block beside its place: the cause, and where the time went. Names and numbers; the words are
//! Python's (`watch/cause.py`).

use super::block::{Block, BlockKey, Suspected, imports_modules, own};
use crate::clock;
use everloop_core::sys::Kind;
use everloop_core::watchdog::{Cause, Shortage};
use everloop_stacks::{Frame, Span};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// The verdict of a block.
#[derive(Clone, Debug)]
pub struct NamedVerdict {
    /// The kind of the cause, as records have it.
    pub kind: &'static str,
    /// What is waited for, or what there is no processor for.
    pub on: Option<String>,
    /// The other thread that has the GIL: its number, and its frames.
    pub other_holder: Option<(u32, Vec<Frame>)>,
    /// The number of short steps.
    count: Option<u64>,
    /// File, line, function and span, and nanoseconds.
    shares: Vec<(String, u32, String, Option<Span>, u64)>,
    /// The nanoseconds that the step answers for, up to the last look.
    pub charged: u64,
}

impl NamedVerdict {
    /// Judges a block as of now.
    pub fn new(block: &Block, now: u64, report_after: u64) -> Self {
        let verdict = block.judge(now, report_after);
        let (kind, on) = match &verdict.cause {
            Cause::WaitsFor(thing) => (thing.kind.name(), thing.on.clone().filter(|_| thing.kind != Kind::Sleep)),
            Cause::Computes => ("python", None),
            Cause::ComputesNative => ("native", None),
            Cause::HoldsGlobalLock(thing) => {
                ("gil", thing.as_ref().filter(|thing| thing.kind != Kind::Sleep).map(ToString::to_string))
            }
            Cause::GlobalLockHeldBy(_) => ("thread", None),
            Cause::Collects => ("collector", None),
            Cause::Imports => ("import", imported(block.stack())),
            Cause::ManySteps(_) => ("steps", None),
            Cause::Starved(shortage) => ("host", Some(shortage_text(*shortage).to_owned())),
            Cause::Unknown => ("unknown", None),
        };
        let other_holder = match verdict.cause {
            Cause::GlobalLockHeldBy(Some(number)) => Some((number, block.other_holder(number).to_vec())),
            _ => None,
        };
        let count = if let Cause::ManySteps(count) = verdict.cause { Some(count) } else { None };
        let shares = verdict.shares.iter().filter_map(|(at, time)| {
            let (file, line, function, span) = block.name((*at)?)?;
            Some((file, line, function, span, *time))
        });
        Self { kind, on, other_holder, count, shares: shares.collect(), charged: verdict.charged }
    }

    /// Judges a step that has been aside since a while, by one look at its thread: what the kernel says of it now is what
    /// it has done all the time. May be called with the GIL.
    pub fn of_aside(thread: u32, since: u64, now: u64, report_after: u64) -> Self {
        let who = Suspected { key: BlockKey::Waking(since), since, thread };
        let mut block = Block::new(who, report_after, 0);
        block.add_aside(now);
        Self::new(&block, now, report_after)
    }

    /// True if nobody is to blame.
    pub fn blames_nobody(&self) -> bool {
        self.kind == "host"
    }

    /// True if nobody gets the GIL for as long as this goes on. Else it comes, if late: others want it, too, or the step
    /// has no processor. `is_proven`: the step gives it to nobody who asks.
    pub fn keeps_gil(&self, is_proven: bool) -> bool {
        matches!(self.kind, "thread" | "collector" | "unknown") || is_proven && matches!(self.kind, "gil" | "import")
    }

    /// The frames that a report is about: those of the thread that has the GIL, if that is another one.
    pub fn frames<'a>(&'a self, block: &'a Block) -> &'a [Frame] {
        self.other_holder.as_ref().map_or(block.stack(), |(_, frames)| frames)
    }

    /// The same, but none where no one thread is to blame: the step's own line is not.
    pub fn blamed<'a>(&'a self, block: &'a Block) -> &'a [Frame] {
        if self.kind == "thread" && self.other_holder.is_none() { &[] } else { self.frames(block) }
    }

    pub fn tell(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = details.py();
        let cause = PyDict::new(py);
        cause.set_item("kind", self.kind)?;
        cause.set_item("on", self.on.as_ref())?;
        if let Some((number, frames)) = &self.other_holder {
            cause.set_item("thread", number)?;
            if let Some(frame) = own(frames) {
                cause.set_item("file", &frame.file)?;
                cause.set_item("line", frame.line)?;
                cause.set_item("function", &frame.function)?;
                cause.set_item("span", span_of(frame))?;
            }
        }
        if let Some(count) = self.count {
            cause.set_item("count", count)?;
        }
        details.set_item("cause", cause)?;
        let shares = self.shares.iter().map(|(file, line, function, span, time)| {
            (file.as_str(), *line, function.as_str(), clock::to_seconds(*time), span.map(columns))
        });
        details.set_item("lines", PyTuple::new(py, shares.collect::<Vec<_>>())?)
    }
}

/// The span of a frame's instruction, as records have it: first and last line, first and last column.
pub fn span_of(frame: &Frame) -> Option<(u32, u32, u32, u32)> {
    frame.span.map(columns)
}

fn columns(span: Span) -> (u32, u32, u32, u32) {
    (span.line, span.end_line, span.column, span.end_column)
}

fn shortage_text(shortage: Shortage) -> &'static str {
    match shortage {
        Shortage::NoProcessor => "others had the processors",
        Shortage::Throttled => "its control group has used up its time",
        Shortage::Stopped => "it was stopped",
    }
}

/// The file of the module that is being imported.
fn imported(stack: &[Frame]) -> Option<String> {
    let outermost = stack.iter().rposition(imports_modules)?;
    stack[..outermost].iter().rev().find(|frame| !imports_modules(frame)).map(|frame| frame.file.clone())
}
