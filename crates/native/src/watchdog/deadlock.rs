//! Steps that wait for each other for ever: what the watchdog sees of them, and what it does.
//! `everloop_core::watchdog::Deadlock` says what proves it.

use super::snapshot::Snapshot;
use crate::aside::Reason;
use crate::event_loop::LoopCore;
use crate::ffi;
use crate::handoff::{deadlock, debugger};
use crate::member::Member;
use crate::outbox;
use crate::own_threads::is_own;
use everloop_core::sync::lock;
use everloop_core::sys::{self, Activity};
use everloop_core::turn::Wait;
use everloop_core::watchdog::{Standing, Thread};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;

/// The most steps that are told of one by one.
const MOST: usize = 10;

/// Looks at a loop that sleeps, and at all threads of the process. The GIL is held.
pub fn look(core: &Bound<'_, LoopCore>) -> PyResult<Standing> {
    let members = members(core);
    let numbers = if waits(core, &members)? { sys::thread_numbers() } else { None };
    let own = sys::thread_number();
    let look_at = |number: u32| {
        let is_stuck = || sys::waits_without_end(number);
        match members.iter().find(|member| member.thread == number) {
            None if number == own || is_own(number) => Thread::Idle,
            Some(member) if member.aside_reason().is_none() => Thread::Idle, // it sleeps in the poll, or is spare
            Some(member) if waits_for_others(member) && is_stuck() => Thread::Stuck(member.aside_serial()),
            None if is_stuck() => Thread::Stuck(None),
            _ => Thread::Free,
        }
    };
    let waits = numbers.is_some();
    Ok(Standing { waits, threads: numbers.unwrap_or_default().into_iter().map(look_at).collect() })
}

fn members(core: &Bound<'_, LoopCore>) -> Vec<Arc<Member>> {
    lock(&core.get().threads.members).values().cloned().collect()
}

/// True if the step of a member is aside, and needs nothing of its loop to go on.
fn waits_for_others(member: &Member) -> bool {
    matches!(member.aside_reason(), Some(Reason::Blocking | Reason::Rescued | Reason::Learned))
}

/// True if a loop sleeps in the poll, and there is nothing that it waits for there. A file that is watched is something,
/// and a signal that the program has a handler for, which may do anything.
fn waits(core: &Bound<'_, LoopCore>, members: &[Arc<Member>]) -> PyResult<bool> {
    let py = core.py();
    let this = core.get();
    let baton = this.baton();
    let holder = baton.holder();
    let sleeps =
        |member: &Member| matches!(sys::activity(member.thread), Activity::Waits(_)) && !member.runs_python(py);
    let waits = baton.is_polling()
        && !baton.is_wanted()
        && !baton.has_patients()
        && members.iter().any(|member| Some(member.id()) == holder && sleeps(member))
        && ffi::peek(&this.queues.turn, py, |turn| turn.wait() == Wait::Forever) == Some(true)
        && !this.queues.inbox.is_filled()
        && !this.watches_for_program()
        && !ffi::awaits_signals();
    if !waits {
        return Ok(false);
    }
    // Nobody's session is written into, nor ended.
    for member in members {
        if debugger::is_at(py, member)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The steps of a loop wait for each other for ever: that is reported, and home's gets an error, if it is one of them
/// and can get one.
pub fn end(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    let mut stuck: Vec<_> =
        members(core).into_iter().filter_map(|member| Some((!member.home, member.aside_serial()?, member))).collect();
    stuck.sort_by_key(|(is_relief, serial, _)| (*is_relief, *serial));
    let count = stuck.len();
    let steps: PyResult<Vec<_>> = stuck.iter().take(MOST).map(|(.., member)| Snapshot::take(core, member)).collect();
    let steps = Arc::new(steps?);
    let reported = Arc::clone(&steps);
    let raised = stuck.first().is_some_and(|(_, serial, member)| {
        member.home && deadlock::raise_in_home(member, *serial, move |details| tell(details, &steps, count))
    });
    outbox::leave("deadlock", move |details| {
        tell(details, &reported, count)?;
        details.set_item("raised", raised)
    });
    Ok(())
}

fn tell(details: &Bound<'_, PyDict>, steps: &[Snapshot], count: usize) -> PyResult<()> {
    let told = steps.iter().map(|step| {
        let told = PyDict::new(details.py());
        step.tell(&told).map(|()| told)
    });
    details.set_item("steps", told.collect::<PyResult<Vec<_>>>()?)?;
    details.set_item("count", count)
}
