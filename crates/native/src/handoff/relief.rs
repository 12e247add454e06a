//! Relief threads: started when a baton lies about and no thread is free, gone after a while without work.
//!
//! They are `threading.Thread`s (daemons), so that names, thread-locals and `threading.enumerate()` are as everywhere.
//!
//! `max_relief_threads` bounds those that are started at once. Past it the baton lies free until a step comes back, or
//! until the watchdog has found the loop at a standstill, and orders one more (`everloop_core::watchdog::Standstill`).
//! So no number of steps that wait for one that has no thread yet can stop the loop.

use crate::event_loop::LoopCore;
use crate::outbox;
use crate::starter::start_elsewhere;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use std::sync::atomic::Ordering;

/// Starts a relief thread. False: the bound is reached, and the watchdog will order one if no step comes back.
pub fn start(core: &Bound<'_, LoopCore>) -> PyResult<bool> {
    unless_on_its_way(core.get(), || try_start(core))
}

/// Runs `start` unless a relief thread is on its way, and notes that one is. `start` returns true if so.
fn unless_on_its_way(this: &LoopCore, start: impl FnOnce() -> PyResult<bool>) -> PyResult<bool> {
    if this.threads.spawning.swap(true, Ordering::Relaxed) {
        return Ok(true);
    }
    let started = start();
    if !matches!(started, Ok(true)) {
        this.threads.spawning.store(false, Ordering::Relaxed);
    }
    started
}

fn try_start(core: &Bound<'_, LoopCore>) -> PyResult<bool> {
    let this = core.get();
    // Where nobody watches the loop, nobody would order a thread later.
    if is_full(this) && this.shared.watched.load(Ordering::Relaxed) {
        tell_full(core)?;
        return Ok(false);
    }
    // The thread counts itself: where this is interrupted, nobody knows whether it has been started.
    core.call_method0("_start_relief")?;
    Ok(true)
}

/// Has a relief thread started for a step that is rescued, unless the bound is reached.
pub fn order(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    if is_full(core.get()) { tell_full(core) } else { order_past_bound(core) }
}

/// Has a relief thread started, for the watchdog: by another thread, as that is Python code. Where none is to be had
/// the loop waits until a step comes back, which is told.
pub fn order_past_bound(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    unless_on_its_way(core.get(), || try_order(core)).map(drop)
}

fn try_order(core: &Bound<'_, LoopCore>) -> PyResult<bool> {
    let reference = PyWeakrefReference::new(core)?.unbind();
    let ordered = start_elsewhere(move |py| {
        let Some(core) = reference.bind(py).upgrade() else { return };
        let started = core.call_method0("_start_relief");
        if let (Err(error), Ok(core)) = (started, core.cast::<LoopCore>()) {
            core.get().threads.spawning.store(false, Ordering::Relaxed);
            if let Err(error) = tell_refused(core, error.to_string()) {
                error.write_unraisable(py, Some(core));
            }
        }
    });
    if let Err(error) = ordered {
        return tell_refused(core, error.to_string()).map(|()| false);
    }
    Ok(true)
}

/// Says that the system refuses threads, once until it gives one.
pub fn tell_refused(core: &Bound<'_, LoopCore>, error: String) -> PyResult<()> {
    if !core.get().threads.told_refused.swap(true, Ordering::Relaxed) {
        let reference = PyWeakrefReference::new(core)?.unbind();
        outbox::leave("no_thread", move |details| {
            details.set_item("loop", reference)?;
            details.set_item("error", error)
        });
    }
    Ok(())
}

/// RuntimeError: there is no thread to go on with the loop while a step waits in `block_on`.
#[cold]
pub fn nobody_for_block_on(py: Python<'_>, cause: Option<PyErr>) -> PyErr {
    let error = PyRuntimeError::new_err(
        "block_on() needs another thread to go on with the loop, and the system refuses one: let the process have more \
         threads, or await instead",
    );
    error.set_cause(py, cause);
    error
}

/// Says that the bound is reached, once for each loop.
fn tell_full(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    let this = core.get();
    if !this.threads.told_full.swap(true, Ordering::Relaxed) {
        let reference = PyWeakrefReference::new(core)?.unbind();
        let limit = this.shared.max_relief.load(Ordering::Relaxed);
        outbox::leave("no_relief", move |details| {
            details.set_item("loop", reference)?;
            details.set_item("limit", limit)
        });
    }
    Ok(())
}

/// True if the bound is reached.
fn is_full(this: &LoopCore) -> bool {
    this.shared.counters.relief.load(Ordering::Relaxed) >= this.shared.max_relief.load(Ordering::Relaxed)
}
