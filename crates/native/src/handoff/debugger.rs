//! Debuggers: a step that one may have stopped is not put aside without its consent, nor reported.
//!
//! `sys.settrace` is a thread's: a task that another thread goes on with is lost to its debugger. And a debugger's
//! prompt is a blocking call; were it rescued, the program would run on behind it, and come to a second one. So where a
//! debugger is at a thread, its steps block their loop, as on asyncio, but for `blocking()` and `block_on()`.
//!
//! A debugger is there in any of three cases:
//!
//! - Its tool id of `sys.monitoring` has events set (debugpy from CPython 3.12 on, `breakpoint()` from 3.14 on). To
//!   have the id is not enough: `debugpy.listen()` takes it, and stops nobody until a client has come.
//! - A frame of the step has events of that id, set for its code alone.
//! - The thread has a trace function (pdb, and what is like it).
//!
//! Another thread cannot ask for the trace function, so each thread asks itself, in the first turn after a look of the
//! watchdog. A function that was set since shows in `f_trace` of the frames that it traces: those of the step that
//! comes to a prompt, not all that run later, so that neither sign is enough alone. Frames may keep theirs for ever: it
//! counts only while some thread is traced, and in the frames of the step.
//!
//! A debugger that is called on a relief thread keeps the tasks that this has stepped, also after home is back
//! (`pinning.rs`). What it does not keep: a task whose first stop is over before the watchdog has looked.
//!
//! The trace function of coverage (up to CPython 3.13) stops nobody, and all threads have it: it does not count. From
//! 3.14 on coverage has a tool id of its own.

use crate::ffi::{self, Made, name};
use crate::member::Member;
use crate::private;
use pyo3::prelude::*;

/// `sys.monitoring.DEBUGGER_ID`
const DEBUGGER: u8 = 0;

/// `sys.gettrace` and `sys.monitoring`
static GETTRACE: Made<PyAny> = Made::new();
static MONITORING: Made<PyAny> = Made::new();

/// Notes whether a debugger is at this thread. It asks in its turns, once each time that the watchdog has looked, and
/// until the debugger has gone.
pub fn note(py: Python<'_>, member: &Member) -> PyResult<()> {
    let gettrace = GETTRACE.get(py, |py| py.import("sys")?.getattr("gettrace"))?;
    let monitoring = monitoring(py)?;
    private::tell_untold_traces(&monitoring)?;
    member.note_debugger(has_tool(&monitoring)? && has_events(&monitoring)? || stops(&gettrace.call0()?));
    Ok(())
}

/// True if a debugger is at the thread of `member`, as far as another thread can tell. The watchdog asks this once the
/// thread has asked itself, so that nothing is imported here.
pub fn is_at(py: Python<'_>, member: &Member) -> PyResult<bool> {
    let monitoring = monitoring(py)?;
    let found = has_tool(&monitoring)? && (has_events(&monitoring)? || has_events_in_step(&monitoring, member)?)
        || private::is_traced(&monitoring)? && (member.has_debugger() || has_traced_frame(py, member)?);
    member.note_debugger(found);
    Ok(found)
}

fn monitoring(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    MONITORING.get(py, |py| py.import("sys")?.getattr("monitoring"))
}

fn has_tool(monitoring: &Bound<'_, PyAny>) -> PyResult<bool> {
    let tool = monitoring.call_method1(name!(monitoring.py(), "get_tool"), (DEBUGGER,))?;
    Ok(!tool.is_none())
}

/// True if the tool of debuggers, which there is, has events set for all code.
fn has_events(monitoring: &Bound<'_, PyAny>) -> PyResult<bool> {
    monitoring.call_method1(name!(monitoring.py(), "get_events"), (DEBUGGER,))?.is_truthy()
}

/// True if it has some set for the code that the step of this thread is in.
fn has_events_in_step(monitoring: &Bound<'_, PyAny>, member: &Member) -> PyResult<bool> {
    let name = name!(monitoring.py(), "get_local_events");
    for frame in member.step_frames(monitoring.py()) {
        if monitoring.call_method1(&name, (DEBUGGER, ffi::frame_code(&frame)))?.is_truthy()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True if this trace function may stop its thread, or miss what other threads do.
fn stops(function: &Bound<'_, PyAny>) -> bool {
    !function.is_none() && !private::is_coverages(&ffi::callback_name(function))
}

/// True if the step of this thread is in a frame that is traced.
fn has_traced_frame(py: Python<'_>, member: &Member) -> PyResult<bool> {
    let name = name!(py, "f_trace");
    for frame in member.step_frames(py) {
        // Its getter is written in C, and the class of frames cannot be changed.
        if stops(&frame.getattr(&name)?) {
            return Ok(true);
        }
    }
    Ok(false)
}
