//! One loop that is watched: what is seen of it from look to look, and what is done about it.

use super::report::Reports;
use crate::clock;
use crate::event_loop::{LoopCore, Shared};
use crate::exit;
use crate::ffi;
use crate::handoff::rescue::{Doing, Sample, begin_probe, rescue};
use crate::member::{Member, lock};
use crate::outbox;
use everloop_core::sys::times_slept;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How many looks fit into the shortest time that is of interest: the error of all durations is one part in this.
const LOOKS: u64 = 5;
/// So many looks must find a step asleep before it is taken for blocked, where the kernel does not tell.
const CALM: u32 = 3;
/// A GIL that comes later than this, in nanoseconds, was held by somebody.
const LATE: u64 = 1_000_000;
/// When the GIL came late: after so many ticks it is not known any more which step it was that lasted so long.
const FEW: u64 = 64;
/// The bounds of the time between two looks, in nanoseconds.
const SHORTEST_PERIOD: u64 = 100_000;
const LONGEST_PERIOD: u64 = 100_000_000;
/// How long a thread that uses the CPU must run no Python to be taken for blocked, in nanoseconds: two turns of the GIL.
const PROBE: u64 = 10_000_000;
/// One loop that runs.
pub struct Watch {
    pub shared: Arc<Shared>,
    /// The loop itself, until its run ends. Taken only under the GIL, so that no reference is dropped without it.
    pub core: Mutex<Option<Py<LoopCore>>>,
    pub seen: Mutex<Seen>,
}

/// What the watchdog remembers of a loop from look to look. Locked by the watchdog, and by home when its run ends.
#[derive(Default)]
pub struct Seen {
    /// The heartbeat at the last look, and the last time at which it was another.
    tick: u64,
    since: u64,
    /// Where the step stood when it was first found unmoved, and when that was.
    sample: Option<(Sample, u64)>,
    /// Whose next instruction is to be noted.
    probed: Option<Arc<Member>>,
    /// How many looks in a row found it asleep, with nobody else after the GIL.
    calm: u32,
    /// When the last look was.
    looked: u64,
    reports: Reports,
}

/// Since when the watchdog waits for the GIL, 0 while it does not; and when the GIL came late the last time. Written by the
/// watchdog; home reads them when its run ends.
static ASKED: AtomicU64 = AtomicU64::new(0);
static CAME: AtomicU64 = AtomicU64::new(0);

impl Seen {
    /// Whether a probe is out that may still be answered in good time. Needs no GIL.
    fn is_probing(&self, now: u64) -> bool {
        let Some((_, at)) = &self.sample else { return false };
        let out = self.probed.as_ref().is_some_and(|member| member.is_probing());
        out && now.saturating_sub(*at) < PROBE
    }
}

impl Watch {
    /// Nanoseconds between two looks.
    pub fn period(&self) -> u64 {
        let mut shortest = self.shared.report_after.load(Ordering::Relaxed);
        if self.shared.rescue.load(Ordering::Relaxed) {
            shortest = shortest.min(self.shared.rescue_after.load(Ordering::Relaxed));
        }
        (shortest / LOOKS).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
    }

    /// Whether there is nothing to look at until somebody calls `watchdog_sleep::wake`.
    pub fn is_asleep(&self) -> bool {
        (self.shared.baton.is_polling() || !self.shared.baton.is_open())
            && self.shared.counters.aside.load(Ordering::SeqCst)
                == self.shared.counters.in_block_on.load(Ordering::SeqCst)
    }

    /// One look. The one before was at `last`; `overslept` nanoseconds too many lie between.
    pub fn look(&self, last: u64, overslept: u64) {
        self.shared.heartbeat.note_look();
        let now = clock::now();
        let tick = self.shared.heartbeat.tick();
        let mut seen = lock(&self.seen);
        let period = self.period();
        let patience = 4 * period.max(5_000_000);
        let starved = overslept > patience;
        if tick != seen.tick || starved {
            // A step has ended; or this thread did not run either, and the host is to blame.
            if !starved {
                self.note_unseen(&seen, tick, CAME.load(Ordering::Relaxed));
            }
            let was = (seen.tick, seen.since);
            seen.tick = tick;
            // It began since the last look. Who had the GIL may have kept this thread from looking: no fault of the step.
            let is_late = starved || now - last > period + patience;
            seen.since = if is_late { now } else { last };
            seen.calm = 0;
            seen.sample = None;
            let probed = seen.probed.take().filter(|member| member.is_probing());
            if tick != was.0 {
                seen.reports.end_stall(was.0, now);
            }
            seen.looked = now;
            drop(seen);
            if let Some(member) = probed {
                self.attached(|core, _| member.end_probe(core.py()));
            }
        } else {
            let stuck = tick % 2 == 1;
            let stalled = now - seen.since;
            seen.looked = now;
            drop(seen);
            if stuck {
                self.stalled(tick, stalled, now);
            }
        }
        if self.shared.counters.aside.load(Ordering::Relaxed) > 0 || lock(&self.seen).reports.has_asides() {
            self.look_aside(now);
        }
    }

    /// A step that was seen at the last look has ended, and nobody could look at it: the GIL, which it probably held, came at
    /// `came` only. Whether it is to be reported is decided now.
    fn note_unseen(&self, seen: &Seen, tick: u64, came: u64) {
        let is_it = seen.tick % 2 == 1 && tick != seen.tick && tick - seen.tick <= FEW;
        if !is_it || came <= seen.looked || seen.reports.has_stall(seen.tick) {
            return;
        }
        // Somebody else had the GIL, while the loop slept.
        let slept = self.shared.heartbeat.slept();
        let end = if slept > seen.since { came.min(slept) } else { came };
        let lasted = end.saturating_sub(seen.since);
        if lasted >= self.shared.report_after.load(Ordering::Relaxed) {
            Reports::unseen(lasted);
        }
    }

    /// The run has ended: so does what was begun to be reported. Called by home, with the GIL.
    pub fn finish(&self) {
        let now = clock::now();
        let mut seen = lock(&self.seen);
        let came = if ASKED.load(Ordering::Relaxed) == 0 { CAME.load(Ordering::Relaxed) } else { now };
        self.note_unseen(&seen, self.shared.heartbeat.tick(), came);
        seen.reports.finish(now);
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
        let since = now - stalled;
        let is_due = |now: u64| !reported && now - since >= self.shared.report_after.load(Ordering::Relaxed);
        // While a probe is out, every look with the GIL would keep the step from getting it.
        if (!rescue_on || probing) && !is_due(now) {
            return;
        }
        let asked = times_slept();
        self.attached(|core, seen| {
            if self.shared.heartbeat.tick() != tick {
                return Ok(()); // it ended while we waited for the GIL: the next look judges it
            }
            let Some(member) = holder(core) else { return Ok(()) };
            if rescue_on {
                self.consider_rescue(core, &member, seen, rescue_due, times_slept() != asked, now)?;
            }
            if is_due(clock::now()) && self.shared.heartbeat.tick() == tick {
                seen.reports.begin_stall(core, &member, tick, since)?;
            }
            Ok(())
        });
    }

    /// Rescues the step if it has not moved since it was sampled, and samples it otherwise.
    fn consider_rescue(
        &self,
        core: &Bound<'_, LoopCore>,
        member: &Arc<Member>,
        seen: &mut Seen,
        due: bool,
        contended: bool, // we had to wait for the GIL: so may the step
        now: u64,
    ) -> PyResult<()> {
        if member.forbids_rescue() {
            member.end_probe(core.py())?;
            (seen.sample, seen.calm) = (None, 0);
            return Ok(());
        }
        let sample = Sample::take(core.py(), member);
        let Some((earlier, at)) = &seen.sample else {
            seen.sample = Some((sample, now));
            return Ok(());
        };
        if !sample.is_same_spot(earlier) {
            // It runs: look again from here.
            member.end_probe(core.py())?;
            (seen.sample, seen.calm) = (Some((sample, now)), 0);
            return Ok(());
        }
        // A step that only waits for the GIL, or for a processor, must not be put aside: other steps would run in the middle
        // of its Python lines. So there has to be a proof that it is inside a call.
        let calm = !contended && sample.has_slept_since(earlier);
        seen.calm = if calm { seen.calm + 1 } else { 0 };
        let blocked = match Doing::of(member) {
            Doing::Waits => true,
            // It may have been free when we asked for it: whoever waits for it was told, and had no processor yet.
            Doing::WaitsForGil => false,
            Doing::Runs => {
                if !member.is_probing() {
                    begin_probe(core.py(), member)?;
                    seen.sample = Some((sample, now));
                    seen.probed = Some(Arc::clone(member));
                    return Ok(());
                }
                // It has used a processor for so long and run no Python.
                let probed = now.saturating_sub(*at);
                probed >= PROBE && earlier.is_computing(member, probed)
            }
            Doing::Unknown => seen.calm >= CALM,
        };
        if due
            && blocked
            && let Some(serial) = rescue(core, member, seen.since)?
        {
            seen.sample = None;
            seen.reports.move_aside(serial);
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

    /// Runs `f` with the GIL, if the loop and the interpreter are still there. Nothing in `f` runs Python code or lets go of the
    /// GIL: so it may hold the lock, and neither the loop nor anything of its ends here.
    fn attached(&self, f: impl FnOnce(&Bound<'_, LoopCore>, &mut Seen) -> PyResult<()>) {
        if exit::is_exiting() {
            return;
        }
        let asked = clock::now();
        ASKED.store(asked, Ordering::Relaxed);
        ffi::attach_quietly(|py| {
            let came = clock::now();
            ASKED.store(0, Ordering::Relaxed);
            if came - asked > LATE {
                CAME.store(came, Ordering::Relaxed);
            }
            let Some(core) = lock(&self.core).as_ref().map(|core| core.bind(py).clone()) else { return };
            if let Err(error) = f(&core, &mut lock(&self.seen)) {
                outbox::leave("failed", move |details| details.set_item("error", error.value(details.py())));
            }
        });
    }
}

/// In a forked child nobody waits for the GIL.
pub fn after_fork() {
    ASKED.store(0, Ordering::Relaxed);
}

/// The thread that runs a step now.
fn holder(core: &Bound<'_, LoopCore>) -> Option<Arc<Member>> {
    let id = core.get().baton().holder()?;
    lock(&core.get().members).get(&id).cloned()
}
