//! The monitoring tool: the interpreter's events (`sys.monitoring`, PEP 669), under a tool id that is ours.
//!
//! It is claimed once, by a loop that may rescue, and kept until the process ends. Before that nobody is rescued, so no
//! gate here is ever opened: all others find it claimed.
//!
//! Seen on CPython 3.12.1, 3.13.0, 3.14.8 and 3.15.0: events that are set while a call runs fire when that call
//! returns. And INSTRUCTION events of one tool are lost where another tool sets its own for the same code
//! (python/cpython#157900): see [`Tool::prepare`].
//!
//! **Whoever frees our id** takes the gates away that steps which are aside need: those run on beside others. It is
//! noticed when the next event is to be set. From then on there is no tool any more, and no rescue.

use super::opcodes::Opcodes;
use crate::{ffi, outbox};
use everloop_core::sites::Kind;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCode, PyString};
use std::sync::atomic::{AtomicBool, Ordering};

/// The tool ids that PEP 669 leaves to anybody; 0 to 2 belong to debuggers, coverage and profilers.
const TOOL_IDS: [u8; 3] = [4, 3, 5];
/// All of them, those first that the fewest others want.
const ALL_IDS: [u8; 6] = [5, 3, 4, 2, 1, 0];

/// The functions that are called at our events.
pub struct Callbacks<'py> {
    pub instruction: Bound<'py, PyAny>,
    pub raise: Bound<'py, PyAny>,
    pub call: Bound<'py, PyAny>,
    /// It is called for a frame that begins, and for one that goes on in a generator.
    pub start: Bound<'py, PyAny>,
    /// It is called for one that goes on with an exception.
    pub throw: Bound<'py, PyAny>,
    /// It is called for a C function that raises, too.
    pub c_return: Bound<'py, PyAny>,
    /// It is called for a frame that returns, and for one that is suspended in a generator.
    pub end: Bound<'py, PyAny>,
}

/// `sys.monitoring`, with the tool id that is ours.
pub struct Tool {
    monitoring: Py<PyAny>,
    id: u8,
    /// The object by which we know that the id is ours still.
    name: Py<PyString>,
    /// True once it is not. Written and read under the GIL.
    lost: AtomicBool,
    /// The object that a callback returns to hear no more of one place.
    pub disable: Py<PyAny>,
    /// The numbers of events.
    pub instruction: u32,
    /// CALL, C_RETURN and C_RAISE together.
    pub calls: u32,
    pub raise: u32,
    /// PY_START, PY_RESUME and PY_THROW together.
    pub starts: u32,
    /// PY_RETURN and PY_YIELD together.
    pub ends: u32,
    /// True if RAISE can be set for one code object: from CPython 3.15 on.
    pub raises_locally: bool,
    pub opcodes: Opcodes,
}

static TOOL: PyOnceLock<Option<Tool>> = PyOnceLock::new();

/// Takes a tool id, once. False: none was free, and steps are only reported.
pub fn claim<'py>(py: Python<'py>, callbacks: impl FnOnce() -> PyResult<Callbacks<'py>>) -> PyResult<bool> {
    ffi::private::prepare_rescue(py);
    TOOL.get_or_try_init(py, || Tool::new(py, callbacks()?)).map(Option::is_some)
}

/// The tool, if one was claimed and is not known to be lost. The watchdog asks this: claiming one is Python code.
#[inline]
pub fn claimed(py: Python<'_>) -> Option<&Tool> {
    TOOL.get(py)?.as_ref().filter(|tool| !tool.lost.load(Ordering::Relaxed))
}

/// The tool, if one was claimed and nobody has freed it: for whoever is about to put a step aside that needs gates.
pub fn ours(py: Python<'_>) -> PyResult<Option<&Tool>> {
    let Some(tool) = claimed(py) else { return Ok(None) };
    Ok(tool.is_ours(py)?.then_some(tool))
}

impl Tool {
    fn new(py: Python<'_>, callbacks: Callbacks<'_>) -> PyResult<Option<Self>> {
        let monitoring = py.import("sys")?.getattr("monitoring")?;
        let name = PyString::new(py, "everloop");
        let is_free = |id: &u8| monitoring.call_method1("use_tool_id", (*id, &name)).is_ok();
        let Some(id) = TOOL_IDS.into_iter().find(is_free) else { return Ok(None) };
        let events = monitoring.getattr("events")?;
        let event = |name: &str| -> PyResult<u32> { events.getattr(name)?.extract() };
        let register = [
            ("INSTRUCTION", &callbacks.instruction),
            ("RAISE", &callbacks.raise),
            ("CALL", &callbacks.call),
            ("PY_START", &callbacks.start),
            ("PY_RESUME", &callbacks.start),
            ("PY_THROW", &callbacks.throw),
            ("C_RETURN", &callbacks.c_return),
            ("C_RAISE", &callbacks.c_return),
            ("PY_RETURN", &callbacks.end),
            ("PY_YIELD", &callbacks.end),
        ];
        for (name, callback) in register {
            monitoring.call_method1("register_callback", (id, event(name)?, callback))?;
        }
        Ok(Some(Self {
            opcodes: Opcodes::new(py)?,
            id,
            name: name.unbind(),
            lost: AtomicBool::new(false),
            disable: monitoring.getattr("DISABLE")?.unbind(),
            instruction: event("INSTRUCTION")?,
            calls: event("CALL")? | event("C_RETURN")? | event("C_RAISE")?,
            raise: event("RAISE")?,
            starts: event("PY_START")? | event("PY_RESUME")? | event("PY_THROW")?,
            ends: event("PY_RETURN")? | event("PY_YIELD")?,
            raises_locally: py.version_info() >= (3, 15),
            monitoring: monitoring.unbind(),
        }))
    }

    /// Sets which events one code object has: changes its instructions in place.
    pub fn set_local(&self, code: &Bound<'_, PyCode>, events: u32) -> PyResult<()> {
        self.unless_lost(code.py(), self.set_local_of(self.id, code, events))
    }

    /// Sets which events all code has.
    pub fn set_everywhere(&self, py: Python<'_>, events: u32) -> PyResult<()> {
        let set = self.monitoring.call_method1(py, "set_events", (self.id, events));
        self.unless_lost(py, set.map(drop))
    }

    /// Has the interpreter make its table of the tools that have INSTRUCTION events in this code, once for each code.
    /// It makes one where a second tool sets them, and the table begins empty: the first tool would have lost them. So
    /// another tool sets them first, and is gone again before anybody sees it.
    pub fn prepare(&self, code: &Bound<'_, PyCode>) -> PyResult<()> {
        let py = code.py();
        let events: u32 = self.monitoring.call_method1(py, "get_local_events", (self.id, code))?.extract(py)?;
        let name = PyString::new(py, "everloop, for a moment");
        let is_free = |id: &u8| self.monitoring.call_method1(py, "use_tool_id", (*id, &name)).is_ok();
        // Where all ids are taken, those who have them may still spoil ours.
        let Some(other) = ALL_IDS.into_iter().find(is_free) else { return Ok(()) };
        let both =
            self.set_local_of(other, code, self.instruction).and(self.set_local(code, events | self.instruction));
        let gone = self.set_local_of(other, code, 0);
        let freed = self.monitoring.call_method1(py, "free_tool_id", (other,)).map(drop);
        both.and(gone).and(freed)
    }

    fn set_local_of(&self, id: u8, code: &Bound<'_, PyCode>, events: u32) -> PyResult<()> {
        self.monitoring.call_method1(code.py(), "set_local_events", (id, code, events)).map(drop)
    }

    /// True if nobody has freed our id. If not, it is told, and there is no tool from here on.
    fn is_ours(&self, py: Python<'_>) -> PyResult<bool> {
        let is_ours = self.monitoring.call_method1(py, "get_tool", (self.id,))?.is(&self.name);
        if !is_ours && !self.lost.swap(true, Ordering::Relaxed) {
            let id = self.id;
            outbox::leave("no_tool", move |details| details.set_item("number", id));
        }
        Ok(is_ours)
    }

    /// Events that cannot be set because somebody has freed our id are no error of the step that needs them.
    fn unless_lost(&self, py: Python<'_>, set: PyResult<()>) -> PyResult<()> {
        if set.is_err() && !self.is_ours(py)? { Ok(()) } else { set }
    }

    /// The kind of site that the instruction there would be. None: it cannot be one.
    pub fn kind(&self, code: &Bound<'_, PyCode>, offset: i32) -> PyResult<Option<Kind>> {
        let bytecode = code.getattr("co_code")?;
        let bytecode: &[u8] = bytecode.extract()?;
        let opcode = usize::try_from(offset).ok().and_then(|at| bytecode.get(at));
        Ok(opcode.and_then(|opcode| self.opcodes.kind(*opcode)))
    }
}
