//! The current task goes aside with its step.
//!
//! Up to CPython 3.13 asyncio keeps one current task per loop, so the relief thread's tasks would collide with the blocked
//! one ("Cannot enter into task ... while another task ... is being executed"). From 3.14 it is one per thread.

use crate::event_loop::LoopCore;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// `_asyncio._swap_current_task(loop, task or None)`, where that is per loop.
fn swapper<'py>(py: Python<'py>) -> PyResult<Option<&'py Bound<'py, PyAny>>> {
    static SWAP: PyOnceLock<Option<Py<PyAny>>> = PyOnceLock::new();
    let swap = SWAP.get_or_try_init(py, || {
        if py.version_info() >= (3, 14) {
            return Ok::<_, PyErr>(None);
        }
        Ok(Some(py.import("_asyncio")?.getattr("_swap_current_task")?.unbind()))
    })?;
    Ok(swap.as_ref().map(|swap| swap.bind(py)))
}

/// Takes the current task out.
pub fn leave(core: &Bound<'_, LoopCore>) -> PyResult<Option<Py<PyAny>>> {
    let Some(swap) = swapper(core.py())? else { return Ok(None) };
    let task = swap.call1((core, core.py().None()))?;
    Ok((!task.is_none()).then(|| task.unbind()))
}

/// Puts it back.
pub fn enter(core: &Bound<'_, LoopCore>, task: Py<PyAny>) -> PyResult<()> {
    if let Some(swap) = swapper(core.py())? {
        swap.call1((core, task))?;
    }
    Ok(())
}
