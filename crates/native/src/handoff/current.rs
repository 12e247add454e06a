//! The loops that the calling thread turns, and what it is in each.

use crate::aside::Reason;
use crate::event_loop::LoopCore;
use crate::member::Member;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    /// The loops that this thread turns, with what it is there. More than one: a step of each but the last turns the
    /// next, which asyncio forbids and some programs bring about.
    static CURRENT: RefCell<Vec<(Py<LoopCore>, Arc<Member>)>> = const { RefCell::new(Vec::new()) };
}

/// This thread begins to turn a loop.
pub fn enter(core: &Bound<'_, LoopCore>, member: &Arc<Member>) {
    CURRENT.with_borrow_mut(|all| all.push((core.clone().unbind(), Arc::clone(member))));
}

/// It no longer turns the loop that it has entered last.
pub fn leave() {
    let left = CURRENT.with_borrow_mut(Vec::pop);
    drop(left);
}

/// The loop that this thread turns, with what this thread is in it: also while its step is aside.
#[inline]
pub fn current<'py>(py: Python<'py>) -> Option<(Bound<'py, LoopCore>, Arc<Member>)> {
    CURRENT.with_borrow(|all| all.last().map(|(core, member)| (core.bind(py).clone(), Arc::clone(member))))
}

/// This thread, as a member of the loop that it turns.
pub fn current_member() -> Option<Arc<Member>> {
    CURRENT.with_borrow(|all| all.last().map(|(_, member)| Arc::clone(member)))
}

/// The reason why this thread's step is aside, if it turns a loop and its step is aside. Cheap: most callers learn that
/// there is nothing to do.
#[inline]
pub fn current_reason() -> Option<Reason> {
    CURRENT.with_borrow(|all| all.last()?.1.aside_reason())
}

/// True if this thread must not go on in one of its loops without passing a gate. Code that is not its step's may go
/// on.
#[inline]
pub fn is_gated() -> bool {
    CURRENT.with_borrow(|all| {
        all.iter().any(|(_, member)| member.is_gated()) && !all.iter().any(|(_, member)| member.is_ungated())
    })
}

/// The loops in which this thread must not go on.
pub fn gated<'py>(py: Python<'py>) -> Vec<(Bound<'py, LoopCore>, Arc<Member>)> {
    CURRENT.with_borrow(|all| {
        let gated = all.iter().filter(|(_, member)| member.is_gated());
        gated.map(|(core, member)| (core.bind(py).clone(), Arc::clone(member))).collect()
    })
}

/// True if this thread is in the middle of a step of a running everloop, and holds its baton.
#[pyfunction]
pub fn is_in_step() -> bool {
    CURRENT.with_borrow(|all| all.last().is_some_and(|(core, member)| core.get().baton().is_held_by(member.id())))
}

/// True if this thread turns one loop only, and `f` says so of what it is there.
#[inline]
pub fn is_alone(f: impl FnOnce(&Member) -> bool) -> bool {
    CURRENT.with_borrow(|all| if let [(_, member)] = &all[..] { f(member) } else { false })
}
