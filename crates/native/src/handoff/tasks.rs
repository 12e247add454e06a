//! The current task goes aside with its step.
//!
//! Up to CPython 3.13 asyncio keeps one current task per loop, so another thread's task would collide with the blocked
//! one ("Cannot enter into task ... while another task ... is being executed"). Whoever runs a step next moves it out
//! of the way, and its owner puts it back: a release that nobody used costs nothing. From 3.14 on there is one per
//! thread, but for tasks in pure Python, which go on as before.

use crate::event_loop::LoopCore;
use crate::ffi;
use crate::member::Member;
use crate::private;
use everloop_core::sync::lock;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::sync::atomic::Ordering;

/// True if asyncio keeps one current task per loop: up to CPython 3.13.
fn is_per_loop(py: Python<'_>) -> bool {
    static ANSWER: PyOnceLock<bool> = PyOnceLock::new();
    *ANSWER.get_or_init(py, || py.version_info() < (3, 14))
}

/// Makes another task, or none, the current one of a loop, where asyncio keeps one per loop. Returns the one before.
fn swap<'py>(core: &Bound<'py, LoopCore>, task: Py<PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = core.py();
    let name = if is_per_loop(py) { &private::SWAP_TASK } else { &private::SWAP_PYTHON_TASK };
    match name.look_up(py)? {
        Some(swap) => swap.call1((core, task)),
        None if is_per_loop(py) => swap_slowly(core, task.bind(py)),
        None => Ok(py.None().into_bound(py)),
    }
}

/// Does the same by the functions that asyncio documents for authors of loops.
#[cold]
fn swap_slowly<'py>(core: &Bound<'py, LoopCore>, task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let tasks = core.py().import("asyncio.tasks")?;
    let before = tasks.call_method1("current_task", (core,))?;
    if !before.is_none() {
        tasks.call_method1("_leave_task", (core, &before))?;
    }
    if !task.is_none() {
        tasks.call_method1("_enter_task", (core, task))?;
    }
    Ok(before)
}

/// The step of `member` goes aside; its task stays where it is until somebody needs the room.
///
/// From the first time on asyncio passes a gate whenever it enters or leaves a task of such a loop: it looks the loop
/// up in a dictionary then, up to CPython 3.13.
pub fn leave(core: &Bound<'_, LoopCore>, member: &Member, gate: fn(&Bound<'_, PyAny>) -> PyResult<()>) {
    if is_per_loop(core.py()) {
        ffi::hook_hashes(core, gate);
    }
    core.get().threads.task_owner.store(member.id().get(), Ordering::Relaxed);
}

/// A step is about to run or to go on, on this thread: the task of another thread's step, which is aside, makes room.
pub fn make_room(core: &Bound<'_, LoopCore>, member: &Member) -> PyResult<()> {
    let owner = core.get().threads.task_owner.swap(0, Ordering::Relaxed);
    if owner == 0 || owner == member.id().get() {
        return Ok(());
    }
    let task = match swap(core, core.py().None()) {
        Ok(task) => task,
        // CPython 3.12 and tasks in pure Python want an entry to take out, and a plain callback's step has none.
        Err(error) if error.is_instance_of::<PyKeyError>(core.py()) => return Ok(()),
        Err(error) => return Err(error),
    };
    if task.is_none() {
        return Ok(());
    }
    let there = lock(&core.get().threads.members).values().find(|member| member.id().get() == owner).cloned();
    if let Some(there) = there {
        there.keep_task(task.unbind());
    }
    Ok(())
}

/// The step goes on: its task is the current one again.
pub fn put_back(core: &Bound<'_, LoopCore>, task: Py<PyAny>) -> PyResult<()> {
    swap(core, task).map(drop)
}
