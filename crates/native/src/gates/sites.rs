//! Learned sites: the places at which a step was rescued once. From then on the hand-off happens there: at the CALL event
//! of a call, at the INSTRUCTION event of whatever else may block.
//!
//! They are those of the process, not of a loop: what blocks in one loop blocks in all. So is the code in which a step
//! was divided as it computed: the next one is divided earlier there.

use super::codes::{self, Codes, apply, with_code, with_codes};
use super::tool::{Tool, claimed};
use crate::ffi;
use everloop_core::sites::{Event, Kind};
use everloop_core::sync::{Mutex, lock};
use pyo3::prelude::*;
use pyo3::types::PyCode;
use std::collections::VecDeque;
use std::mem;

/// So many sites are learned at most: the one that has not been used for longest goes first.
const MOST_LEARNED: usize = 1024;

/// So much code in which steps compute is remembered at most.
const MOST_COMPUTING: usize = 256;

/// The addresses of code in which steps were divided, the latest last. Other code may have such an address by now, which
/// does no harm. Written and read under the GIL.
static COMPUTING: Mutex<VecDeque<usize>> = Mutex::new(VecDeque::new());

/// The standing of a place that a thread comes to.
pub enum Standing {
    /// In code of the program, or of one of its packages; or else of the standard library.
    Learned {
        kind: Kind,
        is_programs: bool,
    },
    /// Not learned, or forgotten; but steps are away at this call, whose return is to be seen, or stopped in this code.
    Away,
    Unknown,
}

impl Codes {
    fn learned_count(&mut self) -> usize {
        self.all().map(|known| known.sites.len()).sum()
    }

    /// Forgets the site that has not been used for longest, and gives back its code. O(sites), of which there are few.
    fn forget_oldest<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, PyCode>> {
        let oldest =
            self.all().filter_map(|known| Some((known.sites.oldest()?, known))).min_by_key(|(oldest, _)| *oldest);
        let ((_, offset), known) = oldest?;
        known.sites.forget(offset);
        known.alive(py)
    }
}

/// The number of learned sites.
pub fn learned_count(py: Python<'_>) -> usize {
    codes::forget_unused(py);
    with_codes(Codes::learned_count)
}

/// Remembers a site, if it is one at which a hand-off can happen.
pub fn learn(code: &Bound<'_, PyCode>, offset: i32) -> PyResult<()> {
    let py = code.py();
    let Some(tool) = claimed(py) else { return Ok(()) };
    let Some(kind) = tool.kind(code, offset)? else { return Ok(()) };
    let is_new = with_code(code, |known, uses| {
        *uses += 1;
        known.sites.learn(offset, kind, *uses)
    })?;
    if is_new {
        // A place that was silenced stays silent until its events are set anew.
        tool.set_local(code, 0)?;
        apply(tool, code)?;
        forget_surplus(py, tool)?;
    }
    Ok(())
}

/// Makes room, if there are too many sites.
fn forget_surplus(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let is_full = || with_codes(|codes| codes.learned_count() > MOST_LEARNED);
    if is_full() {
        codes::forget_unused(py);
    }
    while is_full() {
        let Some(code) = with_codes(|codes| codes.forget_oldest(py)) else { continue };
        apply(tool, &code)?;
    }
    Ok(())
}

/// Returns the standing of a place that a thread comes to, at this event. If it is unknown the event has to be
/// silenced there.
#[inline]
pub fn standing(code: &Bound<'_, PyCode>, offset: i32, event: Event) -> Standing {
    with_codes(|codes| {
        codes.uses += 1;
        let now = codes.uses;
        let Some(known) = codes.of(code) else { return Standing::Unknown };
        if let Some(kind) = known.sites.note_use(offset, event, now) {
            return Standing::Learned { kind, is_programs: known.is_programs };
        }
        let is_silent = match event {
            Event::Call => !known.has_away(offset),
            Event::Instruction => known.silence(),
        };
        if is_silent { Standing::Unknown } else { Standing::Away }
    })
}

/// Notes how long a step was blocked at a learned site: after some short times it is no longer one.
pub fn note_duration(code: &Bound<'_, PyCode>, offset: i32, nanoseconds: u64) {
    with_codes(|codes| {
        if let Some(known) = codes.of(code) {
            known.sites.note_duration(offset, nanoseconds);
        }
    });
}

/// Notes whether C code at a learned site has called this code: what it does when the frame has ended may block, too.
pub fn note_called_back(code: &Bound<'_, PyCode>, is_called_back: bool) -> PyResult<()> {
    let Some(tool) = claimed(code.py()) else { return Ok(()) };
    let before = with_code(code, |known, _| mem::replace(&mut known.is_called_back, is_called_back))?;
    if before == is_called_back { Ok(()) } else { apply(tool, code) }
}

/// Forgets every learned site: what blocks is found out anew.
#[pyfunction]
pub fn forget_sites(py: Python<'_>) -> PyResult<()> {
    lock(&COMPUTING).clear();
    let Some(tool) = claimed(py) else { return Ok(()) };
    let codes = with_codes(|codes| {
        let alive = codes.all().filter_map(|known| {
            known.sites.forget_all();
            known.is_called_back = false;
            known.alive(py)
        });
        alive.collect::<Vec<_>>()
    });
    codes.iter().try_for_each(|code| apply(tool, code))
}

/// Remembers that a step was divided in this code.
pub fn learn_computing(code: &Bound<'_, PyCode>) {
    let mut computing = lock(&COMPUTING);
    let address = ffi::address(code.as_any());
    computing.retain(|known| *known != address);
    computing.push_back(address);
    if computing.len() > MOST_COMPUTING {
        computing.pop_front();
    }
}

/// True if there is code in which steps were divided.
pub fn has_computing() -> bool {
    !lock(&COMPUTING).is_empty()
}

/// True if a step was divided in this code before.
pub fn is_computing(code: &Bound<'_, PyCode>) -> bool {
    lock(&COMPUTING).contains(&ffi::address(code.as_any()))
}
