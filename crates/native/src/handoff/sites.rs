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

use super::{current, current_kind, frames, gate, release, resume};
use crate::clock;
use crate::exit;
use crate::ffi;
use crate::place::{Kind, lock};
use everloop_core::baton::Manner;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyCode;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// The tool ids that PEP 669 leaves to anybody; 0 to 2 belong to debuggers, coverage and profilers.
const TOOL_IDS: [u8; 3] = [4, 3, 5];
/// A call at a learned site that returns sooner did not block, in nanoseconds.
const SHORT_CALL: u64 = 100_000;
/// After so many short calls in a row a site is forgotten.
const SHORT_CALLS: u32 = 16;

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
}

static TOOL: PyOnceLock<Option<Tool>> = PyOnceLock::new();

struct Code {
    code: Py<PyCode>,
    /// How many steps are blocked in frames of this code.
    blocked: usize,
    /// Learned offsets, each with its run of short calls.
    learned: HashMap<i32, u32>,
    /// Offsets at whose calls steps are aside, with their number: C_RETURN must come there, learned or not.
    away: HashMap<i32, usize>,
}

#[derive(Default)]
struct Sites {
    codes: HashMap<usize, Code>,
    /// How many steps are rescued that need RAISE events of all code: they are on while there are any.
    raising: usize,
}

/// Changed under the GIL, and never locked while Python code could run: setting events may collect garbage.
static SITES: Mutex<Option<Sites>> = Mutex::new(None);

fn with_sites<R>(f: impl FnOnce(&mut Sites) -> R) -> R {
    f(lock(&SITES).get_or_insert_with(Sites::default))
}

/// How many sites are learned.
pub fn learned_count() -> usize {
    with_sites(|sites| sites.codes.values().map(|code| code.learned.len()).sum())
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
    Ok(Some(Tool {
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
        let key = ffi::address(code.as_any());
        let (events, gone) = with_sites(|sites| {
            let Some(entry) = sites.codes.get(&key) else { return (0, None) };
            let mut events = 0;
            if entry.blocked > 0 {
                events |= self.instruction | if self.raises_locally { self.raise } else { 0 };
            }
            if !entry.learned.is_empty() || !entry.away.is_empty() {
                events |= self.calls;
            }
            (events, if events == 0 { sites.codes.remove(&key) } else { None })
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

fn entry<'s>(sites: &'s mut Sites, code: &Bound<'_, PyCode>) -> &'s mut Code {
    sites.codes.entry(ffi::address(code.as_any())).or_insert_with(|| Code {
        code: code.clone().unbind(),
        blocked: 0,
        learned: HashMap::new(),
        away: HashMap::new(),
    })
}

/// The next instruction of this code is a gate, for the thread that is about to be rescued in it.
pub fn watch(py: Python<'_>, code: Option<&Bound<'_, PyCode>>) -> PyResult<()> {
    let Some(tool) = tool(py)? else { return Ok(()) };
    let everywhere = tool.raises_everywhere(code);
    let first = with_sites(|sites| {
        if let Some(code) = code {
            entry(sites, code).blocked += 1;
        }
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
        if let Some((code, _)) = &site {
            let entry = entry(sites, code.bind(py));
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
    if !is_call(code, offset)? {
        return Ok(());
    }
    let new = with_sites(|sites| entry(sites, code).learned.insert(offset, 0).is_none());
    if new {
        // A location that was silenced stays silent until its events are set anew.
        tool.monitoring.call_method1(py, "set_local_events", (tool.id, code, 0))?;
        tool.apply(code)?;
    }
    Ok(())
}

fn is_call(code: &Bound<'_, PyCode>, offset: i32) -> PyResult<bool> {
    static CALLS: PyOnceLock<Vec<u8>> = PyOnceLock::new();
    let py = code.py();
    let calls = CALLS.get_or_try_init(py, || {
        let names = py.import("opcode")?.getattr("opmap")?;
        let known = ["CALL", "CALL_KW", "CALL_FUNCTION_EX"].into_iter();
        known.filter_map(|name| names.get_item(name).ok()).map(|opcode| opcode.extract()).collect::<PyResult<Vec<u8>>>()
    })?;
    let bytecode = code.getattr("co_code")?;
    let bytecode: &[u8] = bytecode.extract()?;
    Ok(usize::try_from(offset).ok().and_then(|at| bytecode.get(at)).is_some_and(|opcode| calls.contains(opcode)))
}

/// Notes how long a call at a learned site took: after some short ones it is no longer one.
fn note_duration(code: &Bound<'_, PyCode>, offset: i32, nanoseconds: u64) {
    with_sites(|sites| {
        let Some(entry) = sites.codes.get_mut(&ffi::address(code.as_any())) else { return };
        let Some(short) = entry.learned.get_mut(&offset) else { return };
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

fn standing(code: &Bound<'_, PyCode>, offset: i32) -> Standing {
    with_sites(|sites| match sites.codes.get(&ffi::address(code.as_any())) {
        Some(entry) if entry.learned.contains_key(&offset) => Standing::Learned,
        Some(entry) if entry.away.contains_key(&offset) => Standing::Away,
        _ => Standing::Unknown,
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
        && let Some((core, place)) = current(py)
        && core.get().shared.rescue.load(Ordering::Relaxed)
    {
        let site = (code.clone().unbind(), offset);
        let gated = !frames::is_leaf(callable);
        if !core.get().baton().is_held_by(place.id()) || exit::has_begun() {
            return Ok(None); // `release` would refuse
        }
        note_away(code, offset);
        release(&core, &place, Kind::Learned, Some(site), clock::now(), gated, Manner::Quiet)?;
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
    if current_kind() != Some(Kind::Learned) {
        return gate(py);
    }
    let Some((core, place)) = current(py) else { return Ok(()) };
    let since = if place.is_aside_at(code, offset) { place.aside_since() } else { None };
    if let Some(since) = since {
        note_duration(code, offset, clock::now().saturating_sub(since));
    }
    resume(&core, &place)
}

/// Forgets every learned site: what blocks is found out anew.
#[pyfunction]
pub fn forget_sites(py: Python<'_>) -> PyResult<()> {
    let Some(Some(tool)) = TOOL.get(py) else { return Ok(()) };
    let codes: Vec<Py<PyCode>> = with_sites(|sites| {
        sites.codes.values_mut().for_each(|entry| entry.learned.clear());
        sites.codes.values().map(|entry| entry.code.clone_ref(py)).collect()
    });
    codes.iter().try_for_each(|code| tool.apply(code.bind(py)))
}

/// A step goes aside at this call.
fn note_away(code: &Bound<'_, PyCode>, offset: i32) {
    with_sites(|sites| *entry(sites, code).away.entry(offset).or_default() += 1);
}

/// It has come back. The events of this code go with the last reason for them.
pub fn note_back(code: &Bound<'_, PyCode>, offset: i32) -> PyResult<()> {
    let last = with_sites(|sites| {
        let Some(entry) = sites.codes.get_mut(&ffi::address(code.as_any())) else { return false };
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

/// Drops what is remembered of codes that nobody else refers to any more: functions that were defined anew.
pub fn forget_unused(py: Python<'_>) {
    let garbage: Vec<Code> = with_sites(|sites| {
        let unused: Vec<usize> = sites
            .codes
            .iter()
            .filter(|(_, entry)| entry.blocked == 0 && entry.away.is_empty() && ffi::is_unshared(entry.code.bind(py)))
            .map(|(key, _)| *key)
            .collect();
        unused.into_iter().filter_map(|key| sites.codes.remove(&key)).collect()
    });
    drop(garbage);
}
