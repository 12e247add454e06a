//! The state that a fork leaves behind, and the order in which locks may be taken.
//!
//! A fork copies the process, but of its threads only the one that forks. The child finds each lock as it was: one that
//! another thread held at that moment is held for ever. It also finds what other threads were in the middle of.
//!
//! # What this rests on
//!
//! 1. The thread that forks has the GIL (`os.fork` and its hooks). So a lock that is only ever taken by threads with
//!    the GIL, and never held while the GIL is let go of, is free in the child. That holds for all locks below but four
//!    kinds.
//! 2. *Replaced without a look* (`replace_after_fork`): the watchdog's list, the list of loops that run, what was last
//!    seen of a loop, the lines that have blocked, the numbers of pools, the outbox, the deputy's texts, and the queue of a
//!    baton.
//!    Threads without the GIL take these. What was in them is the parent's, so nothing of it is needed.
//! 3. *Held by nobody over the fork*, not by us either: other packages have hooks at a fork, which run between ours and
//!    the fork, and let go of the GIL. To hold locks meanwhile was tried: a thread that had the GIL by then waited for
//!    one of them for ever.
//! 4. *Left alone for ever:* what the watchdog remembers of a loop (`Watch`): nobody asks the child's copy for
//!    anything.
//! 5. *No lock at all on Linux:* parkers and the sleeps built on them are single words. On other systems a parker has a
//!    lock, which is held for the length of a few instructions.
//! 6. References that threads of the parent hold are never dropped in the child: an object that they were in the middle
//!    of is in no state to be destroyed. They leak (`mem::forget`).
//! 7. A thread that outlives a fork in its own frames (the one that forked) may still do what it had begun in the
//!    parent: give back a slot, end a call. Each such record has the number of the process generation, or is asked by
//!    its thread, and is taken without effect.
//!
//! # The order in which a child is put right
//!
//! First what the process has once, from the bottom of the layers to the top: signals of children, the interpreter's
//! end, the generation, the watchdog, the outbox, gates. Then each pool, then each loop: a loop schedules what had
//! waited for steps that are gone, which needs all of the above. An error does not keep the other parts from their
//! turn.
//!
//! # The order of locks
//!
//! No lock is held while Python code runs, while the GIL is waited for, or while a last reference may be dropped:
//! whoever takes something out of a lock drops it after it has let go. So nobody who waits for one of these waits for
//! the GIL or for Python code. A thread that holds one of these locks may take only those further down. The numbers are
//! the locks' ranks (`everloop_core::sync::rank`); a build with debug assertions panics where one is taken out of
//! order, or where the watchdog or a loop's thread would wait for the GIL with one.
//!
//! 1. the watchdog's list (`watchdog`): held while its thread is started;
//! 2. what the watchdog remembers of a loop (`Watch::seen`): taken without the GIL for a look, and with it, when that
//!    is there already, while a step is put aside; so most locks below are taken under it;
//! 3. the files of a loop (`Files::registry`): held for a system call at the most;
//! 4. the queue of a baton (`Baton`): the thread that is granted the baton is woken under it;
//! 5. all others, under which no lock is taken: members, pins, steps in `block_on`, deferred handles and the state of a
//!    run (`event_loop/state.rs`), the poller (`Shared`), a member's own (`member.rs`), the inbox, learned sites, the
//!    frame evaluator, children, the file for signals, the report writer and the maker of deadlock errors, the outbox,
//!    the deputy's texts, parkers.

use crate::aside::Reason;
use crate::event_loop::LoopCore;
use crate::handoff::block_on;
use crate::pool::PoolCore;
use crate::this_thread::own_id;
use crate::{blocked_lines, exit, ffi, gates, generation, listen, outbox, own_threads, pool, watchdog};
use everloop_core::sync::lock;
use pyo3::PyClass;
use pyo3::prelude::*;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// This is a forked child, with these pools and loops of its parent. They are asked for when it is their turn.
#[pyfunction]
pub fn after_fork_in_child(py: Python<'_>, pools: &Bound<'_, PyAny>, loops: &Bound<'_, PyAny>) -> PyResult<()> {
    ffi::children::after_fork();
    exit::after_fork();
    generation::after_fork();
    own_threads::after_fork();
    watchdog::after_fork();
    outbox::after_fork();
    blocked_lines::after_fork();
    pool::after_fork();
    let closed = listen::after_fork(py);
    let outcome = gates::after_fork(py).and(closed);

    let kept = all::<PoolCore>(pools).map(|pools| pools.iter().for_each(|pool| pool.get().after_fork(py)));
    let outcome = outcome.and(kept);
    let kept = all::<LoopCore>(loops).and_then(|loops| loops.iter().map(keep_own_step).fold(Ok(()), Result::and));
    outcome.and(kept)
}

fn all<'py, T: PyClass>(set: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, T>>> {
    set.try_iter()?.map(|item| Ok(item?.cast_into::<T>()?)).collect()
}

/// Of a loop only what belongs to this thread is left: its step, if it is in one. Steps of other threads are gone with
/// them.
fn keep_own_step(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    let this = core.get();
    let me = lock(&this.threads.members).remove(&own_id());
    let me = me.as_ref();
    let reason = me.and_then(|member| member.aside_reason());

    this.baton().after_fork(me.map(|member| &*member.waiter), reason.is_some());
    let mine = me.map(|member| (member.id(), Arc::clone(member))).into_iter().collect();
    let gone = mem::replace(&mut *lock(&this.threads.members), mine);
    mem::forget(gone); // with the references that were the dead threads'

    let counters = &this.shared.counters;
    counters.aside.store(usize::from(reason.is_some()), Ordering::Relaxed);
    counters.in_block_on.store(usize::from(reason == Some(Reason::BlockOn)), Ordering::Relaxed);
    counters.relief.store(usize::from(me.is_some_and(|member| !member.home)), Ordering::Relaxed);
    counters.forget_standstill();
    this.shared.sighting.after_fork();
    this.threads.spawning.store(false, Ordering::Relaxed);
    this.shared.watched.store(false, Ordering::Relaxed); // a child has no watchdog
    block_on::after_fork(core);
    let kept = me.map_or(Ok(()), |member| member.reopen_gates(core.py()));

    // These waited for the steps that are gone. If a dead step is in a handle's context for ever, the loop reports
    // that.
    for handle in mem::take(&mut *lock(&this.queues.deferred)) {
        this.schedule(handle);
    }
    kept
}
