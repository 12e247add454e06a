//! What is reported: when a step has blocked for too long, and again when that is over.
//!
//! The text is made in Python (`everloop/watch/report.py`), which registers itself here; this file decides when.

use crate::clock;
use crate::event_loop::LoopCore;
use crate::ffi;
use crate::place::{Kind, Place, lock};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;

/// `report.Reporter`: `blocked(...)` returns a token, `ended(token, seconds)` closes it.
static REPORTER: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// How often asides are looked through, in nanoseconds.
const ASIDE_PERIOD: u64 = 5_000_000;

/// Registers the object that makes the texts.
#[pyfunction]
pub fn set_reporter(reporter: Option<Py<PyAny>>) {
    let old = std::mem::replace(&mut *lock(&REPORTER), reporter);
    drop(old);
}

fn reporter(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    lock(&REPORTER).as_ref().map(|reporter| reporter.bind(py).clone())
}

/// A report that has begun.
struct Open {
    token: Py<PyAny>,
    since: u64,
}

/// The reports of one loop.
#[derive(Default)]
pub struct Reports {
    /// The step that blocks the loop itself, by its heartbeat.
    stall: Option<(u64, Open)>,
    /// Steps that were put aside, by the number of their release.
    asides: HashMap<u64, Open>,
    looked: u64,
}

impl Reports {
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
        place: &Arc<Place>,
        tick: u64,
        since: u64,
    ) -> PyResult<()> {
        if let Some(token) = blocked(core, place, since, None)? {
            self.stall = Some((tick, Open { token, since }));
        }
        Ok(())
    }

    pub fn end_stall(&mut self, core: &Bound<'_, LoopCore>, tick: u64, now: u64) -> PyResult<()> {
        match self.stall.take() {
            Some((of, open)) if of == tick => ended(core.py(), open, now),
            other => {
                self.stall = other;
                Ok(())
            }
        }
    }

    /// The step that blocked the loop has been put aside: it goes on blocking, but not the loop.
    pub fn move_aside(&mut self, core: &Bound<'_, LoopCore>, serial: u64) -> PyResult<()> {
        let Some((_, open)) = self.stall.take() else { return Ok(()) };
        if let Some(reporter) = reporter(core.py()) {
            let after = clock::to_seconds(clock::now().saturating_sub(open.since));
            reporter.call_method1("rescued", (open.token.bind(core.py()), after))?;
        }
        self.asides.insert(serial, open);
        Ok(())
    }

    /// A step blocked, but nobody could look before it ended.
    pub fn unseen(&mut self, core: &Bound<'_, LoopCore>, nanoseconds: u64) -> PyResult<()> {
        if let Some(reporter) = reporter(core.py()) {
            reporter.call_method1("unseen", (core, clock::to_seconds(nanoseconds)))?;
        }
        Ok(())
    }

    pub fn is_aside_due(&self, now: u64) -> bool {
        now - self.looked >= ASIDE_PERIOD
    }

    /// Begins reports of steps that have been aside for long, and ends those of steps that have come back.
    pub fn look_aside(&mut self, core: &Bound<'_, LoopCore>, now: u64, report_after: u64) -> PyResult<()> {
        self.looked = now;
        let places: Vec<_> = lock(&core.get().places).values().cloned().collect();
        let mut there = Vec::new();
        for place in places {
            if !matches!(place.aside_kind(), Some(Kind::Rescued | Kind::Learned)) {
                continue;
            }
            let Some(aside) = place.aside_times() else { continue };
            there.push(aside.serial);
            if now.saturating_sub(aside.since) >= report_after
                && !self.asides.contains_key(&aside.serial)
                && let Some(token) = blocked(core, &place, aside.since, Some(aside.released))?
            {
                self.asides.insert(aside.serial, Open { token, since: aside.since });
            }
        }
        let gone: Vec<u64> = self.asides.keys().copied().filter(|serial| !there.contains(serial)).collect();
        for serial in gone {
            if let Some(open) = self.asides.remove(&serial) {
                ended(core.py(), open, now)?;
            }
        }
        Ok(())
    }

    /// The run is over: everything that has begun ends now.
    pub fn finish(self, py: Python<'_>, now: u64) -> PyResult<()> {
        let mut all = self.stall.into_iter().map(|(_, open)| open).chain(self.asides.into_values());
        all.try_for_each(|open| ended(py, open, now))
    }
}

fn ended(py: Python<'_>, open: Open, now: u64) -> PyResult<()> {
    if let Some(reporter) = reporter(py) {
        reporter.call_method1("ended", (open.token, clock::to_seconds(now.saturating_sub(open.since))))?;
    }
    Ok(())
}

/// Tells that the step of `place` blocks; `released` is when it was put aside.
fn blocked(
    core: &Bound<'_, LoopCore>,
    place: &Place,
    since: u64,
    released: Option<u64>,
) -> PyResult<Option<Py<PyAny>>> {
    let py = core.py();
    let Some(reporter) = reporter(py) else { return Ok(None) };
    // First of all: the thread exists as long as nobody else gets the GIL, which what follows may give away.
    let frame = place.top_frame(py);
    let handle = place.current.get(py);
    let task = handle.as_ref().and_then(|handle| {
        handle.bind(py).cast::<crate::handle::Handle>().ok().and_then(|handle| handle.get().task(py))
    });
    let this = core.get();
    let relief = this.baton().holder().and_then(|id| lock(&this.places).get(&id).map(|place| place.name.clone()));
    let waiting = ffi::peek(&this.turn, py, |turn| turn.ready_len()).unwrap_or(0);
    let details = PyDict::new(py);
    details.set_item("loop", core)?;
    details.set_item("seconds", clock::to_seconds(clock::now().saturating_sub(since)))?;
    details.set_item("frame", frame)?;
    details.set_item("base_frame", place.base_frame)?;
    details.set_item("task", task)?;
    details.set_item("handle", handle)?;
    details.set_item("waiting", waiting)?;
    details.set_item("rescued_after", released.map(|at| clock::to_seconds(at.saturating_sub(since))))?;
    details.set_item("relief", if released.is_some() { relief } else { None })?;
    details.set_item("thread", &place.name)?;
    let token = reporter.call_method("blocked", (), Some(&details))?;
    Ok((!token.is_none()).then(|| token.unbind()))
}
