//! The hand-off: a step lets go of the baton in its middle, and takes it back before its next line of Python.
//!
//! The same two functions serve all four ways: [`release`] and [`resume`]. Both are called with the GIL held; `release`
//! by the thread whose step it is, or by the watchdog on its behalf while it is blocked without the GIL: then it runs no
//! Python code.

pub mod block_on;
pub mod blocking;
pub mod contexts;
mod frames;
pub mod pinning;
pub mod relief;
pub mod rescue;
pub mod sites;
pub mod tasks;

use crate::clock;
use crate::event_loop::LoopCore;
use crate::exit;
use crate::member::{Aside, Member, Reason, lock};
use crate::watchdog_sleep;
use everloop_core::baton::{After, Manner};
use everloop_core::wait::Wake;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyCode;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

thread_local! {
    /// The loops that this thread turns, with what it is there. More than one: a step of each but the last turns the next, which
    /// asyncio forbids and some programs bring about.
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

/// Why this thread's step is aside, if it turns a loop and is. Cheap: most callers learn that there is nothing to do.
#[inline]
fn current_reason() -> Option<Reason> {
    CURRENT.with_borrow(|all| all.last()?.1.aside_reason())
}

/// How long home sleeps at a time: a signal that arrives just before it falls asleep does not wake it.
pub const SIGNAL_CHECK: Duration = Duration::from_millis(200);

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A thread whose step is aside without its knowledge takes the baton back before it goes on. So it does for a step in which
/// it turns another loop: what that runs is part of the step.
fn gate(py: Python<'_>) -> PyResult<()> {
    let gated = CURRENT.with_borrow(|all| {
        all.iter().any(|(_, member)| member.is_gated()) && !all.iter().any(|(_, member)| member.is_ungated())
    });
    if gated { pass_gate(py) } else { Ok(()) }
}

#[cold]
fn pass_gate(py: Python<'_>) -> PyResult<()> {
    let all: Vec<_> = CURRENT.with_borrow(|all| {
        let gated = all.iter().filter(|(_, member)| member.is_gated());
        gated.map(|(core, member)| (core.clone_ref(py), Arc::clone(member))).collect()
    });
    for (core, member) in all {
        rescue::end_probe(py, &member)?;
        if let Some(Reason::Rescued | Reason::Learned) = member.aside_reason() {
            resume(core.bind(py), &member)?;
        }
    }
    Ok(())
}

/// Called when the interpreter looks up the current task of a loop: to enter a task, and to leave it. A step that has let go of
/// the baton must have it back for that, in C code that no other gate stops: its last object blocked as it was destroyed,
/// its coroutine is written in C, or it ended inside `blocking()`. Without it the task that is to be left is another one by now.
#[inline]
pub fn gate_of_tasks(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    if current_reason().is_none() { Ok(()) } else { pass_gate_of_tasks(core) }
}

#[cold]
fn pass_gate_of_tasks(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    let py = core.py();
    let Some((_, member)) = current(py).filter(|(current, member)| current.is(core) && !member.is_ungated()) else {
        return Ok(());
    };
    match member.aside_reason() {
        Some(Reason::Rescued | Reason::Learned) => gate(py),
        // Not what looks it up inside the block.
        Some(Reason::Blocking) if !member.runs_python(py) => resume(core, &member),
        _ => Ok(()),
    }
}

/// Whether this thread is in the middle of a step of a running everloop, and holds its baton.
#[pyfunction]
pub fn is_in_step() -> bool {
    CURRENT.with_borrow(|all| all.last().is_some_and(|(core, member)| core.get().baton().is_held_by(member.id())))
}

/// In a forked child: forgets the steps of all threads. Those of the thread that forked are remembered by [`keep_after_fork`].
pub fn after_fork(py: Python<'_>) -> PyResult<()> {
    frames::after_fork(py);
    sites::after_fork(py)
}

/// In a forked child: the step of this member, which is the forking thread's, is aside still.
pub fn keep_after_fork(py: Python<'_>, member: &Member) -> PyResult<()> {
    member.take_probe(); // its thread runs Python: it is here
    let Some((reason, gated, site)) = member.with_aside(|aside| {
        let site = aside.site.as_ref().map(|(code, offset)| (code.clone_ref(py), *offset));
        (aside.reason, aside.gated, site)
    }) else {
        return Ok(());
    };
    if gated {
        frames::watch(py);
    }
    match (reason, &site) {
        (Reason::Rescued, site) => sites::watch(py, site.as_ref().map(|(code, _)| code.bind(py)))?,
        (Reason::Learned, Some((code, offset))) => sites::note_away(code.bind(py), *offset)?,
        _ => {}
    }
    Ok(())
}

/// Puts the step of `member` aside. None: its thread does not hold the baton, or is the only one left. Else the number of this release.
///
/// `site` is where it comes back, `since` when it began to block; `gated` means that Python code which it calls from C
/// waits for the baton too.
pub fn release(
    core: &Bound<'_, LoopCore>,
    member: &Member,
    reason: Reason,
    site: Option<(Py<PyCode>, i32)>,
    since: u64,
    gated: bool,
    manner: Manner,
) -> PyResult<Option<u64>> {
    let py = core.py();
    let this = core.get();
    // A thread that is aside may have got the baton, and not yet know: what it runs until then is not its step. And a loop
    // that runs at the interpreter's exit has this thread only.
    if !this.baton().is_held_by(member.id()) || member.aside_reason().is_some() || exit::has_begun() {
        return Ok(None);
    }
    let pending = this.pending(member.id());

    // What belongs to the step goes with it, before anybody else can run one: we hold the GIL.
    tasks::leave(core, member);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    if gated {
        frames::watch(py);
    }
    let released = if since == 0 { 0 } else { clock::now() };
    member.put_aside(Aside { reason, site, since, released, task: None, serial, gated });
    let counters = &this.shared.counters;
    counters.aside.fetch_add(1, Ordering::Relaxed);
    // Before others run, who may look.
    let total = match reason {
        Reason::Blocking | Reason::BlockOn => &counters.releases,
        Reason::Rescued => &counters.rescues,
        Reason::Learned => &counters.learned,
    };
    total.fetch_add(1, Ordering::Relaxed);
    if reason == Reason::BlockOn {
        this.shared.counters.in_block_on.fetch_add(1, Ordering::Relaxed);
    }
    this.shared.heartbeat.end_step();

    let after = this.baton().release(&member.waiter, manner, pending).unwrap_or(After::Nothing);
    if !this.after_release(after) {
        return Ok(Some(serial));
    }
    if reason == Reason::Rescued {
        relief::order(core)?; // by the watchdog
        return Ok(Some(serial));
    }
    match start_relief(core) {
        Ok(started) if reason == Reason::BlockOn && !started => relief::check_someone_returns(py, this)?,
        Ok(_) => {}
        // The step goes on, so it needs the baton: nobody would take it back otherwise.
        Err(error) if matches!(reason, Reason::Blocking | Reason::Learned) => {
            resume(core, member)?;
            if error.is_instance_of::<PyException>(py) {
                error.write_unraisable(py, Some(core)); // no thread is to be had: the loop waits for this call
                return Ok(None);
            }
            return Err(error); // a signal handler raised
        }
        // Its caller takes the baton back, or its thread will.
        Err(error) => return Err(error),
    }
    Ok(Some(serial))
}

/// Starts a relief thread. Where a step's own thread does that, the Python code of it is not the step's: no gate stops it.
fn start_relief(core: &Bound<'_, LoopCore>) -> PyResult<bool> {
    match current_member() {
        Some(member) => member.ungated(|| relief::start(core)),
        None => relief::start(core),
    }
}

/// Takes the baton back for this thread's step, waiting for the step that runs elsewhere to end.
///
/// # Errors
/// RuntimeError if the loop was closed meanwhile; the step is no longer aside then, and must end.
pub fn resume(core: &Bound<'_, LoopCore>, member: &Member) -> PyResult<()> {
    take_back(core, member, End::InStep)
}

/// Where a step that was aside comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    InStep,
    OfStep,
}

fn take_back(core: &Bound<'_, LoopCore>, member: &Member, end: End) -> PyResult<()> {
    let mut outcome = take_back_once(core, member, end);
    // What that ran may have let go of the GIL for so long that the watchdog put the step aside again.
    while matches!(member.aside_reason(), Some(Reason::Rescued)) {
        outcome = outcome.and(take_back_once(core, member, end));
    }
    outcome
}

fn take_back_once(core: &Bound<'_, LoopCore>, member: &Member, end: End) -> PyResult<()> {
    let py = core.py();
    let this = core.get();
    if this.baton().try_resume(&member.waiter) {
        return finish_resume(core, member, true, end);
    }
    let (granted, raised) = wait_granted(py, this, member, || this.baton().queue_resume(&member.waiter));
    let resumed = finish_resume(core, member, granted, end);
    match raised {
        None => resumed,
        // The step is over, so its loop must raise it.
        Some(error) if end == End::OfStep && granted => {
            keep_fatal(this, error);
            resumed
        }
        Some(error) => Err(error),
    }
}

/// Something to be raised by `run_forever`, once home is back in it.
pub fn keep_fatal(this: &LoopCore, error: PyErr) {
    let replaced = lock(&this.fatal).replace(error);
    drop(replaced);
}

/// Waits until the baton comes, or the loop is closed (false). `queue` is called first, and tells whether it came at once.
///
/// The step that has it may take long. Home, which may be the interpreter's main thread, runs signal handlers meanwhile;
/// what the first of them raised comes back too, for the baton must be here before anything is raised.
pub fn wait_granted(
    py: Python<'_>,
    this: &LoopCore,
    member: &Member,
    queue: impl FnOnce() -> bool + Send,
) -> (bool, Option<PyErr>) {
    let mut raised = None;
    let mut outcome = member.without_gil(py, || if queue() { Some(true) } else { sleep_for_grant(this, member) });
    loop {
        if let Some(granted) = outcome {
            return (granted, raised);
        }
        if let Err(error) = member.ungated(|| py.check_signals()) {
            raised.get_or_insert(error);
        }
        outcome = member.without_gil(py, || sleep_for_grant(this, member));
    }
}

/// Sleeps until the baton comes (true) or the loop is closed (false). None: look whether there was a signal. Without the GIL.
fn sleep_for_grant(this: &LoopCore, member: &Member) -> Option<bool> {
    while !this.baton().is_granted(&member.waiter) {
        if this.is_closed() && this.baton().cancel_resume(&member.waiter) {
            return Some(false);
        }
        let woken = member.waiter.parker().park_briefly(member.home.then_some(SIGNAL_CHECK));
        if member.home && woken != Wake::Unparked && !this.baton().is_granted(&member.waiter) {
            return None;
        }
    }
    Some(true)
}

/// What is left to do once the baton is here, or will never be.
fn finish_resume(core: &Bound<'_, LoopCore>, member: &Member, granted: bool, end: End) -> PyResult<()> {
    let this = core.get();
    let Some(aside) = member.take_aside() else { return Ok(()) };
    this.shared.counters.aside.fetch_sub(1, Ordering::Relaxed);
    if aside.reason == Reason::BlockOn {
        this.shared.counters.in_block_on.fetch_sub(1, Ordering::Relaxed);
    }
    if granted {
        // Perhaps from a thread that sleeps in the poll, where nobody needs watching.
        watchdog_sleep::wake();
        this.shared.heartbeat.begin_step();
        let deferred = std::mem::take(&mut *lock(&this.deferred));
        this.turn.with(this.baton(), member.id(), |turn| {
            deferred.into_iter().rev().for_each(|handle| turn.push_front(handle))
        });
        this.unmute();
    }
    let entered = match aside.task {
        _ if !granted => Ok(()),
        None => tasks::make_room(core, member),
        // Between two steps there is no current task: that one has ended.
        Some(_) if end == End::OfStep => tasks::make_room(core, member),
        Some(task) => tasks::make_room(core, member).and_then(|()| tasks::put_back(core, task)),
    };
    if aside.gated {
        frames::unwatch(core.py());
    }
    match (aside.reason, aside.site) {
        (Reason::Rescued, site) => sites::unwatch(core.py(), site)?,
        (Reason::Learned, Some((code, offset))) => sites::note_back(code.bind(core.py()), offset)?,
        _ => {}
    }
    entered?;
    if granted { Ok(()) } else { Err(PyRuntimeError::new_err("Event loop is closed")) }
}

/// The end of a step is a gate: a step that was blocked in its last instruction, or ended inside `blocking()`, takes the
/// baton back here. False: the loop was closed, there is none.
#[cold]
pub fn end_of_step(core: &Bound<'_, LoopCore>, member: &Member) -> bool {
    member.aside_reason().is_some() && take_back(core, member, End::OfStep).is_ok()
}
