//! Rescue: the watchdog puts a blocked step aside on its thread's behalf.

use super::{relief, release, sites};
use crate::event_loop::LoopCore;
use crate::ffi;
use crate::place::{Kind, Place};
use everloop_core::baton::Manner;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFrame};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where a thread stood when the watchdog looked.
pub struct Sample {
    pub frame: Option<Py<PyFrame>>,
    pub instruction: i32,
    /// CPU time used so far, in nanoseconds.
    pub cpu: Option<u64>,
}

impl Sample {
    /// Looks at the thread of `place`, which must not be running Python: we hold the GIL.
    pub fn take(py: Python<'_>, place: &Place) -> Self {
        let frame = place.top_frame(py);
        Self {
            instruction: frame.as_ref().map_or(-1, ffi::frame_instruction),
            frame: frame.map(Bound::unbind),
            cpu: place.cpu.and_then(ffi::CpuClock::now),
        }
    }

    /// Whether the thread stands where it stood.
    pub fn is_same_spot(&self, earlier: &Self) -> bool {
        let same_frame = match (&self.frame, &earlier.frame) {
            (Some(a), Some(b)) => a.is(b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same_frame && self.instruction == earlier.instruction
    }

    /// Whether the thread computed rather than waited since `earlier`, `elapsed` nanoseconds ago.
    pub fn is_busy_since(&self, earlier: &Self, elapsed: u64) -> bool {
        match (self.cpu, earlier.cpu) {
            (Some(now), Some(then)) => now.saturating_sub(then) * 2 > elapsed,
            _ => false,
        }
    }

    /// The code and instruction it stands at, if the step runs Python code of its own.
    pub fn site<'py>(&self, py: Python<'py>, place: &Place) -> Option<(Bound<'py, PyCode>, i32)> {
        let frame = self.frame.as_ref()?.bind(py);
        if place.base_frame.as_ref().is_some_and(|base| base.bind(py).is(frame)) {
            return None;
        }
        Some((ffi::frame_code(frame), self.instruction))
    }
}

/// Puts the step of `place` aside and has somebody else go on. False: it cannot be, now.
pub fn rescue(core: &Bound<'_, LoopCore>, place: &Arc<Place>, sample: &Sample, since: u64) -> PyResult<bool> {
    let py = core.py();
    let this = core.get();
    if !this.baton().is_held_by(place.id()) || !sites::claim_tool(py)? {
        return Ok(false);
    }
    if !this.baton().has_spare() && !this.spawning.load(Ordering::Relaxed) && relief::is_full(this) {
        core.call_method0("_warn_no_relief")?;
        return Ok(false);
    }
    let site = sample.site(py, place);
    let code = site.as_ref().map(|(code, _)| code);
    sites::watch(py, code)?;
    let aside = site.as_ref().map(|(code, offset)| (code.clone().unbind(), *offset));
    if release(core, place, Kind::Rescued, aside, since, Manner::Loud)?.is_none() {
        sites::unwatch(py, site.map(|(code, offset)| (code.unbind(), offset)))?;
        return Ok(false);
    }
    this.shared.counters.rescues.fetch_add(1, Ordering::Relaxed);
    if let Some((code, offset)) = &site {
        sites::learn(code, *offset)?;
    }
    Ok(true)
}
