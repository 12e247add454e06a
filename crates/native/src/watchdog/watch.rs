//! One loop that is watched: what is seen of it from look to look, and what is done about it.

use super::block::{Block, BlockKey, Noticed, Suspected};
use super::deputy::{self, ASKED, CAME};
use super::end::End;
use super::named_verdict::NamedVerdict;
use super::sight::{Position, doing, look_at};
use super::snapshot::{Snapshot, holder};
use super::{deadlock, notes};
use crate::aside::Reason;
use crate::clock;
use crate::event_loop::{LoopCore, Shared};
use crate::exit;
use crate::ffi;
use crate::gates;
use crate::handoff::rescue::{begin_probe, rescue};
use crate::handoff::{debugger, division, relief};
use crate::member::Member;
use everloop_core::baton::ThreadId;
use everloop_core::sync::{Mutex, lock, rank};
use everloop_core::sys::times_slept;
use everloop_core::watchdog::{
    self, Action, Circumstances, Deadlock, LongTurn, Look, OpenReport, OpenReports, PileUp, Pulse, SeenAside, Share,
    Standstill, Suspect, Timing, TurnCounters,
};
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One loop that runs.
pub struct Watch {
    pub shared: Arc<Shared>,
    /// The loop itself, until its run ends. Taken only under the GIL, so that no reference is dropped without it.
    pub core: Mutex<Option<Py<LoopCore>>>,
    /// A weak reference to it, for notes that are left without the GIL.
    pub reference: Arc<Py<PyWeakrefReference>>,
    pub seen: Mutex<Seen, { rank::SEEN }>,
}

/// A loop, as the watchdog remembers it from look to look. Locked by the watchdog, by its deputy, and by home when its
/// run ends.
#[derive(Default)]
pub struct Seen {
    /// The time that a step has lasted.
    pub pulse: Pulse,
    /// Does a turn last, of many short steps?
    pile_up: PileUp,
    pub long_turn: Option<LongTurn>,
    /// The step that the deputy has found, which looks in the watchdog's place.
    pub noticed: Noticed,
    /// What blocks the loop now, and what did before, until its report is ended.
    pub block: Option<Block>,
    pub finished: Option<Block>,
    /// The steps that are aside, with their threads.
    pub asides: Vec<(ThreadId, Block)>,
    /// The report of a block that is no step's.
    pub open: Option<(BlockKey, OpenReport)>,
    /// The heartbeat of the step whose report does not say yet whose it is.
    pub unnamed: Option<u64>,
    /// The heartbeat of the step that is to be told of again.
    pub again: Option<u64>,
    /// Nanoseconds that the watchdog has overslept, in all.
    pub overslept: u64,
    /// The step that lasts: is it blocked?
    suspect: Suspect<Position>,
    /// The last time at which a debugger was at the step that lasts: its time counts from then on.
    pub debugged: u64,
    /// The thread whose next instruction is to be noted.
    probed: Option<Arc<Member>>,
    /// The thread whose step is to be divided.
    asked: Option<Arc<Member>>,
    pub reports: OpenReports,
    /// True once the run has ended: nothing is told of any more.
    pub over: bool,
    /// Does nobody turn the loop?
    standstill: Standstill,
    /// Do its steps wait for each other for ever?
    deadlock: Deadlock,
    /// The time that the others have had since a step that computes has run.
    share: Share,
    /// How often gates of all code had been needed when one was last found open that nobody needed.
    left_open: Option<u64>,
    /// What holds the end of the run up?
    end: End,
}

/// Nanoseconds by which the clock is ahead that says how long a step has been aside: tests move it.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// Steps that are aside are told of as if they had been so for so many seconds more, so that no test waits.
#[pyfunction]
pub fn set_aside_clock_ahead(seconds: f64) {
    AHEAD.store(clock::from_seconds(seconds), Ordering::Relaxed);
}

/// While a report is open, the watchdog looks at least so often, in nanoseconds: its end is told of soon.
const END_PERIOD: u64 = 4_000_000;

impl Seen {
    /// A debugger is at the step of `member`, which is left alone.
    fn leave_to_debugger(&mut self, py: Python<'_>, member: &Member) -> PyResult<()> {
        self.suspect.forget();
        self.debugged = clock::now();
        member.end_probe(py)
    }

    /// True if a probe is out that may still be answered in good time. Needs no GIL.
    fn awaits_answer(&self, now: u64) -> bool {
        let probing = self.probed.as_ref().is_some_and(|member| member.is_probing());
        self.suspect.awaits_answer(probing, now)
    }

    /// True if a report of what blocks the loop is open.
    fn tells_of_stall(&self) -> bool {
        self.reports.stall_tick().is_some() || self.open.is_some()
    }

    /// What was seen of the step of this heartbeat; None: nobody has looked closer at it.
    fn block_of(&self, tick: u64) -> Option<&Block> {
        let is_it = |block: &&Block| block.who.key == BlockKey::Step(tick);
        self.block.iter().chain(&self.finished).find(is_it).filter(|block| block.has_looks())
    }

    /// What was seen of the step that this release has put aside.
    fn aside(&self, serial: u64) -> Option<&Block> {
        let mut blocks = self.asides.iter().map(|(_, block)| block);
        blocks.find(|block| block.who.key == BlockKey::Aside(serial))
    }

    /// Judges the step of this heartbeat, as of now; None: nobody has looked closer at it.
    fn judge(&self, tick: u64, now: u64, report_after: u64) -> Option<NamedVerdict> {
        Some(NamedVerdict::new(self.block_of(tick)?, now, report_after))
    }
}

impl Watch {
    /// Nanoseconds between two looks.
    pub fn period(&self) -> u64 {
        let rescues = self.shared.rescue.load(Ordering::Relaxed);
        let rescue_after = rescues.then(|| self.shared.rescue_after.load(Ordering::Relaxed));
        let divides = self.shared.divides.load(Ordering::Relaxed);
        let shortest = if divides { rescue_after.map(watchdog::pace) } else { rescue_after };
        let seen = lock(&self.seen);
        let probing = seen.probed.as_ref().is_some_and(|member| member.is_probing());
        let longest = if seen.tells_of_stall() { END_PERIOD } else { u64::MAX };
        let longest = seen.suspect.next_look(probing).map_or(longest, |soon| longest.min(soon));
        watchdog::period(self.report_after(), shortest).min(longest)
    }

    pub fn report_after(&self) -> u64 {
        self.shared.report_after.load(Ordering::Relaxed)
    }

    /// True if there is nothing to look at until somebody calls `watchdog_sleep::wake`.
    pub fn is_asleep(&self) -> bool {
        (self.shared.baton.is_polling() || !self.shared.baton.is_open())
            && self.shared.counters.aside.load(Ordering::SeqCst)
                == self.shared.counters.in_block_on.load(Ordering::SeqCst)
            && self.wakes().is_none()
            && gates::left_open().is_none()
            && !lock(&self.seen).tells_of_stall()
    }

    /// The time since which the loop, whose sleep is over, waits for the GIL; None: it does not.
    pub fn wakes(&self) -> Option<u64> {
        self.shared.meter.waits_for_lock().filter(|_| self.shared.baton.is_polling())
    }

    /// One look. The one before was at `last`; `overslept` nanoseconds too many lie between.
    pub fn look(&self, last: u64, overslept: u64) {
        self.shared.heartbeat.note_look();
        let now = clock::now();
        let tick = self.shared.heartbeat.tick();
        let (report_after, period) = (self.report_after(), self.period());
        let mut seen = lock(&self.seen);
        if seen.over {
            return;
        }
        seen.overslept += overslept;
        let counts = TurnCounters {
            turns: self.shared.counters.turns.load(Ordering::Relaxed),
            steps: self.shared.heartbeat.steps(),
            slept: self.shared.heartbeat.slept(),
            rests: !self.shared.baton.is_open() || self.shared.baton.is_polling(),
        };
        seen.long_turn = seen.pile_up.look(counts, now, last, report_after);
        let unseen = self.unseen(&seen, tick, CAME.load(Ordering::Relaxed));
        let look = seen.pulse.look(tick, Timing { now, last, overslept, period });
        // The deputy may have found it first, while this thread waited for the GIL.
        let found = seen.noticed.known(tick).filter(|_| !matches!(look, Look::Starved { .. }));
        self.shared.sighting.note(tick, found.map_or(seen.pulse.since(), |found| found.min(seen.pulse.since())));
        // The deputy may have told of a step that this thread has not seen.
        if let Some(told) = seen.reports.stall_tick().filter(|told| *told != tick) {
            self.ended(&mut seen, told, now - overslept.min(now), false);
        }
        match look {
            Look::Beats { before } | Look::Starved { before } => {
                seen.suspect.forget();
                let probed = seen.probed.take().filter(|member| member.is_probing());
                let asked = seen.asked.take().filter(|member| member.is_dividing());
                let unseen = unseen.filter(|_| matches!(look, Look::Beats { .. }));
                if tick != before && !self.ended(&mut seen, before, now - overslept.min(now), unseen.is_some()) {
                    unseen.into_iter().for_each(notes::unseen);
                }
                drop(seen);
                if let Some(member) = probed {
                    self.attached(|core, _| member.end_probe(core.py()));
                }
                if let Some(member) = asked {
                    self.attached(|core, _| member.end_division(core.py()).map(drop));
                }
            }
            Look::Lasts { since } => {
                drop(seen);
                self.stalled(tick, since, now);
            }
            Look::Rests => drop(seen),
        }
        if lock(&self.seen).standstill.look(tick, self.shared.baton.is_free(), now) {
            self.attached(|core, _| relief::order_past_bound(core));
        }
        if self.shared.divides.load(Ordering::Relaxed) {
            self.look_patients(tick, now);
        }
        self.look_aside(now);
        self.look_for_deadlock(tick, now);
        self.settle_gates();
    }

    /// The step of this heartbeat has ended. `unseen`: it has kept the GIL for long, most likely, and has no report.
    /// Returns true if it is told of.
    fn ended(&self, seen: &mut Seen, tick: u64, now: u64, unseen: bool) -> bool {
        let report_after = self.report_after();
        let told = if let Some(open) = seen.reports.end_stall(tick) {
            notes::end(open, now, seen.judge(tick, now, report_after));
            true
        } else {
            self.tell_afterwards(seen, tick, now, unseen)
        };
        seen.finished = None;
        told
    }

    /// Tells of a step that has ended and has no report, if it has lasted, and either nobody is to blame or it was
    /// `unseen` by who needs the GIL. Returns false if nobody has looked at it.
    fn tell_afterwards(&self, seen: &Seen, tick: u64, now: u64, unseen: bool) -> bool {
        let report_after = self.report_after();
        let Some(block) = seen.block_of(tick) else { return false };
        if now.saturating_sub(block.who.since) >= report_after {
            let verdict = NamedVerdict::new(block, now, report_after);
            // What came after the last look is no proof: there may have been no processor.
            if verdict.blames_nobody() || unseen && verdict.charged >= report_after {
                let open = notes::begin_blind(&self.reference, &self.shared, block, verdict.clone(), now, false);
                notes::end(open, now, Some(verdict));
            }
        }
        true
    }

    /// Closes gates that nobody has needed since the last look.
    fn settle_gates(&self) {
        let left = gates::left_open();
        let before = mem::replace(&mut lock(&self.seen).left_open, left);
        if left.is_some() && left == before {
            self.attached(|core, _| gates::settle(core.py()));
        }
    }

    /// Steps that compute, and wait until the others have run, go on when these have had their time. Needs no GIL.
    fn look_patients(&self, tick: u64, now: u64) {
        let slice = tick == self.shared.slice.load(Ordering::Relaxed);
        let turns = self.shared.counters.turns.load(Ordering::Relaxed);
        let took = self.shared.slice_took.load(Ordering::Relaxed);
        if lock(&self.seen).share.look(now, self.shared.baton.has_patients(), slice, turns, took) {
            self.shared.baton.hurry_patient();
        }
    }

    /// Returns how long a step lasted that nobody could look at, if it is to be reported: the GIL came at `came` only.
    fn unseen(&self, seen: &Seen, tick: u64, came: u64) -> Option<u64> {
        if seen.debugged > seen.pulse.since() {
            return None; // it was a debugger that kept it
        }
        let lasted = seen.pulse.unseen(tick, came, self.shared.heartbeat.slept())?;
        seen.reports.is_unseen_due(seen.pulse.tick(), lasted, self.report_after()).then_some(lasted)
    }

    /// The run has ended: so does what was begun to be reported. Called by home, with the GIL.
    pub fn finish(&self) {
        let now = clock::now();
        let mut seen = lock(&self.seen);
        // The watchdog, or its deputy, may be looking still.
        seen.over = true;
        let came = watchdog::last_came(ASKED.load(Ordering::Relaxed), CAME.load(Ordering::Relaxed), now);
        if let Some(lasted) = self.unseen(&seen, self.shared.heartbeat.tick(), came)
            && !self.tell_afterwards(&seen, seen.pulse.tick(), now, true)
        {
            notes::unseen(lasted);
        }
        // Of what lasts until now, all that was seen is told.
        let report_after = self.report_after();
        let judge = |key: BlockKey| {
            let block =
                seen.block.iter().chain(&seen.finished).find(|block| block.who.key == key && block.has_looks())?;
            Some(NamedVerdict::new(block, now, report_after))
        };
        if let Some((key, open)) = seen.open {
            notes::end(open, now, judge(key));
        }
        let stall = seen.reports.stall_tick();
        if let Some((tick, open)) = stall.and_then(|tick| Some((tick, seen.reports.stall(tick)?))) {
            notes::end(open, now, judge(BlockKey::Step(tick)));
        }
        seen.open = None;
        if let Some(tick) = stall {
            let _told = seen.reports.end_stall(tick);
        }
        seen.reports.take_all().into_iter().for_each(|open| notes::end(open, now, None));
    }

    /// A step has lasted since `since`.
    fn stalled(&self, tick: u64, since: u64, now: u64) {
        let rescue_on = self.shared.rescue.load(Ordering::Relaxed);
        let report_after = self.report_after();
        // By the time that the step answers for, as far as that is known.
        let due = |seen: &Seen, now| -> Option<NamedVerdict> {
            if !seen.reports.is_stall_due(tick, since.max(seen.debugged), now, report_after) {
                return None;
            }
            // Nobody is told of who was not looked at: a watchdog that comes late finds much that has lasted.
            seen.judge(tick, now, report_after).filter(|verdict| verdict.charged >= report_after)
        };
        let (is_due, awaits_answer, is_more_told, used) = {
            let seen = lock(&self.seen);
            let is_more_told = seen.unnamed == Some(tick) || seen.again == Some(tick);
            let used = seen.block_of(tick).and_then(Block::cpu);
            (due(&seen, now).is_some(), seen.awaits_answer(now), is_more_told, used)
        };
        // While a probe is out, every look with the GIL would keep the step from getting it.
        if (!rescue_on || awaits_answer) && !is_due && !is_more_told {
            return;
        }
        let asked = times_slept();
        self.attached(|core, seen| {
            if self.shared.heartbeat.tick() != tick {
                return Ok(()); // it ended while we waited for the GIL: the next look judges it
            }
            let Some(member) = holder(core) else { return Ok(()) };
            let contended = times_slept() != asked;
            if seen.unnamed.take_if(|of| *of == tick).is_some()
                && let Some(open) = seen.reports.stall(tick)
            {
                notes::name(core, &member, open)?;
            }
            if seen.again.take_if(|of| *of == tick).is_some()
                && let (Some(open), Some(verdict)) = (seen.reports.stall(tick), seen.judge(tick, now, report_after))
            {
                notes::lasts(open, verdict, now, false, Some(&Snapshot::take(core, &member)?));
            }
            if rescue_on {
                self.consider_rescue(core, &member, seen, contended, now)?;
            }
            if self.shared.heartbeat.tick() != tick {
                return Ok(());
            }
            if let Some(block) = seen.block.as_mut().filter(|block| block.who.key == BlockKey::Step(tick)) {
                block.lock_came(used);
            }
            if let Some(verdict) = due(seen, clock::now()) {
                if debugger::is_at(core.py(), &member)? {
                    return seen.leave_to_debugger(core.py(), &member);
                }
                let open = notes::begin(core, &self.reference, &member, since.max(seen.debugged), None, verdict)?;
                seen.reports.begin_stall(tick, open);
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
        let since = seen.pulse.since().max(seen.debugged);
        let circumstances = Circumstances {
            forbidden: member.forbids_rescue(),
            probing: member.is_probing(),
            contended,
            due: now.saturating_sub(since) >= self.shared.rescue_after.load(Ordering::Relaxed),
            now,
        };
        let action = seen.suspect.judge(circumstances, || look_at(py, member), || doing(member));
        let asks = match action {
            Action::Rescue => false,
            Action::EndProbe => true,
            // Who was asked, and has not moved since, may compute without the GIL.
            Action::Wait | Action::BeginProbe => !member.is_dividing(),
        };
        if asks && self.divides(py, member, now.saturating_sub(since))? && division::ask(core, member)? {
            seen.asked = Some(Arc::clone(member));
            return Ok(());
        }
        match action {
            Action::Wait => {}
            Action::EndProbe => member.end_probe(py)?,
            Action::BeginProbe | Action::Rescue if debugger::is_at(py, member)? => {
                seen.leave_to_debugger(py, member)?
            }
            Action::BeginProbe => {
                begin_probe(py, member)?;
                seen.probed = Some(Arc::clone(member));
            }
            Action::Rescue => {
                if let Some(serial) = rescue(core, member, since)? {
                    seen.suspect.forget();
                    if let Some(mut block) = seen.block.take() {
                        block.put_aside(serial);
                        seen.asides.push((member.id(), block));
                    }
                    let now = clock::now();
                    seen.reports.move_aside(serial, now).into_iter().for_each(|open| notes::rescued(open, now));
                }
            }
        }
        Ok(())
    }

    /// True if the step of `member` is to be divided, which has lasted for so long.
    fn divides(&self, py: Python<'_>, member: &Member, lasted: u64) -> PyResult<bool> {
        if !self.shared.divides.load(Ordering::Relaxed) || member.forbids_rescue() {
            return Ok(false);
        }
        let is_due = |known| watchdog::is_division_due(lasted, self.shared.rescue_after.load(Ordering::Relaxed), known);
        let is_slice = || self.shared.heartbeat.tick() == self.shared.slice.load(Ordering::Relaxed);
        let is_known = || is_slice() || division::is_learned(py, member);
        Ok((is_due(false) || is_due(true) && is_known()) && !debugger::is_at(py, member)?)
    }

    /// Steps that are aside without having said so are reported too.
    fn look_aside(&self, now: u64) {
        let now = now.saturating_add(AHEAD.load(Ordering::Relaxed));
        // Patients are not blocked, and to look at them would take the GIL from those that compute.
        let some_aside = self.shared.counters.aside.load(Ordering::Relaxed) > self.shared.baton.patients();
        if !lock(&self.seen).reports.is_aside_look_due(some_aside, now) {
            return;
        }
        self.attached(|core, seen| {
            seen.reports.note_aside_look(now);
            let members: Vec<_> = lock(&core.get().threads.members).values().cloned().collect();
            // Nobody's session is written into: what waits behind a debugger is told of when that has gone.
            let mut is_quiet = false;
            for member in &members {
                is_quiet |= debugger::is_at(core.py(), member)?;
            }
            let relief_starts = core.get().threads.spawning.load(Ordering::Relaxed);
            let mut aside = Vec::new();
            for member in members.iter().filter(|member| member.aside_reason().is_some_and(Reason::needs_gates)) {
                let Some(times) = member.aside_times() else { continue };
                let found = SeenAside { serial: times.serial, since: times.since };
                aside.push(found);
                if is_quiet {
                    continue;
                }
                let report_after = self.report_after();
                if seen.aside(times.serial).is_none() {
                    // From here on it is looked at. A watchdog that comes late may not come again in time.
                    let key = BlockKey::Aside(times.serial);
                    let who = Suspected { key, since: times.since, thread: member.thread };
                    let mut block = Block::new(who, report_after, seen.overslept);
                    block.put_aside(times.serial);
                    block.wait_for_most(report_after);
                    if now.saturating_sub(times.since) >= report_after && !self.shared.baton.is_resuming(member.id()) {
                        block.add_aside(now);
                    }
                    seen.asides.push((member.id(), block));
                }
                let Some(block) = seen.aside(times.serial).filter(|block| block.has_looks()) else { continue };
                if seen.reports.is_aside_due(found, relief_starts, now, report_after) {
                    let verdict = NamedVerdict::new(block, now, report_after);
                    if verdict.charged >= report_after {
                        let released = Some(times.released);
                        let open = notes::begin(core, &self.reference, member, times.since, released, verdict)?;
                        seen.reports.begin_aside(times.serial, open, now);
                    }
                } else if let Some(open) = seen.reports.take_aside_telling(times.serial, now) {
                    let verdict = NamedVerdict::of_aside(member.thread, times.since, now, report_after);
                    notes::lasts(open, verdict, now, false, Some(&Snapshot::take(core, member)?));
                }
            }
            // One that is back for a moment, and waits on in the next piece.
            let tick = self.shared.heartbeat.tick();
            let back = members.iter().filter_map(|member| member.back(tick, now).filter(|back| back.in_pieces));
            aside.extend(back.map(|back| SeenAside { serial: back.first.serial, since: back.first.since }));
            let is_there = |block: &Block| aside.iter().any(|seen| block.who.key == BlockKey::Aside(seen.serial));
            seen.asides.retain(|(_, block)| is_there(block));
            seen.reports.take_ended(&aside).into_iter().for_each(|open| notes::end(open, now, None));
            if is_quiet { Ok(()) } else { seen.end.look(core, &members, now) }
        });
    }

    /// Steps that are aside may wait for each other, for ever.
    fn look_for_deadlock(&self, tick: u64, now: u64) {
        let counters = &self.shared.counters;
        let sleeps = counters.aside.load(Ordering::Relaxed) > 0 && self.shared.baton.is_polling();
        if !lock(&self.seen).deadlock.is_look_due(sleeps, tick, now) {
            return;
        }
        self.attached(|core, seen| {
            let standing = deadlock::look(core)?;
            // If a step has begun meanwhile, the next look sees that.
            if seen.deadlock.judge(&standing, now) && self.shared.heartbeat.tick() == tick {
                deadlock::end(core)?;
            }
            Ok(())
        });
    }

    /// Runs `f` with the GIL, if the loop and the interpreter are still there. Nothing in `f` runs Python code or lets
    /// go of the GIL: so it may hold the lock, and neither the loop nor anything of its ends here.
    fn attached(&self, f: impl FnOnce(&Bound<'_, LoopCore>, &mut Seen) -> PyResult<()>) {
        if exit::is_exiting() {
            return;
        }
        let asked = clock::now();
        deputy::ask(asked);
        ffi::attach_quietly(|py| {
            let came = clock::now();
            deputy::answered();
            if watchdog::came_late(asked, came) {
                CAME.store(came, Ordering::Relaxed);
            }
            let Some(core) = lock(&self.core).as_ref().map(|core| core.bind(py).clone()) else { return };
            if let Err(error) = f(&core, &mut lock(&self.seen)) {
                notes::failed(error);
            }
        });
        deputy::answered(); // also where there is no interpreter any more
    }
}
