//! The watchdog: one native thread for the process, which looks at every loop that runs.
//!
//! It detects without the GIL, by comparing heartbeats, and takes the GIL to act: to rescue a blocked step, and to report.
//! Only it reads clocks for this. It sleeps while all loops sleep, and ends a while after the last one has stopped.

mod report;

use crate::alarm::DOZE;
use crate::clock;
use crate::event_loop::{LoopCore, Shared};
use crate::exit;
use crate::ffi;
use crate::handoff::rescue::{Doing, Sample, begin_probe, end_probe, rescue};
use crate::place::{Place, lock};
use everloop_core::parker::Wake;
use pyo3::prelude::*;
use report::Reports;
use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

pub use report::set_reporter;

/// How many looks fit into the shortest time that is of interest: the error of all durations is one part in this.
const LOOKS: u64 = 5;
/// So many looks must find a step asleep before it is taken for blocked, where the kernel does not tell.
const CALM: u32 = 3;
/// The bounds of the time between two looks, in nanoseconds.
const SHORTEST_PERIOD: u64 = 100_000;
const LONGEST_PERIOD: u64 = 100_000_000;
/// How long a thread that uses the CPU must run no Python to be taken for blocked, in nanoseconds: two turns of the GIL.
const PROBE: u64 = 10_000_000;
/// How long it stays up when the last loop has ended: less than it takes to rescue a step.
const UP: Duration = Duration::from_millis(4);
/// The watchdog ends after so long without a loop to look at.
const LINGER: Duration = Duration::from_secs(1);

/// One loop that runs.
struct Watch {
    shared: Arc<Shared>,
    /// The loop itself, until its run ends. Taken only under the GIL, so that no reference is dropped without it.
    core: Mutex<Option<Py<LoopCore>>>,
    seen: Mutex<Seen>,
}

/// What the watchdog remembers of a loop from look to look. Locked by the watchdog, and by home when its run ends.
#[derive(Default)]
struct Seen {
    /// The heartbeat at the last look, and the last time at which it was another.
    tick: u64,
    since: u64,
    /// Where the step stood when it was first found unmoved, and when that was.
    sample: Option<(Sample, u64)>,
    /// Whose next instruction is to be noted.
    probed: Option<Arc<Place>>,
    /// How many looks in a row found it asleep, with nobody else after the GIL.
    calm: u32,
    reports: Reports,
}

#[derive(Default)]
struct Watchdog {
    watches: Vec<Arc<Watch>>,
    thread: Option<JoinHandle<()>>,
    /// Whether the thread is (about to be) looking.
    running: bool,
    /// The interpreter is about to end: for good, but in a forked child.
    stop: bool,
}

static WATCHDOG: Mutex<Watchdog> =
    Mutex::new(Watchdog { watches: Vec::new(), thread: None, running: false, stop: false });

/// A loop begins to run. `EVERLOOP_WATCHDOG=0` leaves it unwatched: to measure what watching costs. So are loops that run
/// while the interpreter ends, on this thread or on another: whoever waits for the watchdog's end must not wait for a new one.
pub fn begin(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    if std::env::var_os("EVERLOOP_WATCHDOG").is_some_and(|value| value == "0") {
        return Ok(());
    }
    let watch = Arc::new(Watch {
        shared: Arc::clone(&core.get().shared),
        core: Mutex::new(Some(core.clone().unbind())),
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
        DOZE.rouse();
        return Ok(());
    }
    let spawned = std::thread::Builder::new().name("everloop-watch".to_owned()).spawn(watch_all);
    // Without a thread the loop runs on, unwatched: what the system refuses is no reason to refuse the loop.
    watchdog.running = spawned.is_ok();
    watchdog.thread = spawned.ok();
    Ok(())
}

/// A loop's run has ended: what was begun to be reported is finished.
pub fn end(core: &Bound<'_, LoopCore>) -> PyResult<()> {
    let py = core.py();
    let shared = &core.get().shared;
    let watch = {
        let mut watchdog = lock(&WATCHDOG);
        let at = watchdog.watches.iter().position(|watch| Arc::ptr_eq(&watch.shared, shared));
        at.map(|at| watchdog.watches.swap_remove(at))
    };
    let Some(watch) = watch else { return Ok(()) };
    let core = lock(&watch.core).take();
    drop(core);
    let now = clock::now();
    // The watchdog may be inside, waiting for the GIL.
    let (reports, sample) = py.detach(|| {
        let mut seen = lock(&watch.seen);
        let taken = (std::mem::take(&mut seen.reports), seen.sample.take());
        drop(seen);
        taken
    });
    // It keeps the frames of a step, and all that their variables name; without the GIL they could not be let go of.
    drop(sample);
    reports.finish(py, now)
}

/// The interpreter is about to end: the watchdog ends first. Called without the GIL.
pub fn stop() {
    let thread = {
        let mut watchdog = lock(&WATCHDOG);
        watchdog.stop = true;
        watchdog.thread.take()
    };
    DOZE.wake();
    if let Some(thread) = thread {
        // It ends at its next look; a panic of it was printed when it happened.
        let _ = thread.join();
    }
}

thread_local! {
    /// The lock, from before a fork until after it: the watchdog would hold it for ever in the child.
    static FORKING: RefCell<Option<MutexGuard<'static, Watchdog>>> = const { RefCell::new(None) };
}

/// The calling thread is about to fork. It has the GIL, which nobody who has the lock waits for.
pub fn before_fork() {
    FORKING.set(Some(lock(&WATCHDOG)));
}

/// It has forked, or could not.
pub fn after_fork_in_parent() {
    FORKING.set(None);
}

/// In a forked child: there is no watchdog, and the loops that it watched are the parent's.
pub fn after_fork() {
    let mut watchdog = FORKING.take().unwrap_or_else(|| lock(&WATCHDOG));
    (watchdog.running, watchdog.stop) = (false, false);
    let gone = (std::mem::take(&mut watchdog.watches), watchdog.thread.take());
    drop(watchdog);
    // Their locks may have been held by the watchdog of the parent.
    std::mem::forget(gone);
    DOZE.after_fork();
}

/// The life of the watchdog.
fn watch_all() {
    // When the watchdog last looked, or woke up; and how much longer than asked its last sleep was.
    let (mut last, mut overslept) = (clock::now(), 0);
    loop {
        let watches = {
            let watchdog = lock(&WATCHDOG);
            if watchdog.stop {
                return;
            }
            watchdog.watches.clone()
        };
        let now = clock::now();

        if watches.is_empty() {
            // Where one loop has just ended another one often begins, and finds the watchdog up.
            DOZE.parker().park(Some(UP));
            let nothing_to_do = || {
                let watchdog = lock(&WATCHDOG);
                watchdog.watches.is_empty() && !watchdog.stop
            };
            let idle = nothing_to_do();
            if idle && DOZE.sleep_while(Some(LINGER), nothing_to_do) == Wake::TimedOut && retire() {
                return;
            }
            // No step of a loop that comes now has begun before this.
            (last, overslept) = (if idle { clock::now() } else { now }, 0);
            continue;
        }
        for watch in &watches {
            watch.look(now, last, overslept);
        }
        last = now;
        let before = clock::now();
        let period = watches.iter().map(|watch| watch.period()).min().unwrap_or(1_000_000);
        if watches.iter().all(|watch| watch.is_asleep()) {
            DOZE.sleep_while(None, || watches.iter().all(|watch| watch.is_asleep()));
            (last, overslept) = (clock::now(), 0);
        } else {
            DOZE.parker().park(Some(Duration::from_nanos(period)));
            overslept = (clock::now() - before).saturating_sub(period);
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

impl Seen {
    /// Whether a probe is out that may still be answered in good time. Needs no GIL.
    fn is_probing(&self, now: u64) -> bool {
        let Some((_, at)) = &self.sample else { return false };
        let out = self.probed.as_ref().is_some_and(|place| place.is_probing());
        out && now.saturating_sub(*at) < PROBE
    }
}

impl Watch {
    /// Nanoseconds between two looks.
    fn period(&self) -> u64 {
        let mut shortest = self.shared.report_after.load(Ordering::Relaxed);
        if self.shared.rescue.load(Ordering::Relaxed) {
            shortest = shortest.min(self.shared.rescue_after.load(Ordering::Relaxed));
        }
        (shortest / LOOKS).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
    }

    /// Whether there is nothing to look at until somebody calls `alarm::rouse`.
    fn is_asleep(&self) -> bool {
        (self.shared.baton.is_polling() || !self.shared.baton.is_open())
            && self.shared.counters.aside.load(Ordering::SeqCst) == self.shared.counters.waiting.load(Ordering::SeqCst)
    }

    /// One look. The one before was at `last`; `overslept` nanoseconds too many lie between.
    fn look(&self, now: u64, last: u64, overslept: u64) {
        self.shared.heartbeat.mark_stale();
        let tick = self.shared.heartbeat.tick();
        let mut seen = lock(&self.seen);
        let period = self.period();
        let patience = 4 * period.max(5_000_000);
        let starved = overslept > patience;
        if tick != seen.tick || starved {
            // A step has ended; or this thread did not run either, and the host is to blame.
            let was = (seen.tick, seen.since);
            seen.tick = tick;
            // It began since the last look. Who had the GIL may have kept this thread from looking: no fault of the step.
            let is_late = starved || now - last > period + patience;
            seen.since = if is_late { now } else { last };
            seen.calm = 0;
            let (sample, probed) = (seen.sample.take(), seen.probed.take());
            let open = seen.reports.has_stall(was.0) && tick != was.0;
            drop(seen);
            if sample.is_some() || open {
                self.attached(|core, seen| {
                    drop(sample);
                    if let Some(place) = probed {
                        end_probe(core.py(), &place)?;
                    }
                    if open { seen.reports.end_stall(core, was.0, now) } else { Ok(()) }
                });
            }
        } else {
            let stuck = tick % 2 == 1;
            let stalled = now - seen.since;
            drop(seen);
            if stuck {
                self.stalled(tick, stalled, now);
            }
        }
        if self.shared.counters.aside.load(Ordering::Relaxed) > 0 || lock(&self.seen).reports.has_asides() {
            self.look_aside(now);
        }
    }

    /// A step stands where it stood at the last look, for `stalled` nanoseconds at least.
    fn stalled(&self, tick: u64, stalled: u64, now: u64) {
        let rescue_on = self.shared.rescue.load(Ordering::Relaxed);
        let rescue_after = self.shared.rescue_after.load(Ordering::Relaxed);
        let (reported, probing) = {
            let seen = lock(&self.seen);
            (seen.reports.has_stall(tick), seen.is_probing(now))
        };
        let rescue_due = stalled >= rescue_after;
        let report_due = !reported && stalled >= self.shared.report_after.load(Ordering::Relaxed);
        // While a probe is out, every look with the GIL would keep the step from getting it.
        if (!rescue_on || probing) && !report_due {
            return;
        }
        let asked = ffi::times_slept();
        self.attached(|core, seen| {
            if self.shared.heartbeat.tick() != tick {
                // It ended while we waited for the GIL, which it probably held.
                return if report_due { seen.reports.unseen(core, clock::now() - (now - stalled)) } else { Ok(()) };
            }
            let Some(place) = holder(core) else { return Ok(()) };
            if rescue_on {
                self.consider_rescue(core, &place, seen, rescue_due, ffi::times_slept() != asked, now)?;
            }
            if report_due && self.shared.heartbeat.tick() == tick {
                seen.reports.begin_stall(core, &place, tick, now - stalled)?;
            }
            Ok(())
        });
    }

    /// Rescues the step if it has not moved since it was sampled, and samples it otherwise.
    fn consider_rescue(
        &self,
        core: &Bound<'_, LoopCore>,
        place: &Arc<Place>,
        seen: &mut Seen,
        due: bool,
        contended: bool, // we had to wait for the GIL: so may the step
        now: u64,
    ) -> PyResult<()> {
        if place.is_whole() {
            end_probe(core.py(), place)?;
            (seen.sample, seen.calm) = (None, 0);
            return Ok(());
        }
        let sample = Sample::take(core.py(), place);
        let Some((earlier, at)) = &seen.sample else {
            seen.sample = Some((sample, now));
            return Ok(());
        };
        if !sample.is_same_spot(earlier) {
            // It runs: look again from here.
            end_probe(core.py(), place)?;
            (seen.sample, seen.calm) = (Some((sample, now)), 0);
            return Ok(());
        }
        // A step that only waits for the GIL, or for a processor, must not be put aside: other steps would run in the middle
        // of its Python lines. So there has to be a proof that it is inside a call.
        let calm = !contended && sample.has_slept_since(earlier);
        seen.calm = if calm { seen.calm + 1 } else { 0 };
        let blocked = match Doing::of(place) {
            Doing::Waits => true,
            // It may have been free when we asked for it: whoever waits for it was told, and had no processor yet.
            Doing::WaitsForGil => false,
            Doing::Runs => {
                if !place.is_probing() {
                    begin_probe(core.py(), place, &sample)?;
                    seen.sample = Some((sample, now));
                    seen.probed = Some(Arc::clone(place));
                    return Ok(());
                }
                // It has used a processor for so long and run no Python.
                let probed = now.saturating_sub(*at);
                probed >= PROBE && earlier.is_computing(place, probed)
            }
            Doing::Unknown => seen.calm >= CALM,
        };
        if due
            && blocked
            && let Some(serial) = rescue(core, place, &sample, seen.since)?
        {
            seen.sample = None;
            seen.reports.move_aside(core, serial)?;
        }
        Ok(())
    }

    /// Steps that are aside without having said so are reported too.
    fn look_aside(&self, now: u64) {
        let report_after = self.shared.report_after.load(Ordering::Relaxed);
        if !lock(&self.seen).reports.is_aside_due(now) {
            return;
        }
        self.attached(|core, seen| seen.reports.look_aside(core, now, report_after));
    }

    /// Runs `f` with the GIL, if the loop and the interpreter are still there.
    fn attached(&self, f: impl FnOnce(&Bound<'_, LoopCore>, &mut Seen) -> PyResult<()>) {
        if exit::is_exiting() {
            return;
        }
        Python::try_attach(|py| {
            let Some(core) = lock(&self.core).as_ref().map(|core| core.bind(py).clone()) else { return };
            let mut seen = std::mem::take(&mut *lock(&self.seen));
            // The lock is not held while Python runs.
            let mut outcome = f(&core, &mut seen);
            if lock(&self.core).is_none() {
                // The run has ended meanwhile, and `end` has not found what we had taken.
                outcome = outcome.and(std::mem::take(&mut seen.reports).finish(py, clock::now()));
                seen.sample = None;
            }
            *lock(&self.seen) = seen;
            if let Err(error) = outcome {
                error.write_unraisable(py, Some(&core));
            }
        });
    }
}

/// The place of the thread that runs a step now.
fn holder(core: &Bound<'_, LoopCore>) -> Option<Arc<Place>> {
    let id = core.get().baton().holder()?;
    lock(&core.get().places).get(&id).cloned()
}
