//! LoopCore: the native half of `EventLoop`. It owns the queues, the poller and the baton; `driver` runs them.
//!
//! Who touches what:
//! - `turn`: the holder of the baton, nobody else;
//! - `inbox`: anybody pushes, the holder empties;
//! - `registry`: anybody, under its lock, which is held for a system call at the most and never while Python runs;
//! - flags: atomics, written under the GIL.

mod asyncio_names;
mod call_soon;
mod claims;
pub mod counters;
pub mod create_task;
pub mod factories;
mod files;
mod life;
mod new_handle;
mod options;
pub mod pins;
mod scheduling;
mod shared;
mod state;
pub mod timing;

pub use shared::Shared;
pub use state::{LoopCore, Post};

use pyo3::prelude::*;

/// Adds the methods that need no trampoline.
pub fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<LoopCore>()?;
    call_soon::install(py)?;
    timing::install(py)?;
    create_task::install(py)
}
