//! Pinned tasks: a task that is suspended inside greenlets can only be stepped by the thread they were started on.
//!
//! SQLAlchemy's asyncio support and greenback run synchronous code in a greenlet and switch out of it to await. A
//! greenlet cannot change thread ("cannot switch to a different thread"). `greenlet.settrace` tells which greenlets a
//! step switches to; if some are alive when the step ends, its task is pinned to this thread until they are dead.
//!
//! A debugger knows the thread that it was called on: while one is at a relief thread, the tasks that this has stepped
//! are pinned to it, unless its step is aside.
//!
//! What only the main thread may call is a task that is pinned to home, for one step: python/everloop/signals.py.

use super::current::current;
use crate::aside::Reason;
use crate::event_loop::LoopCore;
use crate::event_loop::pins::{Pin, Pins};
use crate::ffi::{self, Made, name};
use crate::handle::Handle;
use crate::member::Member;
use everloop_core::baton::ThreadId;
use everloop_core::sync::lock;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefMethods, PyWeakrefReference};

/// The thread that alone may run this handle, if there is one.
pub fn thread_of(pins: &Pins, handle: &Bound<'_, Handle>) -> Option<ThreadId> {
    let task = handle.get().task(handle.py())?;
    pins.thread_of(ffi::address(&task))
}

/// A step of `task` has ended on `member`: pins it if greenlets are left alive in it, or a debugger is at a relief
/// thread.
pub fn settle(py: Python<'_>, pins: &Pins, member: &Member, task: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let touched = member.take_greenlets();
    let is_debugged = !member.home && member.has_debugger();
    if is_debugged {
        member.note_debugger(true); // this is called after the next step as well
    }
    let Some(task) = task else { return Ok(()) };
    let known = pins.set(ffi::address(&task), None).map(|pin| pin.greenlets).unwrap_or_default();
    let mut greenlets = Vec::new();
    for greenlet in touched {
        greenlets.push(PyWeakrefReference::new(greenlet.bind(py))?.unbind());
    }
    greenlets.extend(known);
    let mut alive = Vec::new();
    for greenlet in greenlets {
        if is_alive(greenlet.bind(py))? {
            alive.push(greenlet);
        }
    }
    if !alive.is_empty() || is_debugged && !task.call_method0(name!(py, "done"))?.is_truthy()? {
        let yields = alive.is_empty();
        pins.set(ffi::address(&task), Some(Pin { thread: member.id(), greenlets: alive, yields }));
    }
    Ok(())
}

#[pymethods]
impl LoopCore {
    /// Has home alone run the next step of a task, if home is the thread of this number. False: it is not, or its
    /// step waits in `block_on()`, perhaps for who asks.
    fn _pin_to_home(&self, task: &Bound<'_, PyAny>, ident: u64) -> bool {
        let home = lock(&self.threads.members).values().find(|member| member.home && member.ident == ident).cloned();
        let Some(home) = home.filter(|home| home.aside_reason() != Some(Reason::BlockOn)) else { return false };
        let old = self
            .threads
            .pins
            .set(ffi::address(task), Some(Pin { thread: home.id(), greenlets: Vec::new(), yields: false }));
        drop(old);
        true
    }
}

fn is_alive(greenlet: &Bound<'_, PyWeakrefReference>) -> PyResult<bool> {
    // A greenlet is true while it is started and not finished.
    greenlet.upgrade().map_or(Ok(false), |greenlet| greenlet.is_truthy())
}

/// Watches the greenlet switches of this thread.
#[pyclass(frozen, module = "everloop._native")]
pub struct Tracer {
    /// The trace function that was set before this one.
    previous: Option<Py<PyAny>>,
}

#[pymethods]
impl Tracer {
    fn __call__(&self, py: Python<'_>, event: Bound<'_, PyAny>, args: Bound<'_, PyAny>) -> PyResult<()> {
        if let Some((_, member)) = current(py)
            && let Ok(pair) = args.cast::<PyTuple>()
        {
            // The thread's root greenlet has no parent, and needs no pin: every thread has its own.
            let target = pair.get_item(1)?;
            if !target.getattr("parent")?.is_none() {
                member.note_greenlet(target.unbind());
            }
        }
        match &self.previous {
            Some(previous) => previous.call1(py, (event, args)).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// The watch over this thread's greenlets: until greenlet is imported, it only looks for that from step to step.
pub struct GreenletWatch<'py> {
    /// `sys.modules`
    modules: Bound<'py, PyDict>,
    /// The number of modules at the last look for greenlet.
    seen: usize,
    /// The module, and the trace function that this thread had before.
    tracing: Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
}

impl<'py> GreenletWatch<'py> {
    /// Begins for a thread that is about to turn the loop.
    pub fn new(py: Python<'py>) -> PyResult<Self> {
        static MODULES: Made<PyDict> = Made::new();
        let modules = MODULES.get(py, |py| Ok(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?))?;
        let mut watch = Self { modules, seen: 0, tracing: None };
        watch.look_for_greenlet()?;
        Ok(watch)
    }

    /// Called after every step. Until greenlet is imported, the length of a dict is all it costs.
    #[inline]
    pub fn check(&mut self, member: &Member) -> PyResult<()> {
        if self.tracing.is_none() && self.modules.len() != self.seen && self.look_for_greenlet()? {
            self.find_untraced(member)?;
        }
        Ok(())
    }

    /// Starts to watch this thread's greenlets if there can be any.
    fn look_for_greenlet(&mut self) -> PyResult<bool> {
        self.seen = self.modules.len();
        let Some(greenlet) = self.modules.get_item("greenlet")? else { return Ok(false) };
        if !greenlet.hasattr("settrace")? {
            return Ok(false); // greenlet is half imported
        }
        let previous = greenlet.call_method0("gettrace")?;
        let tracer = Tracer { previous: (!previous.is_none()).then(|| previous.clone().unbind()) };
        greenlet.call_method1("settrace", (Py::new(self.modules.py(), tracer)?,))?;
        self.tracing = Some((greenlet, previous));
        Ok(true)
    }

    /// The step that imported greenlet may have started some: the only ones there are.
    fn find_untraced(&self, member: &Member) -> PyResult<()> {
        let py = self.modules.py();
        let Some((module, _)) = &self.tracing else { return Ok(()) };
        let class = module.getattr("greenlet")?;
        for object in py.import("gc")?.call_method0("get_objects")?.try_iter()? {
            let object = object?;
            // By its real type, as `__class__` may be a property that runs code of its own (lazy objects, proxies).
            if object.get_type().is_subclass(&class)? && !object.getattr("parent")?.is_none() {
                member.note_greenlet(object.unbind());
            }
        }
        Ok(())
    }

    /// This thread no longer turns the loop.
    pub fn end(self) -> PyResult<()> {
        match self.tracing {
            Some((greenlet, previous)) => greenlet.call_method1("settrace", (previous,)).map(|_| ()),
            None => Ok(()),
        }
    }
}
