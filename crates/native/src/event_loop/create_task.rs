//! Tasks and futures: asyncio's own, without the call through Python where nothing else is asked for.

use crate::event_loop::state::LoopCore;
use crate::ffi::{self, Arguments, FastMethod, Made, name};
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString};
use std::ffi::CStr;

static TASKS: Made<PyDict> = Made::new();
static FUTURES: Made<PyDict> = Made::new();
static BASE: Made<PyModule> = Made::new();

pub struct CreateTask;

impl FastMethod for CreateTask {
    const NAME: &'static CStr = c"create_task";
    const DOC: &'static CStr = c"create_task($self, coro, **kwargs)\n--\n\nA task that runs the coroutine, from the next turn on.\n\nArgs:\n    coro: The coroutine.\n    kwargs: What the interpreter's own loop takes: `name`, `context`, and more from CPython 3.14 on.\n\nReturns:\n    asyncio.Task: or what the task factory makes.\n\nRaises:\n    RuntimeError: the loop is closed.\n    TypeError: no coroutine.\n\nExample:\n    >>> import asyncio\n    >>> async def main():\n    ...     return await asyncio.get_running_loop().create_task(asyncio.sleep(0, \"done\"))\n    >>> everloop.run(main())\n    'done'\n";
    type Class = LoopCore;

    #[inline]
    fn call<'py>(slf: Borrowed<'_, 'py, LoopCore>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let core = slf.get();
        let is_plain = arguments.len() == 1 && !core.is_debug() && !core.is_closed() && knows(&arguments)?;
        if is_plain
            && !core.factories.has_factory(py)
            && let Some(class) = TASKS.named("asyncio.tasks", &name!(py, "Task"))?
        {
            return match (arguments.get(0), arguments.keywords()) {
                (Some(coroutine), None) => make(&class, (coroutine,), &slf),
                _ => arguments.call_with_loop(&class, slf.as_any()),
            };
        }
        let class = BASE.get(py, |py| py.import("asyncio.base_events"))?.getattr(name!(py, "BaseEventLoop"))?;
        arguments.call_method_of(&class.getattr(name!(py, "create_task"))?, slf.as_any())
    }
}

fn make<'py>(
    class: &Bound<'py, PyAny>,
    arguments: impl PyCallArgs<'py>,
    slf: &Bound<'py, LoopCore>,
) -> PyResult<Py<PyAny>> {
    class.call(arguments, Some(&slf.get().factories.keywords(slf.as_any())?)).map(Bound::unbind)
}

/// A future for our own use. No program sees it, so a `create_future` that a program has overridden is not asked.
pub fn new_future(slf: &Bound<'_, LoopCore>) -> PyResult<Py<PyAny>> {
    let py = slf.py();
    match FUTURES.named("asyncio.futures", &name!(py, "Future"))? {
        Some(class) => make(&class, (), slf),
        None => slf.call_method0(name!(py, "create_future")).map(Bound::unbind),
    }
}

/// True if every supported version of CPython passes these keywords on to the task as they are.
fn knows(arguments: &Arguments<'_, '_>) -> PyResult<bool> {
    let Some(keywords) = arguments.keywords() else { return Ok(true) };
    for keyword in keywords.iter_borrowed() {
        if !matches!(&*keyword.cast::<PyString>()?.to_cow()?, "name" | "context") {
            return Ok(false);
        }
    }
    Ok(true)
}

pub fn install(py: Python<'_>) -> PyResult<()> {
    ffi::install::<CreateTask>(py)
}
