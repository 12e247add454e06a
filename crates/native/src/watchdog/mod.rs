//! The watchdog: one native thread for the process, which looks at every loop that runs.
//!
//! It detects without the GIL, by comparing heartbeats, and takes the GIL to act: to rescue a blocked step, and to take
//! down what is reported. Functions of the core decide what its looks mean (`everloop_core::watchdog`), which can be
//! tested without a thread or a clock; this file says who looks, and what is done.
//!
//! **When it looks.** Five times within the shortest time that is of interest (`rescue_after`, `report_after`): a
//! rescue may so come a fifth of that early, and never late. It sleeps while all loops sleep, and whoever takes a baton
//! wakes it (`watchdog_sleep.rs`). It ends a second after the last loop.
//!
//! **What may run on this thread.** No Python code, and nothing that waits for a lock which a thread may hold while it
//! waits for the GIL: whoever looks after blocked steps must not wait for one. None of the program's objects is kept,
//! since its destructor would run here. So reports are written by a thread of their own (`outbox.rs`), threads are
//! started by another (`starter.rs`), and whatever this thread drops is left to those that have the GIL next
//! (`ffi::attach_quietly`).
//!
//! **Who touches what.** `Watchdog` (the list of loops): any thread, under its lock, never while it waits for the GIL.
//! `Seen` (what is remembered of one loop): this thread, and home once its run has ended. `Watch::core`: under the GIL
//! only, so that the last reference to a loop is never dropped here. The heartbeat: read here, written by the thread
//! that holds the baton.
//!
//! **The races.**
//! - *The step ends while we wait for the GIL.* Its heartbeat is compared once more with the GIL in hand.
//! - *The step waits for the GIL, as we did.* It looks blocked, and must not be put aside: see
//!   `everloop_core::watchdog` for the proofs that are wanted, and for what was tried.
//! - *A step had the GIL all the time, and has ended when it comes.* It is reported afterwards, by the time at which
//!   the GIL came (`CAME`), unless the loop slept meanwhile: then it was somebody else's.
//! - *The host stops this thread.* It oversleeps, knows it, and takes nobody for blocked.
//! - *A loop leaves its poll while we lie down.* `IdleSleep` has the fences, and loom has run them.
//! - *A fork.* The child has no watchdog, and a new list: the watchdog of the parent may have held the lock of the old
//!   one.
//!
//! **What would change this.** A sleep with a deadline of the kernel's that costs the loop nothing would make it
//! needless to look. An interpreter without a GIL would not need the proofs, but steps could then run beside each other
//! anyway.

mod blind_look;
mod block;
mod deadlock;
mod deputy;
mod end;
mod named_verdict;
mod notes;
mod plain;
mod sight;
mod snapshot;
mod watch;

use crate::clock;
use crate::event_loop::LoopCore;
use crate::exit;
use crate::reader;
use crate::watchdog_sleep::{self, IDLE_SLEEP};
use everloop_core::sync::{Mutex, lock, rank, replace_after_fork};
use everloop_core::wait::Wake;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use watch::{Seen, Watch};

pub use snapshot::{answer_question, set_foreign_files};
pub use watch::set_aside_clock_ahead;

/// The time that the watchdog stays up when the last loop has ended: less than it takes to rescue a step.
const UP: Duration = Duration::from_millis(4);
/// The watchdog ends after so long without a loop to look at.
const LINGER: Duration = Duration::from_secs(1);

struct Watchdog {
    watches: Vec<Arc<Watch>>,
    thread: Option<JoinHandle<()>>,
    /// True while the thread looks, or is about to.
    running: bool,
    /// True once the interpreter is about to end. It stays true, but in a forked child.
    stop: bool,
}

impl Watchdog {
    const fn new() -> Self {
        Self { watches: Vec::new(), thread: None, running: false, stop: false }
    }
}

static WATCHDOG: Mutex<Watchdog, { rank::WATCHDOG }> = Mutex::new(Watchdog::new());

/// True once the log says that no thread is to be had for the watchdog, until one is.
static TOLD_REFUSED: AtomicBool = AtomicBool::new(false);

/// True if loops are watched that begin to run: the environment variable `EVERLOOP_WATCHDOG` says so.
static WATCHES: AtomicBool = AtomicBool::new(true);

/// What the watchdog oversleeps by less than this, in nanoseconds, is no want of a processor.
const LATE: u64 = 5_000_000;
/// Nanoseconds by which the host let it oversleep, while it watched: the loops got no processor either, most likely.
static STARVED: AtomicU64 = AtomicU64::new(0);

/// For how many nanoseconds the host has given this process no processor, as far as the watchdog saw.
pub fn starved() -> u64 {
    STARVED.load(Ordering::Relaxed)
}

/// Watches the loops that begin to run from now on, or leaves them unwatched: to measure what watching costs.
#[pyfunction]
pub fn watch_loops(watches: bool) {
    WATCHES.store(watches, Ordering::Relaxed);
}

/// A loop begins to run. Unwatched are also those that run while the interpreter ends, on this thread or on another:
/// whoever waits for the watchdog's end must not wait for a new one.
pub fn begin(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    if !WATCHES.load(Ordering::Relaxed) {
        return Ok(());
    }
    snapshot::prepare(core.py())?;
    reader::prepare(core.py());
    block::prepare();
    let watch = Arc::new(Watch {
        shared: Arc::clone(&core.get().shared),
        core: Mutex::new(Some(core.clone().unbind())),
        reference: Arc::new(PyWeakrefReference::new(core)?.unbind()),
        seen: Mutex::new(Seen::default()),
    });
    let mut watchdog = lock(&WATCHDOG);
    if watchdog.stop {
        drop(watchdog);
        drop(watch);
        return Ok(());
    }
    watchdog.watches.push(watch);
    if watchdog.running {
        drop(watchdog);
        core.get().shared.watched.store(true, Ordering::Relaxed);
        watchdog_sleep::wake();
        return Ok(());
    }
    let spawned = std::thread::Builder::new().name("everloop-watch".to_owned()).spawn(watch_all);
    core.get().shared.watched.store(spawned.is_ok(), Ordering::Relaxed);
    watchdog.running = spawned.is_ok();
    let refused = match spawned {
        Ok(thread) => {
            watchdog.thread = Some(thread);
            None
        }
        Err(error) => Some(error),
    };
    drop(watchdog);
    // Without a thread the loop runs on, unwatched: what the system refuses is no reason to refuse the loop.
    let was_told = TOLD_REFUSED.swap(refused.is_some(), Ordering::Relaxed);
    match refused {
        Some(error) if !was_told => notes::unwatched(core, error.to_string()),
        _ => Ok(()),
    }
}

/// A loop's run has ended: what was begun to be reported is finished.
pub fn end(core: &Bound<'_, LoopCore>) {
    let shared = &core.get().shared;
    shared.watched.store(false, Ordering::Relaxed);
    let watch = {
        let mut watchdog = lock(&WATCHDOG);
        let at = watchdog.watches.iter().position(|watch| Arc::ptr_eq(&watch.shared, shared));
        at.map(|at| watchdog.watches.swap_remove(at))
    };
    let Some(watch) = watch else { return };
    let core = lock(&watch.core).take();
    drop(core);
    // Whoever holds this lock does not wait for the GIL.
    watch.finish();
}

/// The interpreter is about to end: the watchdog ends, and no step is handed over any more.
#[pyfunction]
pub fn begin_exit(py: Python<'_>) {
    exit::begin();
    py.detach(stop);
}

/// The interpreter is about to end: the watchdog ends first. Called without the GIL.
fn stop() {
    let thread = {
        let mut watchdog = lock(&WATCHDOG);
        watchdog.stop = true;
        watchdog.thread.take()
    };
    IDLE_SLEEP.wake();
    if let Some(thread) = thread {
        // The thread ends at its next look; a panic of it was printed when it happened.
        let _ = thread.join();
    }
}

/// In a forked child: there is no watchdog, and the loops that it watched are the parent's. Their locks, and that of
/// the list, may have been held by the watchdog of the parent.
pub fn after_fork() {
    replace_after_fork(&WATCHDOG, Watchdog::new());
    IDLE_SLEEP.after_fork();
    deputy::after_fork();
    block::after_fork();
}

/// The life of the watchdog.
fn watch_all() {
    let number = deputy::appoint(look_closer);
    watch_loops_that_run();
    deputy::dismiss(number);
}

/// Looks closer at all loops: what the deputy does.
fn look_closer() {
    let watches = lock(&WATCHDOG).watches.clone();
    watches.iter().for_each(|watch| watch.look_closer(clock::now()));
}

fn watch_loops_that_run() {
    // The time at which the watchdog last looked, or woke up; and the time by which it has overslept since.
    let (mut last, mut overslept) = (clock::now(), 0);
    // Its room is used again: nothing is allocated while nobody is blocked.
    let mut watches: Vec<Arc<Watch>> = Vec::new();
    loop {
        {
            let watchdog = lock(&WATCHDOG);
            if watchdog.stop {
                return;
            }
            watches.clone_from(&watchdog.watches);
        }
        let now = clock::now();
        if watches.is_empty() {
            // Where one loop has just ended another one often begins, and finds the watchdog up.
            IDLE_SLEEP.sleep(UP);
            let nothing_to_do = || {
                let watchdog = lock(&WATCHDOG);
                watchdog.watches.is_empty() && !watchdog.stop
            };
            let idle = nothing_to_do();
            if idle && IDLE_SLEEP.sleep_while(Some(LINGER), nothing_to_do) == Wake::TimedOut && retire() {
                return;
            }
            // No step of a loop that comes now has begun before this.
            (last, overslept) = (if idle { clock::now() } else { now }, 0);
            continue;
        }
        for watch in &watches {
            // First, while the thread that computes still has the GIL: who looks with it takes it away for a moment.
            watch.look_closer(now);
            watch.look(last, overslept);
        }
        last = now;
        let before = clock::now();
        let period = watches.iter().map(|watch| watch.period()).min().unwrap_or(1_000_000);
        if watches.iter().all(|watch| watch.is_asleep()) {
            IDLE_SLEEP.sleep_while(None, || watches.iter().all(|watch| watch.is_asleep()));
            (last, overslept) = (clock::now(), 0);
        } else {
            IDLE_SLEEP.sleep(Duration::from_nanos(period));
            overslept = (clock::now() - before).saturating_sub(period);
            if overslept > LATE {
                STARVED.fetch_add(overslept, Ordering::Relaxed);
            }
        }
    }
}

/// The watchdog's thread ends, unless a loop has come meanwhile.
fn retire() -> bool {
    let mut watchdog = lock(&WATCHDOG);
    let idle = watchdog.watches.is_empty();
    if idle {
        watchdog.running = false;
        watchdog.thread = None;
    }
    idle
}
