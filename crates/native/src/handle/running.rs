//! Running: the time in which a callback of `call_soon_threadsafe` runs.
//!
//! From CPython 3.14 on, other threads that cancel its handle, or ask whether it was cancelled, wait until it has
//! returned. asyncio's handle has a lock that its callback runs under. Here no thread of the loop waits: one whose step
//! is aside is still in its callback, and can come back only when the step that would wait for it has ended.

use crate::ffi::GilCell;
use crate::generation::generation;
use crate::this_thread::own_id;
use everloop_core::baton::ThreadId;
use everloop_core::wait::Parker;
use pyo3::prelude::*;
use std::sync::Arc;

#[derive(Default)]
struct State {
    /// The thread that the callback runs on, and the generation of the process: a forked child has none of its parent's
    /// threads but one.
    runner: Option<(ThreadId, u32)>,
    /// Threads that wait for its end.
    waiting: Vec<Arc<Parker>>,
}

/// Written by the thread that runs the callback; other threads wait for it. All under the GIL.
pub struct Running(GilCell<State>);

impl Running {
    pub fn new() -> Self {
        Self(GilCell::new(State::default()))
    }

    /// The callback begins.
    pub fn begin(&self, py: Python<'_>) {
        self.0.with(py, |state| state.runner = Some((own_id(), generation())));
    }

    /// The callback has returned.
    pub fn end(&self, py: Python<'_>) {
        let waiting = self.0.with(py, |state| {
            state.runner = None;
            std::mem::take(&mut state.waiting)
        });
        for parker in waiting {
            parker.unpark();
        }
    }

    /// Waits until the callback does not run, unless the caller is one of the loop's own threads.
    pub fn wait_ended(&self, py: Python<'_>, loop_: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        while self.runner(py).is_some_and(|runner| runner != own_id()) && !runs_here(py, loop_)? {
            let parker = Arc::new(Parker::default());
            self.0.with(py, |state| state.waiting.push(Arc::clone(&parker)));
            py.detach(|| parker.park(None));
            py.check_signals()?;
        }
        Ok(())
    }

    fn runner(&self, py: Python<'_>) -> Option<ThreadId> {
        self.0.with(py, |state| state.runner).filter(|runner| runner.1 == generation()).map(|runner| runner.0)
    }
}

/// True if the calling thread is in a step of the loop, or turns it.
fn runs_here(py: Python<'_>, loop_: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    let running = py.import("asyncio.events")?.call_method0("_get_running_loop")?;
    Ok(loop_.is_none_or(|loop_| loop_.is(&running)))
}
