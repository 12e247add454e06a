//! The hand-off: a step lets go of the baton in its middle, and takes it back before its next line of Python.
//!
//! # The way of a blocked step
//!
//! Each line calls the next, and comes back by none but the one that it was called from.
//!
//! 1. A step blocks. Somebody notices: the step says so (`blocking.rs`, `block_on.rs`), it comes to a learned site
//!    (`events.rs`), or the watchdog finds it (`rescue.rs`).
//! 2. Where the step does not know of it, [`Gates::open`] opens what will stop it (`gates/`).
//! 3. [`release`] puts it aside: its record goes into its thread's [`Member`], its task may be moved out of the way
//!    (`tasks.rs`), the heartbeat says that no step runs, and the baton is given up.
//! 4. If nobody is there to take the baton, a relief thread is started (`relief.rs`). It turns the loop
//!    (`driver/run.rs`).
//! 5. The blocked call ends, and its thread comes to a gate, to the end of its block, or to the end of its step.
//! 6. [`resume`] takes the baton back: at once if it lies there, else it queues, and waits for the step that runs
//!    elsewhere to end (`grant.rs`).
//! 7. The step is the one that runs again: the record is taken, the heartbeat is odd, its task is the current one, and
//!    its gates are closed.
//!
//! # Who may touch what
//!
//! [`release`] and [`resume`] are called with the GIL. `resume` by the thread whose step it is; `release` by that too,
//! or by the watchdog on its behalf, while it is blocked without the GIL: then it runs no Python code. A step that is
//! aside owns nothing of the loop: whoever needs the queues must hold the baton, and a step in `blocking()` that calls
//! into the loop goes through the inbox, as any other thread.
//!
//! All that belongs to the step goes aside before the baton is given up, while we hold the GIL: no other step can run
//! in between. Coming back it is the other way round: first the baton, then the heartbeat, the task and the gates.
//!
//! # Races, and what decides them
//!
//! - *The call is over at once.* A quiet release and its return are one compare-and-swap each; the sentinel takes a
//!   baton only that has lain there for two looks. Whoever comes second sees it, and waits or goes.
//! - *The step wakes while it is rescued.* It needs the GIL to run Python, and the watchdog has it: until the gates are
//!   open and the record is written. It is rescued only with a proof that it was inside a call.
//! - *The baton is here, and its thread does not know yet.* A grant is made under the baton's lock, while the thread
//!   may be running a signal handler. Until it has taken its record it counts as aside: [`may_release`] refuses a
//!   second release.
//! - *It is put aside again while it comes back.* What `resume` runs may let go of the GIL for so long that the
//!   watchdog rescues it: it goes round once more.
//! - *A signal handler raises while it waits.* The error is kept until the baton is here, as whoever handles it is the
//!   step.
//! - *A signal comes just before the call begins,* at home: its Python handler is the main thread's to run, and the
//!   call does not end for it. The loop hears of the signal, and interrupts the call (`signals.rs`).
//! - *It blocks in asyncio's own code,* which looks at something and then acts on it: it is not put aside there
//!   (`asyncio_code.rs`).
//! - *The loop is closed while it is aside.* There is no baton any more: the step gets RuntimeError, and must end.
//! - *No relief thread is to be had.* The baton lies free until the step comes back; the watchdog asks for a thread
//!   again and again, as past the bound. A step in `block_on` may wait for what only such a thread would do: where
//!   nobody else is aside who could come back, it raises after a while. On a loop that the watchdog does not watch, the
//!   step takes the baton back at once, and blocks its loop, or raises.
//!
//! # What was tried, and what would change it
//!
//! - The current task was moved with each release: `blocking()` cost 2 microseconds instead of 1. Now whoever runs a
//!   step next moves it.
//! - The error of leaving a task without the baton was swallowed: an eager task swaps without looking, and took another
//!   step's task. So looking up the current task is a gate. A `__hash__` method of the loop would do for that, and cost
//!   every step of a task; so it is a slot of the class, filled at the first release.
//! - CPython 3.14 keeps the current task of each thread apart. Once that is the oldest version, `tasks.rs` and its gate
//!   go.
//! - An interpreter that tells when a thread is about to run Python again would take the place of all gates.

pub mod asyncio_code;
pub mod block_on;
pub mod blocking;
pub mod contexts;
mod current;
pub mod deadlock;
pub mod debugger;
pub mod division;
pub mod events;
mod grant;
pub mod pinning;
pub mod relief;
pub mod rescue;
mod signals;
pub mod tasks;
pub mod whole;

pub use current::{enter, is_in_step, leave};
pub use grant::{SIGNAL_CHECK, wait_granted};

use crate::aside::{Aside, AsideTimes, Back, Reason};
use crate::clock;
use crate::event_loop::LoopCore;
use crate::exit;
use crate::gates::{self, Gates, sites};
use crate::member::Member;
use crate::watchdog_sleep;
use current::{current, current_member, current_reason, gated, is_gated};
use everloop_core::baton::After;
use everloop_core::sync::lock;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the next release.
static SERIAL: AtomicU64 = AtomicU64::new(1);

// ---- release

/// True if the step of `member` can be put aside now. A thread that is aside may have got the baton, and not yet know:
/// what it runs until then is not its step. And a loop that runs at the interpreter's exit has this thread only.
#[inline]
pub fn may_release(core: &Bound<'_, LoopCore>, member: &Member) -> bool {
    core.get().baton().is_held_by(member.id()) && member.aside_reason().is_none() && !exit::has_begun()
}

/// Puts the step of `member` aside, which began to block at `since` (0: nobody asks), and has `gates` open. Returns the
/// number of this release. None: it cannot be put aside now, and the gates are closed.
pub fn release(
    core: &Bound<'_, LoopCore>,
    member: &Member,
    reason: Reason,
    since: u64,
    gates: Gates,
) -> PyResult<Option<u64>> {
    let this = core.get();
    let heard = signals::hear(core, member, reason);
    if heard.is_err() || !may_release(core, member) {
        return gates.close(core.py()).and(heard).map(|()| None);
    }
    let pending = this.pending(member.id());
    let serial = put_aside(core, member, reason, since, gates);
    let after = this.baton().release(&member.waiter, reason.manner(), pending).unwrap_or(After::Nothing);
    if this.after_release(after) {
        this.shared.counters.begin_standstill();
        if !find_relief(core, member, reason)? {
            return Ok(None);
        }
    }
    Ok(Some(serial))
}

/// Moves what belongs to the step out of the loop, before anybody else can run one: we hold the GIL.
fn put_aside(core: &Bound<'_, LoopCore>, member: &Member, reason: Reason, since: u64, gates: Gates) -> u64 {
    tasks::leave(core, member, gate_of_tasks);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let released = if since == 0 { 0 } else { clock::now() };
    let own = AsideTimes { since, released, serial };
    // At a learned site it may go on with the wait that brought it here before.
    let is_learned = reason == Reason::Learned;
    let before = if is_learned { member.back(core.get().shared.heartbeat.tick(), released) } else { None };
    let first = before.map_or(own, |back| back.first);
    member.put_aside(Aside { reason, since, released, task: None, gates, serial, first });

    // The counts are set before other steps run, which may look at them.
    let shared = &core.get().shared;
    let counters = &shared.counters;
    counters.aside.fetch_add(1, Ordering::Relaxed);
    let total = match reason {
        Reason::Blocking | Reason::BlockOn => &counters.releases,
        Reason::Rescued => &counters.rescues,
        Reason::Learned => &counters.learned,
        Reason::Divided => &counters.divided,
    };
    total.fetch_add(1, Ordering::Relaxed);
    if reason == Reason::BlockOn {
        counters.in_block_on.fetch_add(1, Ordering::Relaxed);
    }
    shared.heartbeat.end_step();
    serial
}

/// Has a relief thread take the baton that nobody is there to take. False: none is to be had, and the step has it back.
fn find_relief(core: &Bound<'_, LoopCore>, member: &Member, reason: Reason) -> PyResult<bool> {
    if matches!(reason, Reason::Rescued | Reason::Divided) {
        // The watchdog asks, which runs no Python code; or a step in the middle of its lines, which has not called any.
        return relief::order(core).map(|()| true);
    }
    // The Python code that starts a thread is not the step's: no gate stops it.
    let is_refusal = |error: &PyErr| error.is_instance_of::<PyException>(core.py());
    let started = match current_member() {
        Some(own) => own.ungated(|| relief::start(core)),
        None => relief::start(core),
    };
    match (reason, started) {
        (_, Ok(_)) => Ok(true),
        // The watchdog asks again, unless this step comes back before.
        (_, Err(error)) if is_refusal(&error) && core.get().shared.watched.load(Ordering::Relaxed) => {
            relief::tell_refused(core, error.to_string()).map(|()| true)
        }
        // The caller of this function takes the baton back, or its thread will.
        (Reason::BlockOn, Err(error)) if is_refusal(&error) => Err(relief::nobody_for_block_on(core.py(), Some(error))),
        (Reason::BlockOn, Err(error)) => Err(error),
        // The step goes on, so it needs the baton: nobody would take it back otherwise.
        (_, Err(error)) => {
            resume(core, member)?;
            if !is_refusal(&error) {
                return Err(error); // a signal handler raised
            }
            error.write_unraisable(core.py(), Some(core)); // no thread is to be had: the loop waits for this call
            Ok(false)
        }
    }
}

// ---- resume

/// The place at which a step that was aside comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    InStep,
    OfStep,
}

/// Takes the baton back for this thread's step, waiting for the step that runs elsewhere to end.
///
/// # Errors
/// RuntimeError if the loop was closed meanwhile; the step is no longer aside then, and must end.
pub fn resume(core: &Bound<'_, LoopCore>, member: &Member) -> PyResult<()> {
    take_back(core, member, End::InStep)
}

/// Takes the baton back at the end of a step that was blocked in its last instruction, or ended inside `blocking()`:
/// that is a gate, too. False: the loop was closed, there is none.
#[cold]
pub fn end_of_step(core: &Bound<'_, LoopCore>, member: &Member) -> bool {
    member.aside_reason().is_some() && take_back(core, member, End::OfStep).is_ok()
}

fn take_back(core: &Bound<'_, LoopCore>, member: &Member, end: End) -> PyResult<()> {
    let mut outcome = take_back_once(core, member, end);
    // Coming back runs Python code, which may let go of the GIL for so long that the watchdog puts the step aside
    // again.
    while matches!(member.aside_reason(), Some(Reason::Rescued)) {
        outcome = outcome.and(take_back_once(core, member, end));
    }
    outcome
}

fn take_back_once(core: &Bound<'_, LoopCore>, member: &Member, end: End) -> PyResult<()> {
    let this = core.get();
    if this.baton().try_resume(&member.waiter) {
        return go_on(core, member, true, end);
    }
    // A step that need not wait reads no clock.
    let mut since = None;
    let (granted, raised) = wait_granted(core.py(), this, member, || {
        let came = this.baton().queue_resume(&member.waiter);
        since = (!came).then(clock::now);
        came
    });
    if let Some(since) = since.filter(|_| granted) {
        this.shared.counters.baton_waits.note(since);
    }
    let resumed = go_on(core, member, granted, end);
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

/// Keeps an error for `run_forever` to raise, once home is back in it.
pub fn keep_fatal(this: &LoopCore, error: PyErr) {
    let replaced = this.run.fatal.put(error);
    drop(replaced);
}

/// Goes on once the baton is here, in the step: for those who have waited for it themselves.
fn go_on_in_step(core: &Bound<'_, LoopCore>, member: &Member, granted: bool) -> PyResult<()> {
    go_on(core, member, granted, End::InStep)
}

/// Makes the step go on, once the baton is here or will never be.
fn go_on(core: &Bound<'_, LoopCore>, member: &Member, granted: bool, end: End) -> PyResult<()> {
    let this = core.get();
    let Some(aside) = member.take_aside() else { return Ok(()) };
    this.shared.counters.aside.fetch_sub(1, Ordering::Relaxed);
    if aside.reason == Reason::BlockOn {
        this.shared.counters.in_block_on.fetch_sub(1, Ordering::Relaxed);
    }
    if granted {
        begin_again(this, member);
        if aside.reason.needs_gates() && end == End::InStep {
            let in_pieces = aside.first.serial != aside.serial;
            let tick = this.shared.heartbeat.tick();
            member.note_back(Back { tick, at: clock::now(), first: aside.first, in_pieces });
        }
    }
    let entered = match aside.task {
        _ if !granted => Ok(()),
        // Between two steps there is no current task: that one has ended.
        Some(task) if end == End::InStep => tasks::make_room(core, member).and_then(|()| tasks::put_back(core, task)),
        _ => tasks::make_room(core, member),
    };
    aside.gates.close(core.py()).and(entered)?;
    if granted {
        return Ok(());
    }
    gates::settle(core.py())?; // nobody may look after this loop any more
    Err(PyRuntimeError::new_err("Event loop is closed"))
}

/// The step is the one that runs again. Called by the holder.
fn begin_again(this: &LoopCore, member: &Member) {
    // Perhaps the baton came from a thread that sleeps in the poll, where nobody needs watching.
    watchdog_sleep::wake();
    this.shared.counters.end_standstill();
    this.shared.turner.store(member.thread, Ordering::Relaxed);
    this.shared.heartbeat.begin_step();
    let deferred = std::mem::take(&mut *lock(&this.queues.deferred));
    this.queues
        .turn
        .with(this.baton(), member.id(), |turn| deferred.into_iter().rev().for_each(|handle| turn.push_front(handle)));
    this.rearm();
}

/// Takes the baton back for a step that was put aside without its knowledge: what blocked it is over.
fn come_back(core: &Bound<'_, LoopCore>, member: &Member) -> PyResult<()> {
    if let Some((code, offset, since)) = member.aside_at(core.py()) {
        sites::note_duration(&code, offset, clock::now().saturating_sub(since));
    }
    resume(core, member)
}

// ---- gates

/// Has a thread whose step is aside without its knowledge take the baton back before it goes on. The same holds for a
/// step in which it turns another loop: all that this other loop runs is part of the step.
fn gate(py: Python<'_>) -> PyResult<()> {
    if is_gated() { pass_gate(py) } else { Ok(()) }
}

#[cold]
fn pass_gate(py: Python<'_>) -> PyResult<()> {
    for (core, member) in gated(py) {
        member.end_probe(py)?;
        if member.aside_reason().is_some_and(Reason::needs_gates) {
            come_back(&core, &member)?;
        }
    }
    Ok(())
}

/// Called when the interpreter looks up the current task of a loop: to enter a task, and to leave it. A step that has
/// let go of the baton must have it back for that, in C code that no other gate stops: its last object blocked as it
/// was destroyed, its coroutine is written in C, or it ended inside `blocking()`. Without it the task that is to be
/// left is another one by now.
#[inline]
fn gate_of_tasks(loop_: &Bound<'_, PyAny>) -> PyResult<()> {
    if current_reason().is_none() { Ok(()) } else { pass_gate_of_tasks(loop_) }
}

#[cold]
fn pass_gate_of_tasks(loop_: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = loop_.py();
    let Some((core, member)) = current(py).filter(|(core, member)| core.is(loop_) && !member.is_ungated()) else {
        return Ok(());
    };
    match member.aside_reason() {
        Some(reason) if reason.needs_gates() => gate(py),
        // Python code inside the block may look the task up, and goes on without the baton.
        Some(Reason::Blocking) if !member.runs_python(py) => resume(&core, &member),
        _ => Ok(()),
    }
}
