//! Relief threads: started when a baton lies about and no thread is free, gone after a while without work.
//!
//! They are `threading.Thread`s (daemons), so that names, thread-locals and `threading.enumerate()` are as everywhere.

use crate::event_loop::LoopCore;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

/// Starts a relief thread. False: the bound is reached; the loop waits until a step comes back.
pub fn start(core: &Bound<'_, LoopCore>) -> PyResult<bool> {
    let this = core.get();
    if this.spawning.swap(true, Ordering::Relaxed) {
        return Ok(true); // one is on its way
    }
    let started = try_start(core);
    if !matches!(started, Ok(true)) {
        this.spawning.store(false, Ordering::Relaxed);
    }
    started
}

fn try_start(core: &Bound<'_, LoopCore>) -> PyResult<bool> {
    let this = core.get();
    if is_full(this) {
        core.call_method0("_warn_no_relief")?;
        return Ok(false);
    }
    // The thread counts itself: where this is interrupted, nobody knows whether it has been started.
    core.call_method0("_start_relief")?;
    Ok(true)
}

/// Whether the bound is reached.
pub fn is_full(this: &LoopCore) -> bool {
    this.shared.counters.relief.load(Ordering::Relaxed) >= this.shared.max_relief.load(Ordering::Relaxed)
}

/// At the bound, a step that waits for another one can only wait if some blocked call is going to return by itself.
pub fn check_someone_returns(_py: Python<'_>, this: &LoopCore) -> PyResult<()> {
    let counters = &this.shared.counters;
    if counters.aside.load(Ordering::Relaxed) > counters.waiting.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(PyRuntimeError::new_err(format!(
        "block_on() needs a thread to go on with the loop, but all of its {} relief threads wait in block_on() too: \
         raise max_relief_threads, or await instead",
        this.shared.max_relief.load(Ordering::Relaxed)
    )))
}
