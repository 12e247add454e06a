//! The code objects that have events of ours, and what each one has them for.
//!
//! - Steps are stopped in it: INSTRUCTION events, and RAISE events where one code object can have those. The code is
//!   changed in place, so the next instruction of the blocked frame is a gate. Other frames of the same code pass it.
//! - Steps are away at calls in it, or it has learned calls: CALL, C_RETURN and C_RAISE events. The other calls of the
//!   function are silenced one by one (`DISABLE`), and with its CALL a place loses its C_RETURN too. So a site that is
//!   forgotten while steps are away there stays as it is, until they are back.
//! - C code at a learned site has called it, and may block once it returns or yields: PY_RETURN and PY_YIELD events.
//! - It has learned sites of other kinds: INSTRUCTION events, silenced in the same way. All of them speak again when a
//!   step is to be stopped in the code.

use super::tool::Tool;
use crate::ffi;
use crate::origin::{Origin, origin};
use everloop_core::sites::{Event, Sites};
use everloop_core::sync::{Mutex, lock};
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyWeakrefMethods, PyWeakrefReference};
use std::collections::HashMap;
use std::mem;

/// One code object that has events, or learned sites.
pub struct Code {
    /// Weak: what is learned keeps no code alive. While steps are stopped or away in it, their gates do.
    code: Py<PyWeakrefReference>,
    /// The number of steps that are stopped in frames of this code: rescued, or probed.
    stopped: usize,
    /// The offsets of the calls at which steps are away, each as often as there are steps: learned sites, or forgotten
    /// since.
    away: Vec<i32>,
    /// True if some of its instructions are silenced.
    is_silenced: bool,
    /// Its learned sites.
    pub sites: Sites,
    /// True if it is the program's, or of one of its packages.
    pub is_programs: bool,
    /// True if C code at a learned site has called it.
    pub is_called_back: bool,
    /// True once other tools do not spoil our events in it ([`Tool::prepare`]): for as long as it lives.
    is_prepared: bool,
}

impl Code {
    fn new(code: &Bound<'_, PyCode>) -> PyResult<Self> {
        let is_programs = origin(code)? == Origin::Program;
        let code = PyWeakrefReference::new(code)?.unbind();
        Ok(Self {
            code,
            stopped: 0,
            away: Vec::new(),
            is_silenced: false,
            sites: Sites::default(),
            is_programs,
            is_called_back: false,
            is_prepared: false,
        })
    }

    pub fn alive<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyCode>> {
        self.code.bind(py).upgrade_as().ok().flatten()
    }

    fn is_of(&self, code: &Bound<'_, PyCode>) -> bool {
        self.alive(code.py()).is_some_and(|alive| alive.is(code))
    }

    /// True if a step is away at this call.
    pub fn has_away(&self, offset: i32) -> bool {
        self.away.contains(&offset)
    }

    /// The events that it needs now.
    fn events(&self, tool: &Tool) -> u32 {
        let stops = tool.instruction | if tool.raises_locally { tool.raise } else { 0 };
        let calls = self.sites.has(Event::Call) || !self.away.is_empty();
        let instructions = self.sites.has(Event::Instruction);
        (if self.stopped > 0 { stops } else { 0 })
            | (if calls { tool.calls } else { 0 })
            | (if instructions { tool.instruction } else { 0 })
            | (if self.is_called_back { tool.ends } else { 0 })
    }

    /// Notes that one of its instructions is of no interest. False: all of them are, as steps are stopped in it.
    pub fn silence(&mut self) -> bool {
        self.is_silenced |= self.stopped == 0;
        self.stopped == 0
    }
}

/// All that is known of code objects.
#[derive(Default)]
pub struct Codes {
    /// By the address of the code object. Another one that is gone may have had the same address before.
    by_address: HashMap<usize, Code>,
    /// The number of uses of all learned sites: the time by which the site is found that was not used for longest.
    pub uses: u64,
}

impl Codes {
    #[inline]
    pub fn of(&mut self, code: &Bound<'_, PyCode>) -> Option<&mut Code> {
        self.by_address.get_mut(&ffi::address(code.as_any())).filter(|known| known.is_of(code))
    }

    pub fn all(&mut self) -> impl Iterator<Item = &mut Code> {
        self.by_address.values_mut()
    }
}

/// Changed with the GIL, and never locked while Python code could run: setting events may collect garbage, and so may
/// dropping what is taken out.
static CODES: Mutex<Option<Codes>> = Mutex::new(None);

/// Looks at what is known. `f` runs no Python code, and drops no reference.
pub fn with_codes<R>(f: impl FnOnce(&mut Codes) -> R) -> R {
    f(lock(&CODES).get_or_insert_with(Codes::default))
}

/// Has `f` change what is known of a code, which is nothing at first. `f` runs no Python code, and drops no reference.
pub fn with_code<R>(code: &Bound<'_, PyCode>, f: impl FnOnce(&mut Code, &mut u64) -> R) -> PyResult<R> {
    if with_codes(|codes| codes.of(code).is_none()) {
        let new = Code::new(code)?;
        let gone = with_codes(|codes| codes.by_address.insert(ffi::address(code.as_any()), new));
        drop(gone);
    }
    with_codes(|codes| {
        let known = codes.by_address.get_mut(&ffi::address(code.as_any()));
        Ok(f(known.expect("it is there, and we hold the GIL"), &mut codes.uses))
    })
}

/// Sets the events of one code object to what it needs now, and forgets it if there is nothing to remember.
pub fn apply(tool: &Tool, code: &Bound<'_, PyCode>) -> PyResult<()> {
    let (events, speaks_again, gone) = with_codes(|codes| {
        let Some(known) = codes.of(code) else { return (0, false, None) };
        let events = known.events(tool);
        let speaks_again = known.stopped > 0 && mem::take(&mut known.is_silenced);
        let is_forgotten = events == 0 && !known.is_prepared;
        let gone = if is_forgotten { codes.by_address.remove(&ffi::address(code.as_any())) } else { None };
        (events, speaks_again, gone)
    });
    drop(gone);
    if speaks_again {
        tool.set_local(code, events & !tool.instruction)?;
    }
    tool.set_local(code, events)
}

/// One more step is stopped in this code: the caller has to call [`go_on`], also where the next two fail afterwards.
pub fn stop(code: &Bound<'_, PyCode>) -> PyResult<()> {
    with_code(code, |known, _| known.stopped += 1)
}

/// No other tool spoils our events in this code from here on. [`apply`] comes next.
pub fn prepare(tool: &Tool, code: &Bound<'_, PyCode>) -> PyResult<()> {
    let is_prepared = with_code(code, |known, _| mem::replace(&mut known.is_prepared, true))?;
    if is_prepared { Ok(()) } else { tool.prepare(code) }
}

/// One of the steps that are stopped in this code goes on.
pub fn go_on(tool: &Tool, code: &Bound<'_, PyCode>) -> PyResult<()> {
    with_codes(|codes| {
        if let Some(known) = codes.of(code) {
            known.stopped = known.stopped.saturating_sub(1);
        }
    });
    apply(tool, code)
}

/// A step goes away at this call, at a learned site, which has its events already: the caller has to call
/// [`come_back`].
pub fn go_away(code: &Bound<'_, PyCode>, offset: i32) -> PyResult<()> {
    with_code(code, |known, _| known.away.push(offset))
}

/// A step that was away at this call has come back. The events of this code go with the last reason for them.
pub fn come_back(tool: &Tool, code: &Bound<'_, PyCode>, offset: i32) -> PyResult<()> {
    let is_last = with_codes(|codes| {
        let Some(known) = codes.of(code) else { return false };
        if let Some(at) = known.away.iter().position(|away| *away == offset) {
            known.away.swap_remove(at);
        }
        known.away.is_empty() && !known.sites.has(Event::Call)
    });
    if is_last { apply(tool, code) } else { Ok(()) }
}

/// Drops what is remembered of codes that are gone: functions that were defined anew, generated code.
pub fn forget_unused(py: Python<'_>) {
    let gone: Vec<_> = with_codes(|codes| codes.by_address.extract_if(|_, known| known.alive(py).is_none()).collect());
    drop(gone);
}

/// In a forked child: no step is stopped or away.
pub fn after_fork(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let changed: Vec<_> = with_codes(|codes| {
        let used = codes.all().filter(|known| known.stopped > 0 || !known.away.is_empty());
        let changed = used.filter_map(|known| {
            known.stopped = 0;
            known.away.clear();
            known.alive(py)
        });
        changed.collect()
    });
    changed.iter().try_for_each(|code| apply(tool, code))
}
