//! Rescue: the watchdog puts a blocked step aside on its thread's behalf.
//!
//! All of this runs on the watchdog's thread, on which no Python code may run.

use super::{may_release, release, relief};
use crate::aside::Reason;
use crate::event_loop::LoopCore;
use crate::ffi;
use crate::gates::{Gates, Need, sites, tool};
use crate::member::Member;
use everloop_core::sys::{self, Activity, CpuClock};
use pyo3::prelude::*;
use pyo3::types::PyCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Less CPU time than this, in nanoseconds, is no sign of life.
const ASLEEP: u64 = 4_000;

/// A thread's doings, as the kernel tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It waits in a system call, and not for the GIL: it is blocked, and has let go of the GIL.
    Waits,
    /// It waits for the GIL.
    WaitsForGil,
    /// It runs, or would if it were given a processor.
    Runs,
    /// The kernel does not tell.
    Unknown,
}

impl Doing {
    /// Looks at the thread of `member`.
    pub fn of(member: &Member) -> Self {
        match sys::activity(member.thread) {
            Activity::Runs => Self::Runs,
            Activity::Waits => Self::Waits,
            Activity::WaitsForLock(address) => match ffi::is_interpreters(address) {
                Some(true) => Self::WaitsForGil,
                Some(false) => Self::Waits,
                None => Self::Unknown,
            },
            Activity::Unknown => Self::Unknown,
        }
    }
}

/// Where a thread stood when the watchdog looked. Numbers only: a frame or code that is kept lives on after its function, with
/// all that it names.
///
/// Another frame may lie at the same address by now, and stand at the same call: so may the same frame, in a loop. That a
/// thread has not moved is told by the kernel, by its CPU time or by a probe; this is what makes it worth asking.
#[derive(Clone, Copy)]
pub struct Sample {
    /// The addresses of the frame and of its code, 0 without one.
    frame: usize,
    code: usize,
    instruction: i32,
    /// CPU time used so far, in nanoseconds.
    cpu: Option<u64>,
}

impl Sample {
    /// Looks at the thread of `member`, which must not be running Python: we hold the GIL.
    pub fn take(py: Python<'_>, member: &Member) -> Self {
        let cpu = member.cpu.and_then(CpuClock::now);
        match member.top_frame(py) {
            Some(frame) => Self {
                frame: ffi::address(&frame),
                code: ffi::address(&ffi::frame_code(&frame)),
                instruction: ffi::frame_instruction(&frame),
                cpu,
            },
            None => Self { frame: 0, code: 0, instruction: -1, cpu },
        }
    }

    /// True if the thread stands where it stood.
    pub fn is_same_spot(&self, earlier: &Self) -> bool {
        (self.frame, self.code, self.instruction) == (earlier.frame, earlier.code, earlier.instruction)
    }

    /// True if the thread slept all the time since `earlier`: one that waits for the GIL wakes up every five milliseconds.
    pub fn has_slept_since(&self, earlier: &Self) -> bool {
        match (self.cpu, earlier.cpu) {
            (Some(now), Some(then)) => now.saturating_sub(then) < ASLEEP,
            _ => true,
        }
    }

    /// True if the thread has had a processor for most of the time since then, `elapsed` nanoseconds. Needs no GIL.
    pub fn is_computing(&self, member: &Member, elapsed: u64) -> bool {
        match (member.cpu.and_then(CpuClock::now), self.cpu) {
            (Some(now), Some(then)) => now.saturating_sub(then) * 2 > elapsed,
            _ => false,
        }
    }
}

/// The code and instruction that the thread of `member` is at, if its step runs Python code of its own.
fn site<'py>(py: Python<'py>, member: &Member) -> Option<(Bound<'py, PyCode>, i32)> {
    let frame = member.top_frame(py)?;
    let is_own = ffi::address(&frame) != member.base_frame;
    is_own.then(|| (ffi::frame_code(&frame), ffi::frame_instruction(&frame)))
}

/// Has it noted when the thread runs its next instruction of Python. A thread that uses the CPU may compute without the GIL (a
/// password hash, a compression), or run Python and be found at the same instruction by chance: this tells them apart.
pub fn begin_probe(py: Python<'_>, member: &Member) -> PyResult<()> {
    if tool::claimed(py).is_none() || member.is_probing() {
        return Ok(());
    }
    let site = site(py, member);
    member.begin_probe(Gates::open(py, &Need::Stop(site.as_ref().map(|(code, _)| code)))?);
    Ok(())
}

/// Puts the step of `member` aside and has somebody else go on: the number of the release. None: it cannot be, now.
pub fn rescue(core: &Bound<'_, LoopCore>, member: &Arc<Member>, since: u64) -> PyResult<Option<u64>> {
    let py = core.py();
    let this = core.get();
    if !may_release(core, member) || tool::claimed(py).is_none() {
        return Ok(None);
    }
    if !this.baton().has_spare() && !this.spawning.load(Ordering::Relaxed) && relief::is_full(this) {
        relief::tell_full(core)?;
        return Ok(None);
    }
    member.end_probe(py)?;
    let site = site(py, member);
    let gates = Gates::open(py, &Need::Stop(site.as_ref().map(|(code, _)| code)))?;
    if let Some((code, offset)) = &site
        && let Err(error) = sites::learn(code, *offset)
    {
        return gates.close(py).and(Err(error));
    }
    // Learned already: the next step that comes to this call runs before `release` returns.
    release(core, member, Reason::Rescued, since, gates)
}
