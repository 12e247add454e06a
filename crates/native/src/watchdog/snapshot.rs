//! The snapshot of a step for a report, taken down while the step blocks: text and numbers.
//!
//! The watchdog asks nobody for it, since nothing of the program may run on its thread; and it keeps nothing of the
//! program's, which would live longer by that.

use crate::event_loop::{LoopCore, Shared};
use crate::ffi::{self, name};
use crate::handle::Handle;
use crate::member::Member;
use everloop_core::sync::lock;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFrame, PyString, PyTuple, PyType};
use std::sync::{Arc, OnceLock};

/// A line of Python code.
struct Line {
    file: Py<PyString>,
    number: u32,
    function: Py<PyString>,
    qualified: Py<PyString>,
    /// The place of the instruction: first line and column, last line and column, these in bytes.
    place: Option<[u32; 4]>,
}

/// A line as a report is told of it: file, number, qualified name of the function, and the span of the instruction.
type Told<'a> = (&'a Py<PyString>, u32, &'a Py<PyString>, Option<Span>);
/// First line, last line, first column, last column.
type Span = (u32, u32, u32, u32);

impl Line {
    fn span(&self) -> Option<Span> {
        self.place.map(|[line, column, end_line, end_column]| (line, end_line, column, end_column))
    }

    /// The columns of an instruction that does not reach over lines.
    fn columns(&self) -> Option<(u32, u32)> {
        let [line, column, end_line, end_column] = self.place?;
        (line == self.number && end_line == self.number).then_some((column, end_column))
    }

    fn told(&self) -> Told<'_> {
        (&self.file, self.number, &self.qualified, self.span())
    }
}

/// The most frames of a step that are told of, and the most that are looked at for one of the program's own.
const MOST_TOLD: usize = 32;
const MOST_LOOKED_AT: usize = 1000;
/// The body of a function begins so many code units after its first instruction, at most.
const PROLOGUE: usize = 8;

pub struct Snapshot {
    /// The innermost frames of the step.
    stack: Vec<Line>,
    /// The line of the program's own code at which the step stands, if it stands in any and that is not in `stack`.
    own: Option<Line>,
    /// Where that line is in `stack` otherwise; or a line of other code, if the step stands in none of the program's.
    at: usize,
    callback: String,
    /// The name of the task, if it is a step of one.
    task: Option<String>,
    /// The number of callbacks that wait, of timers that are due, and of files that are ready.
    waiting: usize,
    due: usize,
    ready: usize,
    thread: String,
    /// The thread that turns the loop, where that is another one.
    relief: Option<String>,
}

/// The beginnings of the names of files that are not the program's own. Written once, when everloop is imported. No
/// lock: threads without the GIL ask, and one that a fork finds taken is taken for ever.
static FOREIGN: OnceLock<Vec<String>> = OnceLock::new();

/// Says how the names of files begin that are not the program's own: they are passed over in reports.
#[pyfunction]
pub fn set_foreign_files(prefixes: Vec<String>) {
    FOREIGN.get_or_init(|| prefixes);
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
        let (stack, at, own) = stand(py, member)?;
        let (callback, task) = names(py, member);
        let relief = this.baton().holder().filter(|id| *id != member.id());
        let (waiting, due, ready) = waiting(core);
        Ok(Self {
            stack,
            own,
            at,
            callback,
            task,
            waiting,
            due,
            ready,
            thread: member.name.clone(),
            relief: relief.and_then(|id| lock(&this.threads.members).get(&id).map(|member| member.name.clone())),
        })
    }

    pub fn tell(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        let line = self.own.as_ref().or_else(|| self.stack.get(self.at));
        match line {
            Some(line) => {
                details.set_item("file", &line.file)?;
                details.set_item("line", line.number)?;
                details.set_item("function", &line.function)?;
            }
            None => {
                details.set_item("file", "<native>")?;
                details.set_item("line", 0)?;
                details.set_item("function", &self.callback)?;
            }
        }
        details.set_item("columns", line.and_then(Line::columns))?;
        details.set_item("span", line.and_then(Line::span))?;
        details.set_item("stack", PyTuple::new(details.py(), self.stack.iter().map(Line::told))?)?;
        let inside = self.stack.first().filter(|_| self.own.is_some() || self.at > 0);
        details.set_item("inside", inside.map(|line| (&line.file, line.number, &line.qualified)))?;
        details.set_item("thread", &self.thread)?;
        details.set_item("relief", self.relief.as_ref())?;
        self.tell_names(details)
    }

    /// The callbacks that wait, timers that are due, and files that are ready.
    pub fn waiting(&self) -> (usize, usize, usize) {
        (self.waiting, self.due, self.ready)
    }

    /// Tells whose step it is, and what waits.
    pub fn tell_names(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        tell_names(details, Some((self.callback.clone(), self.task.clone())))?;
        details.set_item("waiting", self.waiting)?;
        details.set_item("due", self.due)?;
        details.set_item("ready", self.ready)
    }
}

/// The frames of the step, the innermost first; which of them stands in the program's own code; and that one, if it is
/// too far out to be among them. Code that was generated is the program's own only if nothing else is.
fn stand(py: Python<'_>, member: &Member) -> PyResult<(Vec<Line>, usize, Option<Line>)> {
    let (mut stack, mut generated) = (Vec::new(), None);
    for (depth, frame) in member.step_frames(py).take(MOST_LOOKED_AT).enumerate() {
        let origin = origin_of(&frame)?;
        if depth < MOST_TOLD {
            stack.push(line_of(&frame)?);
        } else if origin == Origin::Own {
            return Ok((stack, 0, Some(line_of(&frame)?)));
        }
        if origin == Origin::Own {
            let mut more = member.step_frames(py).take(MOST_TOLD).skip(depth + 1);
            more.try_for_each(|frame| line_of(&frame).map(|line| stack.push(line)))?;
            return Ok((stack, depth, None));
        }
        if origin == Origin::Generated && depth < MOST_TOLD {
            generated.get_or_insert(depth);
        }
    }
    Ok((stack, generated.unwrap_or(0), None))
}

/// Where the code of a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program.
    Own,
    /// Text that was no file: `python -c`, a template, a library that writes code.
    Generated,
    /// A library.
    Foreign,
}

/// Where code comes from, by the name of its file.
pub fn origin(file: &str) -> Origin {
    if FOREIGN.get().is_some_and(|foreign| foreign.iter().any(|prefix| file.starts_with(prefix))) {
        Origin::Foreign
    } else if file.starts_with('<') {
        Origin::Generated
    } else {
        Origin::Own
    }
}

fn origin_of(frame: &Bound<'_, PyFrame>) -> PyResult<Origin> {
    let file = ffi::code_text(&ffi::frame_code(frame), &name!(frame.py(), "co_filename"))?;
    Ok(origin(&file.to_string_lossy()))
}

/// What waits while the step blocks: callbacks, timers that are due, and files that are ready. A clock of the program's
/// own is not asked: then no timer is counted.
fn waiting(core: &Bound<'_, LoopCore>) -> (usize, usize, usize) {
    let (py, this) = (core.py(), core.get());
    let now = this.clock.is_known_ours(core).then(|| this.time());
    let queued = ffi::peek(&this.queues.turn, py, |turn| {
        let due = now.map_or(0, |now| turn.timers.due_len(now, |timer| !timer.get().is_cancelled(py)));
        (turn.ready_len(), due)
    });
    let (waiting, due) = queued.unwrap_or_default();
    (waiting, due, this.shared.poller().map_or(0, |poller| poller.ready_len()))
}

fn line_of(frame: &Bound<'_, PyFrame>) -> PyResult<Line> {
    let py = frame.py();
    let code = ffi::frame_code(frame);
    let instruction = usize::try_from(ffi::frame_instruction(frame)).ok();
    let place = instruction.and_then(|at| ffi::place(&code, at));
    // A function that has just been called stands before its body, at its `def`.
    let body = match place {
        Some([line, column, end_line, end_column]) if (line, column) == (end_line, end_column) => {
            let width = |[line, column, end_line, end_column]: &[u32; 4]| (line, column) != (end_line, end_column);
            instruction.and_then(|at| (1..=PROLOGUE).find_map(|unit| ffi::place(&code, at + 2 * unit).filter(width)))
        }
        _ => None,
    };
    let number = body.map_or_else(|| ffi::frame_line(frame), |[line, ..]| line);
    Ok(Line {
        file: ffi::code_text(&code, &name!(py, "co_filename"))?.unbind(),
        number,
        function: ffi::code_text(&code, &name!(py, "co_name"))?.unbind(),
        qualified: ffi::code_text(&code, &name!(py, "co_qualname"))?.unbind(),
        place: body.or(place),
    })
}

/// Tells the names of a step's callback and of its task, or that they are unknown.
pub fn tell_names(details: &Bound<'_, PyDict>, names: Option<(String, Option<String>)>) -> PyResult<()> {
    let is_task = names.as_ref().map(|(_, task)| task.is_some());
    details.set_item("kind", is_task.map(|is_task| if is_task { "task" } else { "callback" }))?;
    details.set_item("task", names.map(|(callback, task)| task.unwrap_or(callback)))
}

/// A step has ended of which somebody has asked whose it is: its handle says so.
#[cold]
pub fn answer_question(shared: &Shared, handle: &Bound<'_, Handle>) {
    if let Some(names) = shared.sighting.take_question(shared.heartbeat.tick()) {
        names.get_or_init(|| names_of(handle));
    }
}

/// The thread that runs a step now.
pub fn holder(core: &Bound<'_, LoopCore>) -> Option<Arc<Member>> {
    let id = core.get().baton().holder()?;
    lock(&core.get().threads.members).get(&id).cloned()
}

/// The names of the callback and of its task.
pub fn names(py: Python<'_>, member: &Member) -> (String, Option<String>) {
    let handle = member.current.get(py).map(|handle| handle.into_bound(py));
    let handle = handle.as_ref().and_then(|handle| handle.cast::<Handle>().ok());
    handle.map_or_else(unknown_names, names_of)
}

fn unknown_names() -> (String, Option<String>) {
    ("NoneType".to_owned(), None)
}

/// The names of a handle's callback and of its task.
fn names_of(handle: &Bound<'_, Handle>) -> (String, Option<String>) {
    let Some((callback, native)) = handle.get().call(handle.py()) else { return unknown_names() };
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
