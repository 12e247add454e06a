//! Gates: what a step that is aside cannot pass without the baton, whatever it does next.
//!
//! A step that was put aside without its knowledge comes back in the middle of a C function. Before it runs a line of
//! Python it has to wait for the baton, and nothing in it asks for that: so the interpreter is made to ask. What can
//! come next, and which gate is there:
//!
//! | what comes next | gate |
//! |---|---|
//! | the C function returns, and the next instruction of the frame runs | INSTRUCTION events of its code (`codes.rs`) |
//! | it raises, and the exception leaves the frame without an instruction | RAISE events, of its code or of all (`everywhere.rs`) |
//! | it calls Python before it returns | PY_START, PY_RESUME and PY_THROW events of all code (`everywhere.rs`) |
//! | it was put aside at a learned call, which returns or raises | C_RETURN and C_RAISE events (`codes.rs`) |
//!
//! Two more gates need nothing to be opened, and are not here: where asyncio leaves the task (`ffi/hashing.rs`), and
//! the end of the step (`handoff::end_of_step`).
//!
//! **One value.** [`Gates::open`] opens what one step needs and counts it as one more user of each; whoever has the
//! value holds them open, and [`Gates::close`] counts it off. It lies in the record of the step that is aside
//! (`aside.rs`), or of the probe of a thread (`member.rs`). Nothing else opens or closes: no pair of calls is balanced
//! by hand.
//!
//! **Who may touch what.** All of it is under the GIL: opened by the step's thread (learned) or by the watchdog
//! (rescue, probe), closed by the step's thread, or by the watchdog for a probe. What opens and closes may set events,
//! which may collect garbage, so it is never called with a lock held. On the watchdog's thread nothing collects
//! garbage, and values are closed, not dropped: it is no thread of Python's, and drops no last reference.
//!
//! **Where no gate is.** Inside the callbacks of other tools (a profile function, a callback of `sys.monitoring`) the
//! interpreter fires no events: a step that blocks in one is rescued, and runs on beside others. Nor is there one once
//! somebody has freed our tool id (`tool.rs`). What would change the first: that a thread which looks on can tell
//! whether another one is inside such a callback.
//!
//! **Dropped instead of closed.** Where a release panics before the step is aside, or a loop goes with a member in it,
//! the value is dropped, and closes what it holds; what fails then goes to the outbox, as nobody is there to raise it.
//!
//! **Fork.** In the child no step is aside but the forking thread's: [`after_fork`] closes everything at once, and a
//! value of an earlier generation holds nothing. The record that is left opens its gates anew: [`Gates::reopen`].
//!
//! **What was tried.** Threads that are parked before they ask for the GIL: no gate can stand in the interpreter's own
//! calls. Each of these gates costs others something while it is open (all code, all calls), so none is open longer
//! than a step needs it, or the next one a moment later. What would change that: an event of the interpreter for "this thread is about to run Python".

pub mod callee;
pub mod codes;
mod everywhere;
pub mod leaves;
mod opcodes;
pub mod sites;
pub mod tool;

use crate::generation::generation;
use crate::{ffi, outbox};
use everloop_core::sites::Event;
use everywhere::{RAISES, STARTS};
use pyo3::prelude::*;
use pyo3::types::PyCode;
use std::mem;
use tool::Tool;

/// The needs of a step that is to be stopped.
pub enum Need<'a, 'py> {
    /// It stands in this code, or in no Python code of its own, and is to be stopped whatever it does next; in C code
    /// that may call Python before it returns, or not.
    Stop { code: Option<&'a Bound<'py, PyCode>>, may_call_python: bool },
    /// It is about to do what is learned to block, at this event; in C code as above.
    Learned { code: &'a Bound<'py, PyCode>, offset: i32, event: Event, may_call_python: bool },
    /// It runs Python, and is to be stopped if it comes by this code: nothing is lost if it does not.
    Pass { code: &'a Bound<'py, PyCode> },
}

/// The place at which a step comes back.
#[derive(Default)]
enum At {
    #[default]
    Nowhere,
    /// At the next instruction of this code; with the offset of the learned site, if it is there.
    Instruction(Py<PyCode>, Option<i32>),
    /// From the call at this offset.
    Return(Py<PyCode>, i32),
}

/// The gates that are open for one step. Dropped, it closes them.
#[derive(Default)]
pub struct Gates {
    at: At,
    /// True if this is one of those for which exceptions of all code pass a gate.
    raises: bool,
    /// True if this is one of those for which every frame that begins passes a gate.
    starts: bool,
    /// The generation of the process that opened them: in a process that was forked since, they are not open.
    generation: u32,
}

impl Gates {
    /// No gates, for a step that has said itself that it blocks: it takes the baton back by itself.
    pub fn none() -> Self {
        Self::default()
    }

    /// Opens what a step needs. On an error nothing is left open.
    pub fn open(py: Python<'_>, need: &Need<'_, '_>) -> PyResult<Self> {
        let mut gates = Self { at: At::Nowhere, raises: false, starts: false, generation: generation() };
        match gates.open_each(py, need) {
            Ok(()) => Ok(gates),
            Err(error) => gates.close(py).and(Err(error)),
        }
    }

    /// Notes each gate before what can fail, so that `close` finds it.
    fn open_each(&mut self, py: Python<'_>, need: &Need<'_, '_>) -> PyResult<()> {
        let Some(tool) = tool::claimed(py) else { return Ok(()) };
        self.starts = match *need {
            Need::Stop { may_call_python, .. } | Need::Learned { may_call_python, .. } => may_call_python,
            Need::Pass { .. } => false,
        };
        if self.starts {
            STARTS.open(py, tool)?;
        }
        match *need {
            Need::Learned { code, offset, event: Event::Call, .. } => {
                codes::go_away(code, offset)?;
                self.at = At::Return(code.clone().unbind(), offset);
                Ok(())
            }
            Need::Learned { code, offset, event: Event::Instruction, .. } => {
                self.stop(py, tool, Some(code), Some(offset))
            }
            Need::Stop { code, .. } => self.stop(py, tool, code, None),
            Need::Pass { code } => self.stop_in(tool, code, None),
        }
    }

    fn stop(
        &mut self,
        py: Python<'_>,
        tool: &Tool,
        code: Option<&Bound<'_, PyCode>>,
        site: Option<i32>,
    ) -> PyResult<()> {
        self.raises = code.is_none() || !tool.raises_locally;
        if self.raises {
            RAISES.open(py, tool)?;
        }
        if let Some(code) = code {
            self.stop_in(tool, code, site)?;
        }
        Ok(())
    }

    fn stop_in(&mut self, tool: &Tool, code: &Bound<'_, PyCode>, site: Option<i32>) -> PyResult<()> {
        codes::stop(code)?;
        self.at = At::Instruction(code.clone().unbind(), site);
        codes::prepare(tool, code)?;
        codes::apply(tool, code)
    }

    /// The learned site at which the step is aside.
    pub fn site<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyCode>, i32)> {
        match &self.at {
            At::Return(code, offset) | At::Instruction(code, Some(offset)) => Some((code.bind(py).clone(), *offset)),
            At::Instruction(_, None) | At::Nowhere => None,
        }
    }

    /// Closes the gates: the step has come back. Everything is closed, also where some of it fails.
    pub fn close(mut self, py: Python<'_>) -> PyResult<()> {
        self.close_each(py)
    }

    fn close_each(&mut self, py: Python<'_>) -> PyResult<()> {
        let (at, raises, starts) = (mem::take(&mut self.at), mem::take(&mut self.raises), mem::take(&mut self.starts));
        if self.generation != generation() {
            return Ok(());
        }
        let Some(tool) = tool::claimed(py) else { return Ok(()) };
        if starts {
            STARTS.close();
        }
        if raises {
            RAISES.close();
        }
        match at {
            At::Nowhere => Ok(()),
            At::Instruction(code, _) => codes::go_on(tool, code.bind(py)),
            At::Return(code, offset) => codes::come_back(tool, code.bind(py), offset),
        }
    }

    /// In a forked child, whose forking thread has this value: opens the same once more.
    pub fn reopen(self, py: Python<'_>) -> PyResult<Self> {
        let may_call_python = self.starts;
        let need = match &self.at {
            At::Return(code, offset) => {
                Need::Learned { code: code.bind(py), offset: *offset, event: Event::Call, may_call_python }
            }
            At::Instruction(code, _) => Need::Stop { code: Some(code.bind(py)), may_call_python },
            At::Nowhere if self.raises => Need::Stop { code: None, may_call_python },
            At::Nowhere => return Ok(Self::none()),
        };
        Self::open(py, &need)
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        if matches!(self.at, At::Nowhere) && !self.raises && !self.starts {
            return;
        }
        ffi::attach_quietly(|py| {
            if let Err(error) = self.close_each(py) {
                outbox::leave("failed", move |details| details.set_item("error", error.value(details.py())));
            }
        });
    }
}

/// How often gates of all code were needed, if one is open though nobody needs it any more. Needs no GIL.
pub fn left_open() -> Option<u64> {
    everywhere::left()
}

/// Closes what is open though nobody needs it.
pub fn settle(py: Python<'_>) -> PyResult<()> {
    let Some(tool) = tool::claimed(py) else { return Ok(()) };
    everywhere::settle(py, tool)
}

/// In a forked child: all gates are closed, until the record that is left opens its own anew.
pub fn after_fork(py: Python<'_>) -> PyResult<()> {
    let Some(tool) = tool::claimed(py) else { return Ok(()) };
    everywhere::after_fork(py, tool).and(codes::after_fork(py, tool))
}
