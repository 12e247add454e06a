//! One loop that is watched: what is seen of it from look to look, and what is done about it.

use super::open_reports::OpenReports;
use super::sight::{Position, doing, look_at};
use crate::clock;
use crate::event_loop::{LoopCore, Shared};
use crate::exit;
use crate::ffi;
use crate::handoff::rescue::{begin_probe, rescue};
use crate::member::Member;
use crate::outbox;
use everloop_core::sync::lock;
use everloop_core::sys::times_slept;
use everloop_core::watchdog::{Action, Circumstances, Look, Pulse, Suspect, Timing, period};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A GIL that comes later than this, in nanoseconds, was held by somebody.
const LATE: u64 = 1_000_000;

/// One loop that runs.
pub struct Watch {
    pub shared: Arc<Shared>,
    /// The loop itself, until its run ends. Taken only under the GIL, so that no reference is dropped without it.
    pub core: Mutex<Option<Py<LoopCore>>>,
    pub seen: Mutex<Seen>,
}

/// A loop, as the watchdog remembers it from look to look. Locked by the watchdog, and by home when its run ends.
#[derive(Default)]
pub struct Seen {
    /// The time that a step has lasted.
    pulse: Pulse,
    /// The step that lasts: is it blocked?
    suspect: Suspect<Position>,
    /// The thread whose next instruction is to be noted.
    probed: Option<Arc<Member>>,
    reports: OpenReports,
}

/// The time since which the watchdog waits for the GIL, 0 while it does not; and the time at which the GIL last came
/// late. Written by the watchdog; home reads them when its run ends.
static ASKED: AtomicU64 = AtomicU64::new(0);
static CAME: AtomicU64 = AtomicU64::new(0);

impl Seen {
    /// True if a probe is out that may still be answered in good time. Needs no GIL.
    fn awaits_answer(&self, now: u64) -> bool {
        let probing = self.probed.as_ref().is_some_and(|member| member.is_probing());
        self.suspect.awaits_answer(probing, now)
    }
}

impl Watch {
    /// Nanoseconds between two looks.
    pub fn period(&self) -> u64 {
        let rescues = self.shared.rescue.load(Ordering::Relaxed);
        let rescue_after = rescues.then(|| self.shared.rescue_after.load(Ordering::Relaxed));
        period(self.report_after(), rescue_after)
    }

    fn report_after(&self) -> u64 {
        self.shared.report_after.load(Ordering::Relaxed)
    }

    /// True if there is nothing to look at until somebody calls `watchdog_sleep::wake`.
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
        let unseen = self.unseen(&seen, tick, CAME.load(Ordering::Relaxed));
        let look = seen.pulse.look(tick, Timing { now, last, overslept, period: self.period() });
        match look {
            Look::Beats { before } | Look::Starved { before } => {
                if let (Look::Beats { .. }, Some(lasted)) = (look, unseen) {
                    OpenReports::unseen(lasted);
                }
                seen.suspect.forget();
                let probed = seen.probed.take().filter(|member| member.is_probing());
                if tick != before {
                    seen.reports.end_stall(before, now);
                }
                drop(seen);
                if let Some(member) = probed {
                    self.attached(|core, _| member.end_probe(core.py()));
                }
            }
            Look::Lasts { since } => {
                drop(seen);
                self.stalled(tick, since, now);
            }
            Look::Rests => drop(seen),
        }
        if self.shared.counters.aside.load(Ordering::Relaxed) > 0 || lock(&self.seen).reports.has_asides() {
            self.look_aside(now);
        }
    }

    /// Returns how long a step lasted that nobody could look at, if it is to be reported: the GIL came at `came` only.
    fn unseen(&self, seen: &Seen, tick: u64, came: u64) -> Option<u64> {
        let lasted = seen.pulse.unseen(tick, came, self.shared.heartbeat.slept())?;
        (lasted >= self.report_after() && !seen.reports.has_stall(seen.pulse.tick())).then_some(lasted)
    }

    /// The run has ended: so does what was begun to be reported. Called by home, with the GIL.
    pub fn finish(&self) {
        let now = clock::now();
        let mut seen = lock(&self.seen);
        let came = if ASKED.load(Ordering::Relaxed) == 0 { CAME.load(Ordering::Relaxed) } else { now };
        if let Some(lasted) = self.unseen(&seen, self.shared.heartbeat.tick(), came) {
            OpenReports::unseen(lasted);
        }
        seen.reports.finish(now);
    }

    /// A step has lasted since `since`.
    fn stalled(&self, tick: u64, since: u64, now: u64) {
        let rescue_on = self.shared.rescue.load(Ordering::Relaxed);
        let (reported, awaits_answer) = {
            let seen = lock(&self.seen);
            (seen.reports.has_stall(tick), seen.awaits_answer(now))
        };
        let is_due = |now: u64| !reported && now - since >= self.report_after();
        // While a probe is out, every look with the GIL would keep the step from getting it.
        if (!rescue_on || awaits_answer) && !is_due(now) {
            return;
        }
        let asked = times_slept();
        self.attached(|core, seen| {
            if self.shared.heartbeat.tick() != tick {
                return Ok(()); // it ended while we waited for the GIL: the next look judges it
            }
            let Some(member) = holder(core) else { return Ok(()) };
            if rescue_on {
                self.consider_rescue(core, &member, seen, times_slept() != asked, now)?;
            }
            if is_due(clock::now()) && self.shared.heartbeat.tick() == tick {
                seen.reports.begin_stall(core, &member, tick, since)?;
            }
            Ok(())
        });
    }

    /// Does what is to be done about a step that lasts. `contended`: we had to wait for the GIL.
    fn consider_rescue(
        &self,
        core: &Bound<'_, LoopCore>,
        member: &Arc<Member>,
        seen: &mut Seen,
        contended: bool,
        now: u64,
    ) -> PyResult<()> {
        let py = core.py();
        let circumstances = Circumstances {
            forbidden: member.forbids_rescue(),
            probing: member.is_probing(),
            contended,
            due: now - seen.pulse.since() >= self.shared.rescue_after.load(Ordering::Relaxed),
            now,
        };
        match seen.suspect.judge(circumstances, || look_at(py, member), || doing(member)) {
            Action::Wait => {}
            Action::EndProbe => member.end_probe(py)?,
            Action::BeginProbe => {
                begin_probe(py, member)?;
                seen.probed = Some(Arc::clone(member));
            }
            Action::Rescue => {
                if let Some(serial) = rescue(core, member, seen.pulse.since())? {
                    seen.suspect.forget();
                    seen.reports.move_aside(serial);
                }
            }
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
    lock(&core.get().threads.members).get(&id).cloned()
}
