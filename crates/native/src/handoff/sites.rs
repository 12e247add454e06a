//! Sites: where steps block, and how they are stopped there before their next instruction (`sys.monitoring`, PEP 669).
//!
//! - A code object in which a step was found blocked has INSTRUCTION events as long as that lasts: the code is changed in
//!   place, so the next instruction of the blocked frame is a gate. Other frames of the same code pass it.
//! - A call that fails leaves its frame without another instruction if nobody handles the error there: RAISE events. From
//!   CPython 3.15 on they are set for that code object alone. Before, they exist only for all code at once, and are on while
//!   any step is rescued.
//! - A learned site has CALL, C_RETURN and C_RAISE events; its function's other calls are silenced by DISABLE.
//!
//! Seen on CPython 3.12.1, 3.13.0, 3.14.8 and 3.15.0: events that are set while a call runs fire when that call returns.

use super::{current, current_reason, frames, gate, release, resume};
use crate::clock;
use crate::exit;
use crate::ffi;
use crate::member::{Reason, lock};
use everloop_core::baton::Manner;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCode, PyWeakrefMethods, PyWeakrefReference};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// The tool ids that PEP 669 leaves to anybody; 0 to 2 belong to debuggers, coverage and profilers.
const TOOL_IDS: [u8; 3] = [4, 3, 5];
/// A call at a learned site that returns sooner did not block, in nanoseconds.
const SHORT_CALL: u64 = 100_000;
/// After so many short calls in a row a site is forgotten.
const SHORT_CALLS: u32 = 16;
/// So many sites are learned at most: the one that has not been used for longest goes first.
const MOST_LEARNED: usize = 1024;

/// `sys.monitoring`, with the tool id that is ours.
struct Tool {
    monitoring: Py<PyAny>,
    id: u8,
    disable: Py<PyAny>,
    instruction: u32,
    /// CALL, C_RETURN and C_RAISE together.
    calls: u32,
    raise: u32,
    /// Whether RAISE can be set for one code object.
    raises_locally: bool,
    /// The instructions that are calls.
    call_opcodes: Vec<u8>,
}

static TOOL: PyOnceLock<Option<Tool>> = PyOnceLock::new();

struct Code {
    /// Weak: what is learned keeps no code alive. While steps are blocked or away in it, their frames do.
    code: Py<PyWeakrefReference>,
    /// How many steps are blocked in frames of this code.
    blocked: usize,
    /// Learned offsets.
    learned: HashMap<i32, Learned>,
    /// Offsets at whose calls steps are aside, with their number: C_RETURN must come there, learned or not.
    away: HashMap<i32, usize>,
}

impl Code {
    fn alive<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyCode>> {
        self.code.bind(py).upgrade_as().ok().flatten()
    }

    fn is_of(&self, code: &Bound<'_, PyCode>) -> bool {
        self.alive(code.py()).is_some_and(|alive| alive.is(code))
    }

    fn is_in_use(&self) -> bool {
        self.blocked > 0 || !self.away.is_empty()
    }
}

/// What is known of a learned site.
#[derive(Default)]
struct Learned {
    /// Its run of short calls.
    short: u32,
    /// When it was used last, in uses of any site.
    used: u64,
}

#[derive(Default)]
struct Sites {
    /// By address. The one that a code has may have been another's before, which is gone.
    codes: HashMap<usize, Code>,
    /// How many steps are rescued that need RAISE events of all code: they are on while there are any.
    raising: usize,
    /// How often a learned site has been used.
    uses: u64,
}

impl Sites {
    fn get(&mut self, code: &Bound<'_, PyCode>) -> Option<&mut Code> {
        self.codes.get_mut(&ffi::address(code.as_any())).filter(|entry| entry.is_of(code))
    }

    fn learned_count(&self) -> usize {
        self.codes.values().map(|code| code.learned.len()).sum()
    }

    /// Takes out what is remembered of codes that are gone: functions that were defined anew, generated code.
    fn take_dead(&mut self, py: Python<'_>) -> Vec<Code> {
        self.codes.extract_if(|_, entry| entry.alive(py).is_none()).map(|(_, entry)| entry).collect()
    }

    /// Forgets the learned site that has not been used for longest, and gives back its code. O(sites), of which there are few.
    fn forget_oldest<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, PyCode>> {
        let sites = self.codes.iter().flat_map(|(key, code)| code.learned.iter().map(move |at| (key, at)));
        let (&key, (&offset, _)) = sites.min_by_key(|(_, (_, learned))| learned.used)?;
        let entry = self.codes.get_mut(&key)?;
        entry.learned.remove(&offset);
        entry.alive(py)
    }
}

/// Changed under the GIL, and never locked while Python code could run: setting events may collect garbage.
static SITES: Mutex<Option<Sites>> = Mutex::new(None);

fn with_sites<R>(f: impl FnOnce(&mut Sites) -> R) -> R {
    f(lock(&SITES).get_or_insert_with(Sites::default))
}

/// How many sites are learned.
pub fn learned_count(py: Python<'_>) -> usize {
    forget_unused(py);
    with_sites(|sites| sites.learned_count())
}

/// Looks for what of the interpreter only rescue needs. False: something is not there, which is told.
#[pyfunction]
pub fn prepare_rescue(py: Python<'_>) -> bool {
    ffi::private::prepare_rescue(py).is_some()
}

/// Takes a tool id, once. False: none is free, and steps can only be reported, not rescued.
#[pyfunction]
pub fn claim_tool(py: Python<'_>) -> PyResult<bool> {
    tool(py).map(|tool| tool.is_some())
}

/// Whether one was taken. The watchdog asks this: to take one is Python code.
pub fn has_tool(py: Python<'_>) -> bool {
    TOOL.get(py).is_some_and(Option::is_some)
}

fn tool(py: Python<'_>) -> PyResult<Option<&Tool>> {
    TOOL.get_or_try_init(py, || make_tool(py)).map(Option::as_ref)
}

fn make_tool(py: Python<'_>) -> PyResult<Option<Tool>> {
    if !prepare_rescue(py) {
        return Ok(None);
    }
    let monitoring = py.import("sys")?.getattr("monitoring")?;
    let Some(id) = TOOL_IDS.into_iter().find(|id| monitoring.call_method1("use_tool_id", (*id, "everloop")).is_ok())
    else {
        return Ok(None);
    };
    let events = monitoring.getattr("events")?;
    let event = |name: &str| -> PyResult<u32> { events.getattr(name)?.extract() };
    let callbacks: [(&str, Bound<'_, PyAny>); 5] = [
        ("INSTRUCTION", wrap_pyfunction!(on_instruction, py)?.into_any()),
        ("RAISE", wrap_pyfunction!(on_raise, py)?.into_any()),
        ("CALL", wrap_pyfunction!(on_call, py)?.into_any()),
        ("C_RETURN", wrap_pyfunction!(on_c_return, py)?.into_any()),
        ("C_RAISE", wrap_pyfunction!(on_c_return, py)?.into_any()),
    ];
    for (name, callback) in callbacks {
        monitoring.call_method1("register_callback", (id, event(name)?, callback))?;
    }
    let opcodes = py.import("opcode")?.getattr("opmap")?;
    let call_opcodes =
        ["CALL", "CALL_KW", "CALL_FUNCTION_EX"].into_iter().filter_map(|name| opcodes.get_item(name).ok());
    Ok(Some(Tool {
        call_opcodes: call_opcodes.map(|opcode| opcode.extract()).collect::<PyResult<_>>()?,
        id,
        disable: monitoring.getattr("DISABLE")?.unbind(),
        instruction: event("INSTRUCTION")?,
        calls: event("CALL")? | event("C_RETURN")? | event("C_RAISE")?,
        raise: event("RAISE")?,
        raises_locally: py.version_info() >= (3, 15),
        monitoring: monitoring.unbind(),
    }))
}

impl Tool {
    /// Sets the events of one code object to what it needs now, and forgets it if that is nothing.
    fn apply(&self, code: &Bound<'_, PyCode>) -> PyResult<()> {
        let py = code.py();
        let (events, gone) = with_sites(|sites| {
            let Some(entry) = sites.get(code) else { return (0, None) };
            let mut events = 0;
            if entry.blocked > 0 {
                events |= self.instruction | if self.raises_locally { self.raise } else { 0 };
            }
            if !entry.learned.is_empty() || !entry.away.is_empty() {
                events |= self.calls;
            }
            (events, if events == 0 { sites.codes.remove(&ffi::address(code.as_any())) } else { None })
        });
        drop(gone);
        self.monitoring.call_method1(py, "set_local_events", (self.id, code, events))?;
        Ok(())
    }

    /// Whether RAISE must be set for all code, for a step that was rescued in this one.
    fn raises_everywhere<T>(&self, code: Option<&T>) -> bool {
        !self.raises_locally || code.is_none()
    }

    fn set_raise(&self, py: Python<'_>, on: bool) -> PyResult<()> {
        self.monitoring.call_method1(py, "set_events", (self.id, if on { self.raise } else { 0 }))?;
        Ok(())
    }
}

/// Has `f` change what is known of a code, which is nothing at first.
fn with_entry<R>(code: &Bound<'_, PyCode>, f: impl FnOnce(&mut Code) -> R) -> PyResult<R> {
    if with_sites(|sites| sites.get(code).is_none()) {
        let entry = Code {
            code: PyWeakrefReference::new(code)?.unbind(),
            blocked: 0,
            learned: HashMap::new(),
            away: HashMap::new(),
        };
        let gone = with_sites(|sites| sites.codes.insert(ffi::address(code.as_any()), entry));
        drop(gone);
    }
    Ok(with_sites(|sites| f(sites.get(code).expect("it is there, and we hold the GIL"))))
}

/// The next instruction of this code is a gate, for the thread that is about to be rescued in it.
pub fn watch(py: Python<'_>, code: Option<&Bound<'_, PyCode>>) -> PyResult<()> {
    let Some(tool) = tool(py)? else { return Ok(()) };
    let everywhere = tool.raises_everywhere(code);
    if let Some(code) = code {
        with_entry(code, |entry| entry.blocked += 1)?;
    }
    let first = with_sites(|sites| {
        sites.raising += usize::from(everywhere);
        everywhere && sites.raising == 1
    });
    if first {
        tool.set_raise(py, true)?;
    }
    code.map_or(Ok(()), |code| tool.apply(code))
}

/// A rescued step has come back.
pub fn unwatch(py: Python<'_>, site: Option<(Py<PyCode>, i32)>) -> PyResult<()> {
    let Some(tool) = tool(py)? else { return Ok(()) };
    let everywhere = tool.raises_everywhere(site.as_ref());
    let last = with_sites(|sites| {
        sites.raising = sites.raising.saturating_sub(usize::from(everywhere));
        if let Some(entry) = site.as_ref().and_then(|(code, _)| sites.get(code.bind(py))) {
            entry.blocked = entry.blocked.saturating_sub(1);
        }
        everywhere && sites.raising == 0
    });
    if last {
        tool.set_raise(py, false)?;
    }
    site.map_or(Ok(()), |(code, _)| tool.apply(code.bind(py)))
}

/// Remembers a site, if it is a call: from now on the hand-off happens there.
pub fn learn(code: &Bound<'_, PyCode>, offset: i32) -> PyResult<()> {
    let py = code.py();
    let Some(tool) = tool(py)? else { return Ok(()) };
    if !is_call(tool, code, offset)? {
        return Ok(());
    }
    let new = with_entry(code, |entry| entry.learned.insert(offset, Learned::default()).is_none())?;
    standing(code, offset); // it is used
    if new {
        // A location that was silenced stays silent until its events are set anew.
        tool.monitoring.call_method1(py, "set_local_events", (tool.id, code, 0))?;
        tool.apply(code)?;
        forget_surplus(py, tool)?;
    }
    Ok(())
}

/// Makes room, if there are too many sites.
fn forget_surplus(py: Python<'_>, tool: &Tool) -> PyResult<()> {
    let is_full = || with_sites(|sites| sites.learned_count() > MOST_LEARNED);
    if is_full() {
        forget_unused(py);
    }
    while is_full() {
        let Some(code) = with_sites(|sites| sites.forget_oldest(py)) else { continue };
        tool.apply(&code)?;
    }
    Ok(())
}

fn is_call(tool: &Tool, code: &Bound<'_, PyCode>, offset: i32) -> PyResult<bool> {
    let bytecode = code.getattr("co_code")?;
    let bytecode: &[u8] = bytecode.extract()?;
    Ok(usize::try_from(offset)
        .ok()
        .and_then(|at| bytecode.get(at))
        .is_some_and(|opcode| tool.call_opcodes.contains(opcode)))
}

/// Notes how long a call at a learned site took: after some short ones it is no longer one.
fn note_duration(code: &Bound<'_, PyCode>, offset: i32, nanoseconds: u64) {
    with_sites(|sites| {
        let Some(entry) = sites.get(code) else { return };
        let Some(Learned { short, .. }) = entry.learned.get_mut(&offset) else { return };
        *short = if nanoseconds < SHORT_CALL { *short + 1 } else { 0 };
        if *short >= SHORT_CALLS {
            entry.learned.remove(&offset);
        }
    });
}

/// What a call is to us.
enum Standing {
    Learned,
    /// Forgotten, but steps are aside there.
    Away,
    Unknown,
}

/// Where a call stands that is about to be made.
fn standing(code: &Bound<'_, PyCode>, offset: i32) -> Standing {
    with_sites(|sites| {
        sites.uses += 1;
        let now = sites.uses;
        let Some(entry) = sites.get(code) else { return Standing::Unknown };
        match entry.learned.get_mut(&offset) {
            Some(learned) => {
                learned.used = now;
                Standing::Learned
            }
            None if entry.away.contains_key(&offset) => Standing::Away,
            None => Standing::Unknown,
        }
    })
}

#[pyfunction]
fn on_instruction(py: Python<'_>, _code: &Bound<'_, PyAny>, _offset: i32) -> PyResult<()> {
    gate(py)
}

#[pyfunction]
fn on_raise(py: Python<'_>, _code: &Bound<'_, PyAny>, _offset: i32, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
    gate(py)
}

/// The hand-off at a learned site.
#[pyfunction]
fn on_call(
    py: Python<'_>,
    code: &Bound<'_, PyCode>,
    offset: i32,
    callable: &Bound<'_, PyAny>,
    _argument: &Bound<'_, PyAny>,
) -> PyResult<Option<Py<PyAny>>> {
    gate(py)?;
    match standing(code, offset) {
        Standing::Learned => {}
        Standing::Away => return Ok(None),
        Standing::Unknown => return Ok(tool(py)?.map(|tool| tool.disable.clone_ref(py))),
    }
    // Only for what ends with C_RETURN or C_RAISE, and runs no Python before.
    if ffi::is_c_function(callable)
        && let Some((core, member)) = current(py)
        && core.get().shared.rescue.load(Ordering::Relaxed)
    {
        let site = (code.clone().unbind(), offset);
        let gated = !frames::is_leaf(callable);
        // Where `release` would refuse nobody comes back, to be counted off.
        if !core.get().baton().is_held_by(member.id()) || member.aside_reason().is_some() || exit::has_begun() {
            return Ok(None);
        }
        note_away(code, offset)?;
        release(&core, &member, Reason::Learned, Some(site), clock::now(), gated, Manner::Quiet)?;
    }
    Ok(None)
}

#[pyfunction]
fn on_c_return(
    py: Python<'_>,
    code: &Bound<'_, PyCode>,
    offset: i32,
    _callable: &Bound<'_, PyAny>,
    _argument: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if current_reason() != Some(Reason::Learned) {
        return gate(py);
    }
    let Some((core, member)) = current(py) else { return Ok(()) };
    // The call of the step itself, or one of what runs beside it: the start of a relief thread, a signal handler.
    if member.is_ungated() {
        return Ok(());
    }
    let since = if member.is_aside_at(code, offset) { member.aside_since() } else { None };
    if let Some(since) = since {
        note_duration(code, offset, clock::now().saturating_sub(since));
    }
    resume(&core, &member)
}

/// Forgets every learned site: what blocks is found out anew.
#[pyfunction]
pub fn forget_sites(py: Python<'_>) -> PyResult<()> {
    let Some(Some(tool)) = TOOL.get(py) else { return Ok(()) };
    let codes = with_sites(|sites| {
        sites.codes.values_mut().for_each(|entry| entry.learned.clear());
        sites.codes.values().filter_map(|entry| entry.alive(py)).collect::<Vec<_>>()
    });
    codes.iter().try_for_each(|code| tool.apply(code))
}

/// A step goes aside at this call.
pub fn note_away(code: &Bound<'_, PyCode>, offset: i32) -> PyResult<()> {
    with_entry(code, |entry| *entry.away.entry(offset).or_default() += 1)
}

/// It has come back. The events of this code go with the last reason for them.
pub fn note_back(code: &Bound<'_, PyCode>, offset: i32) -> PyResult<()> {
    let last = with_sites(|sites| {
        let Some(entry) = sites.get(code) else { return false };
        if let Some(count) = entry.away.get_mut(&offset) {
            *count -= 1;
            if *count == 0 {
                entry.away.remove(&offset);
            }
        }
        entry.away.is_empty() && entry.learned.is_empty()
    });
    match TOOL.get(code.py()) {
        Some(Some(tool)) if last => tool.apply(code),
        _ => Ok(()),
    }
}

/// In a forked child the steps that were blocked or away are gone, and the events that waited for them.
pub fn after_fork(py: Python<'_>) -> PyResult<()> {
    let Some(Some(tool)) = TOOL.get(py) else { return Ok(()) };
    let (codes, raised) = with_sites(|sites| {
        let mut codes = Vec::new();
        for entry in sites.codes.values_mut().filter(|entry| entry.is_in_use()) {
            entry.blocked = 0;
            entry.away.clear();
            codes.extend(entry.alive(py));
        }
        (codes, std::mem::take(&mut sites.raising) > 0)
    });
    if raised {
        tool.set_raise(py, false)?;
    }
    codes.iter().try_for_each(|code| tool.apply(code))
}

/// Drops what is remembered of codes that are gone.
pub fn forget_unused(py: Python<'_>) {
    let garbage = with_sites(|sites| sites.take_dead(py));
    drop(garbage);
}
