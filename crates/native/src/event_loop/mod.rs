//! LoopCore: the native half of `EventLoop`. It owns the queues, the files, the poller and the baton; `driver` runs
//! them.
//!
//! Each field says who writes and who reads it: `state.rs` those that need the GIL, `shared.rs` those that threads
//! without it may touch. In which order their locks are taken stands in `fork.rs`.
//!
//! `call_soon`, `call_later` and their like are called more often than anything else: they are raw methods of CPython
//! (`ffi::FastMethod`), and a handle goes into the queue without a lock if the calling thread holds the baton.

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
mod sighting;
mod state;
pub mod timing;

pub use options::limit_steps;
pub use shared::Shared;
pub use sighting::StepNames;
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
