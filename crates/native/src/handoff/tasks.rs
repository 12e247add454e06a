//! The current task goes aside with its step.
//!
//! Up to CPython 3.13 asyncio keeps one current task per loop, so another thread's task would collide with the blocked one
//! ("Cannot enter into task ... while another task ... is being executed"). Whoever runs a step next moves it out of the
//! way, and its owner puts it back: a release that nobody used costs nothing. From 3.14 on there is one per thread.

use crate::event_loop::LoopCore;
use crate::place::{Place, lock};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::sync::atomic::Ordering;

/// `_asyncio._swap_current_task(loop, task or None)`, where that is per loop.
fn swapper(py: Python<'_>) -> PyResult<Option<&Bound<'_, PyAny>>> {
    static SWAP: PyOnceLock<Option<Py<PyAny>>> = PyOnceLock::new();
    let swap = SWAP.get_or_try_init(py, || {
        if py.version_info() >= (3, 14) {
            return Ok::<_, PyErr>(None);
        }
        Ok(Some(py.import("_asyncio")?.getattr("_swap_current_task")?.unbind()))
    })?;
    Ok(swap.as_ref().map(|swap| swap.bind(py)))
}

/// The step of `place` goes aside; its task stays where it is until somebody needs the room.
pub fn leave(core: &LoopCore, place: &Place) {
    core.task_owner.store(place.id().get(), Ordering::Relaxed);
}

/// A step is about to run or to go on, on this thread: the task of another thread's step, which is aside, makes room.
pub fn make_room(core: &Bound<'_, LoopCore>, place: &Place) -> PyResult<()> {
    let owner = core.get().task_owner.swap(0, Ordering::Relaxed);
    if owner == 0 || owner == place.id().get() {
        return Ok(());
    }
    let Some(swap) = swapper(core.py())? else { return Ok(()) };
    let task = match swap.call1((core, core.py().None())) {
        Ok(task) => task,
        // CPython 3.12 wants an entry to take out, and a plain callback's step has none.
        Err(error) if error.is_instance_of::<PyKeyError>(core.py()) => return Ok(()),
        Err(error) => return Err(error),
    };
    if task.is_none() {
        return Ok(());
    }
    let there = lock(&core.get().places).values().find(|place| place.id().get() == owner).cloned();
    if let Some(there) = there {
        there.keep_task(task.unbind());
    }
    Ok(())
}

/// The step goes on: its task is the current one again.
pub fn put_back(core: &Bound<'_, LoopCore>, task: Py<PyAny>) -> PyResult<()> {
    if let Some(swap) = swapper(core.py())? {
        swap.call1((core, task))?;
    }
    Ok(())
}
