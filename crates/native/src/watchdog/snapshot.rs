//! The snapshot of a step for a report, taken down while the step blocks: text and numbers.
//!
//! The watchdog asks nobody for it, since nothing of the program may run on its thread; and it keeps nothing of the
//! program's, which would live longer by that.

use crate::event_loop::LoopCore;
use crate::ffi::{self, name};
use crate::handle::Handle;
use crate::member::Member;
use everloop_core::sync::{Mutex, lock};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFrame, PyString, PyType};

/// A line of Python code.
struct Line {
    file: Py<PyString>,
    number: u32,
    function: Py<PyString>,
    qualified: Py<PyString>,
    /// The columns of the instruction on the line, in bytes.
    columns: Option<(u32, u32)>,
}

pub struct Snapshot {
    /// The line of the program's own code at which the step stands; a line of other code if it is in none of the
    /// program's; None: it is in no Python code.
    line: Option<Line>,
    /// The innermost line, if it is another one.
    inside: Option<Line>,
    callback: String,
    /// The name of the task, if it is a step of one.
    task: Option<String>,
    /// The number of callbacks that wait.
    waiting: usize,
    thread: String,
    /// The thread that turns the loop, where that is another one.
    relief: Option<String>,
}

/// The beginnings of the names of files that are not the program's own.
static FOREIGN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Says how the names of files begin that are not the program's own: they are passed over in reports.
#[pyfunction]
pub fn set_foreign_files(prefixes: Vec<String>) {
    *lock(&FOREIGN) = prefixes;
}

/// asyncio's class of tasks, and its method that tells their names. Where those are Python code, tasks have no name
/// here.
static TASK: PyOnceLock<(Py<PyType>, Py<PyAny>)> = PyOnceLock::new();

/// Looks up what snapshots need: later nothing may be imported.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    TASK.get_or_try_init(py, || {
        let class = py.import("asyncio")?.getattr("Task")?.cast_into::<PyType>()?;
        let method = class.getattr("get_name")?;
        Ok::<_, PyErr>((class.unbind(), method.unbind()))
    })?;
    Ok(())
}

impl Snapshot {
    /// Takes the snapshot of the step of `member`, whose thread must not be running Python: we hold the GIL.
    pub fn take(core: &Bound<'_, LoopCore>, member: &Member) -> PyResult<Self> {
        let py = core.py();
        let this = core.get();
        let [line, inside] = lines(py, member)?;
        let (callback, task) = names(py, member);
        let relief = this.baton().holder().filter(|id| *id != member.id());
        Ok(Self {
            line,
            inside,
            callback,
            task,
            waiting: ffi::peek(&this.queues.turn, py, |turn| turn.ready_len()).unwrap_or(0),
            thread: member.name.clone(),
            relief: relief.and_then(|id| lock(&this.threads.members).get(&id).map(|member| member.name.clone())),
        })
    }

    pub fn tell(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        match &self.line {
            Some(line) => {
                details.set_item("file", &line.file)?;
                details.set_item("line", line.number)?;
                details.set_item("function", &line.function)?;
                details.set_item("columns", line.columns)?;
            }
            None => {
                details.set_item("file", "<native>")?;
                details.set_item("line", 0)?;
                details.set_item("function", &self.callback)?;
                details.set_item("columns", None::<u32>)?;
            }
        }
        details.set_item("inside", self.inside.as_ref().map(|line| (&line.file, line.number, &line.qualified)))?;
        details.set_item("kind", if self.task.is_some() { "task" } else { "callback" })?;
        details.set_item("task", self.task.as_ref().unwrap_or(&self.callback))?;
        details.set_item("waiting", self.waiting)?;
        details.set_item("thread", &self.thread)?;
        details.set_item("relief", self.relief.as_ref())
    }
}

/// The lines at which the step stands: the innermost one of the program's own code, and the innermost of all.
fn lines(py: Python<'_>, member: &Member) -> PyResult<[Option<Line>; 2]> {
    let Some(top) = member.step_frames(py).next() else { return Ok([None, None]) };
    let innermost = line_of(&top)?;
    for (depth, frame) in member.step_frames(py).enumerate() {
        if is_own(&frame)? {
            return Ok(if depth == 0 { [Some(innermost), None] } else { [Some(line_of(&frame)?), Some(innermost)] });
        }
    }
    Ok([Some(innermost), None])
}

fn is_own(frame: &Bound<'_, PyFrame>) -> PyResult<bool> {
    let file = ffi::code_text(&ffi::frame_code(frame), &name!(frame.py(), "co_filename"))?;
    let file = file.to_string_lossy();
    Ok(!lock(&FOREIGN).iter().any(|prefix| file.starts_with(prefix)))
}

fn line_of(frame: &Bound<'_, PyFrame>) -> PyResult<Line> {
    let py = frame.py();
    let code = ffi::frame_code(frame);
    let number = ffi::frame_line(frame);
    Ok(Line {
        file: ffi::code_text(&code, &name!(py, "co_filename"))?.unbind(),
        number,
        function: ffi::code_text(&code, &name!(py, "co_name"))?.unbind(),
        qualified: ffi::code_text(&code, &name!(py, "co_qualname"))?.unbind(),
        columns: ffi::columns(&code, ffi::frame_instruction(frame), number),
    })
}

/// The names of the callback and of its task.
fn names(py: Python<'_>, member: &Member) -> (String, Option<String>) {
    let none = || ("NoneType".to_owned(), None);
    let Some(handle) = member.current.get(py) else { return none() };
    let handle = handle.into_bound(py);
    let Ok(handle) = handle.cast::<Handle>() else { return none() };
    let Some((callback, native)) = handle.get().call(py) else { return none() };
    if let Some(native) = native {
        return (format!("{}.{}", ffi::qualified_name(&callback.get_type()), native.name), None);
    }
    (ffi::callback_name(&callback), ffi::bound_to(&callback).and_then(|task| task_name(&task)))
}

/// The name of a task. One of a subclass that tells another one is told by the name that it was given.
fn task_name(task: &Bound<'_, PyAny>) -> Option<String> {
    let py = task.py();
    let (class, get_name) = TASK.get(py)?;
    if !ffi::is_of_class(task, class.bind(py)) {
        return None;
    }
    ffi::call_c_method(get_name.bind(py), task).and_then(ffi::text_of)
}
