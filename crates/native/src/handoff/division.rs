//! Division: a step that computes for long, in the program's own Python code, is stopped between two instructions,
//! others run, and it goes on. The program has agreed to that (`rescue="all"`).
//!
//! The watchdog asks ([`ask`]): it opens a gate in the code that the step runs. The step's thread comes to it, by the
//! next instruction as a rule, and [`divide`] does there what `blocking()` does: it releases the baton, waits, and
//! resumes. So the step stays on its thread, with its frames, its context and its locks. When it goes on is decided by
//! the baton (its *patients*) and by `everloop_core::watchdog::Share`.
//!
//! **Where a step is not divided.** Other steps, of the same thread of thought, may run at that point: so it is not just
//! any. Decided by the frames of the step, all of them:
//!
//! - *Code of the standard library*, unless it is known only to compute on what it is given (`private.rs` has the list). It
//!   has its own invariants, and holds locks that others wait for: those of `logging`, of `threading` (by which a relief
//!   thread starts), the import lock (`<frozen importlib`). What it calls is part of it: a handler of `logging`, the module
//!   that is imported.
//! - *asyncio and everloop*, which look at something and act on it without an `await` between.
//! - *But not where it awaits*: a coroutine of the library that awaits one of the program (`asyncio.wait_for`) expects
//!   others to run.
//! - *Finalizers*: `__del__`, and callbacks of weak references. They run in the middle of anything.
//! - *What is marked* (`whole.rs`).
//!
//! Where the innermost frame is one of these, the gate is opened in the code that has called it: the step is divided
//! when it is back there.

use super::current::{current, is_alone};
use super::whole::is_whole;
use super::{go_on_in_step, may_release, release, resume, wait_granted};
use crate::aside::Reason;
use crate::clock;
use crate::event_loop::LoopCore;
use crate::ffi::{self, name};
use crate::gates::{Gates, Need, sites, tool};
use crate::member::Member;
use crate::origin::computes;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFrame, PyString, PyTuple, PyWeakrefMethods, PyWeakrefReference};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;

/// The flags of code that can await, or yield to who awaits: coroutines, those of generators, asynchronous generators.
const AWAITS: u32 = 0x80 | 0x100 | 0x200;

/// True if the step of `member` is in code in which one was divided before.
pub fn is_learned(py: Python<'_>, member: &Member) -> bool {
    sites::has_computing() && member.step_frames(py).any(|frame| sites::is_computing(&ffi::frame_code(&frame)))
}

/// What is asked of the code of each frame. Steps may be deep in recursion, so it is asked once for each code.
#[derive(Clone, Copy)]
struct Kind {
    computes: bool,
    awaits: bool,
    is_finalizer: bool,
    /// The number of its arguments, if it could be called with a weak reference: alone, or after `self`.
    arguments: Option<usize>,
}

impl Kind {
    fn of(code: &Bound<'_, PyCode>) -> PyResult<Self> {
        let py = code.py();
        let flags: u32 = code.getattr(name!(py, "co_flags"))?.extract()?;
        let arguments: usize = code.getattr(name!(py, "co_argcount"))?.extract()?;
        Ok(Self {
            computes: computes(code)?,
            awaits: flags & AWAITS != 0,
            is_finalizer: ffi::code_text(code, &name!(py, "co_name"))?.to_string_lossy() == "__del__",
            arguments: (1..=2).contains(&arguments).then_some(arguments),
        })
    }
}

/// The innermost frame of the step at which it may be divided, and whether it is there. None: at none.
fn point<'py>(py: Python<'py>, member: &Member) -> PyResult<Option<(Bound<'py, PyFrame>, bool)>> {
    let mut known: HashMap<usize, Kind> = HashMap::new();
    let mut point = None;
    let (mut called_awaits, mut is_innermost) = (false, true);
    let mut frames = member.step_frames(py).map(|frame| (ffi::frame_code(&frame), frame)).peekable();
    while let Some((code, frame)) = frames.next() {
        let kind = match known.entry(ffi::address(code.as_any())) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => *entry.insert(Kind::of(&code)?),
        };
        // A finalizer is not called by its own code, but by whatever ran.
        let recurses = frames.peek().is_some_and(|(caller, _)| caller.is(&code));
        let is_finalizer = kind.is_finalizer || !recurses && has_dead_reference(&frame, &code, kind)?;
        if is_finalizer || !(kind.computes || kind.awaits && called_awaits) {
            point = None;
            is_innermost = false;
        } else if point.is_none() {
            point = Some(frame);
        }
        called_awaits = kind.awaits;
    }
    Ok(point.map(|point| (point, is_innermost)))
}

/// True if the last argument of the frame is a weak reference whose object is gone: it is the callback of that.
fn has_dead_reference(frame: &Bound<'_, PyFrame>, code: &Bound<'_, PyCode>, kind: Kind) -> PyResult<bool> {
    let Some(arguments) = kind.arguments else { return Ok(false) };
    let names = code.getattr(name!(code.py(), "co_varnames"))?.cast_into::<PyTuple>()?;
    let last = names.get_item(arguments - 1)?.cast_into::<PyString>()?;
    let value = ffi::lookup::variable(frame, &last).and_then(|value| value.cast_into::<PyWeakrefReference>().ok());
    Ok(value.is_some_and(|reference| reference.upgrade().is_none()))
}

/// Asks for the step of `member` to be divided as soon as it comes to a point where it may be. Called by the watchdog.
/// False: there is none.
pub fn ask(core: &Bound<'_, LoopCore>, member: &Member) -> PyResult<bool> {
    let py = core.py();
    member.end_division(py)?;
    if !may_release(core, member) || is_whole(py, member) || tool::ours(py)?.is_none() {
        return Ok(false);
    }
    let Some((frame, _)) = point(py, member)? else { return Ok(false) };
    let gates = Gates::open(py, &Need::Pass { code: &ffi::frame_code(&frame) })?;
    member.begin_division(gates, core.get().shared.heartbeat.tick());
    Ok(true)
}

/// Divides the step that runs on this thread, between two of its instructions, if that is asked for.
#[inline]
pub fn divide(py: Python<'_>) -> PyResult<()> {
    if is_alone(Member::is_dividing) { divide_here(py) } else { Ok(()) }
}

#[cold]
fn divide_here(py: Python<'_>) -> PyResult<()> {
    let Some((core, member)) = current(py) else { return Ok(()) };
    let this = core.get();
    let asked = member.end_division(py)?;
    let tick = this.shared.heartbeat.tick();
    if asked != Some(tick)
        || !this.shared.divides.load(Ordering::Relaxed)
        || !may_release(&core, &member)
        || member.has_debugger()
        || member.is_ungated()
        || member.forbids_rescue()
        || is_whole(py, &member)
    {
        return Ok(());
    }
    let Some((frame, true)) = point(py, &member)? else { return Ok(()) };
    sites::learn_computing(&ffi::frame_code(&frame));
    drop(frame);
    if tick == this.shared.slice.load(Ordering::Relaxed) {
        let took = clock::now().saturating_sub(this.shared.slice_since.load(Ordering::Relaxed));
        this.shared.slice_took.store(took, Ordering::Relaxed);
    }
    if release(&core, &member, Reason::Divided, 0, Gates::none())?.is_none() {
        return Ok(());
    }
    let (granted, raised) = wait_granted(py, this, &member, || {
        // Asked without the GIL, as late as can be: others may have run since the release.
        this.baton().queue_patient(&member.waiter, !this.queues.inbox.is_filled())
    });
    let resumed = go_on_in_step(&core, &member, granted);
    let resumed = if member.aside_reason() == Some(Reason::Rescued) {
        resumed.and(resume(&core, &member)) // coming back has let go of the GIL for too long
    } else {
        resumed
    };
    this.shared.slice_since.store(clock::now(), Ordering::Relaxed);
    this.shared.slice.store(this.shared.heartbeat.tick(), Ordering::Relaxed);
    raised.map_or(resumed, Err)
}
