//! The monitoring tool: the interpreter's events (`sys.monitoring`, PEP 669), under a tool id that is ours.
//!
//! It is claimed once, by a loop that may rescue, and kept until the process ends. Before that nobody is rescued, so no
//! gate here is ever opened: all others find it claimed.
//!
//! Seen on CPython 3.12.1, 3.13.0, 3.14.8 and 3.15.0: events that are set while a call runs fire when that call
//! returns.

use super::opcodes::Opcodes;
use crate::ffi;
use everloop_core::sites::Kind;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyCode;

/// The tool ids that PEP 669 leaves to anybody; 0 to 2 belong to debuggers, coverage and profilers.
const TOOL_IDS: [u8; 3] = [4, 3, 5];

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
}

/// `sys.monitoring`, with the tool id that is ours.
pub struct Tool {
    monitoring: Py<PyAny>,
    id: u8,
    /// The object that a callback returns to hear no more of one place.
    pub disable: Py<PyAny>,
    /// The numbers of events.
    pub instruction: u32,
    /// CALL, C_RETURN and C_RAISE together.
    pub calls: u32,
    pub raise: u32,
    /// PY_START, PY_RESUME and PY_THROW together.
    pub starts: u32,
    /// True if RAISE can be set for one code object: from CPython 3.15 on.
    pub raises_locally: bool,
    pub opcodes: Opcodes,
}

static TOOL: PyOnceLock<Option<Tool>> = PyOnceLock::new();

/// Takes a tool id, once. False: none is free, and steps are only reported.
pub fn claim<'py>(py: Python<'py>, callbacks: impl FnOnce() -> PyResult<Callbacks<'py>>) -> PyResult<bool> {
    ffi::private::prepare_rescue(py);
    TOOL.get_or_try_init(py, || Tool::new(py, callbacks()?)).map(Option::is_some)
}

/// The tool, if one was claimed. The watchdog asks this: claiming one is Python code.
#[inline]
pub fn claimed(py: Python<'_>) -> Option<&Tool> {
    TOOL.get(py)?.as_ref()
}

impl Tool {
    fn new(py: Python<'_>, callbacks: Callbacks<'_>) -> PyResult<Option<Self>> {
        let monitoring = py.import("sys")?.getattr("monitoring")?;
        let is_ours = |id: &u8| monitoring.call_method1("use_tool_id", (*id, "everloop")).is_ok();
        let Some(id) = TOOL_IDS.into_iter().find(is_ours) else { return Ok(None) };
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
        ];
        for (name, callback) in register {
            monitoring.call_method1("register_callback", (id, event(name)?, callback))?;
        }
        Ok(Some(Self {
            opcodes: Opcodes::new(py)?,
            id,
            disable: monitoring.getattr("DISABLE")?.unbind(),
            instruction: event("INSTRUCTION")?,
            calls: event("CALL")? | event("C_RETURN")? | event("C_RAISE")?,
            raise: event("RAISE")?,
            starts: event("PY_START")? | event("PY_RESUME")? | event("PY_THROW")?,
            raises_locally: py.version_info() >= (3, 15),
            monitoring: monitoring.unbind(),
        }))
    }

    /// Sets which events one code object has: changes its instructions in place.
    pub fn set_local(&self, code: &Bound<'_, PyCode>, events: u32) -> PyResult<()> {
        self.monitoring.call_method1(code.py(), "set_local_events", (self.id, code, events)).map(drop)
    }

    /// Sets which events all code has.
    pub fn set_everywhere(&self, py: Python<'_>, events: u32) -> PyResult<()> {
        self.monitoring.call_method1(py, "set_events", (self.id, events)).map(drop)
    }

    /// The kind of site that the instruction there would be. None: it cannot be one.
    pub fn kind(&self, code: &Bound<'_, PyCode>, offset: i32) -> PyResult<Option<Kind>> {
        let bytecode = code.getattr("co_code")?;
        let bytecode: &[u8] = bytecode.extract()?;
        let opcode = usize::try_from(offset).ok().and_then(|at| bytecode.get(at));
        Ok(opcode.and_then(|opcode| self.opcodes.kind(*opcode)))
    }
}
