//! A closer look at what blocks a loop: evidence is collected, a report is begun where nobody gets the GIL, and what
//! lasts is told of again. Nothing here needs the GIL: the watchdog does it at each look, and its deputy while the
//! watchdog waits for the GIL.

use super::block::{self, Block, BlockKey, Suspected, own};
use super::named_verdict::NamedVerdict;
use super::watch::{Seen, Watch};
use super::{deputy, notes, plain};
use crate::outbox;
use everloop_core::baton::ThreadId;
use everloop_core::sync::lock;
use std::sync::atomic::Ordering;

/// The form of reports that says that nobody wants any, and that of JSON: see outbox.rs.
const OFF: u8 = 0;
const JSON: u8 = 2;
/// Fewer steps than this in a turn are not many.
const FEW: u64 = 3;

impl Watch {
    /// Looks closer, if something lasts. Needs no GIL.
    pub fn look_closer(&self, now: u64) {
        let report_after = self.report_after();
        self.look_at_asides(now, report_after);
        let (who, overslept, steps) = {
            let mut seen = lock(&self.seen);
            if seen.over {
                return;
            }
            let who = self.suspected(&mut seen, now);
            let is_it = |block: &Block| who.is_some_and(|who| block.who.key == who.key);
            if !seen.block.as_ref().is_some_and(is_it) {
                self.finish_block(&mut seen, now, report_after);
            }
            let Some(who) = who else { return };
            let overslept = seen.overslept;
            seen.block.get_or_insert_with(|| Block::new(who, report_after, overslept));
            let is_told = matches!(who.key, BlockKey::Step(tick) if seen.reports.stall(tick).is_some());
            // Whoever keeps the GIL is to be told of as soon as that is proven.
            let is_due =
                |block: &Block| block.is_look_due(now) || deputy::is_overdue(now) && !is_told && !block.keeps_gil();
            if !seen.block.as_ref().is_some_and(is_due) {
                return self.tell_blind(&mut seen, now, report_after, false);
            }
            let is_turn = matches!(who.key, BlockKey::Turn(_));
            (who, overslept, seen.long_turn.filter(|_| is_turn).map_or(0, |turn| turn.steps - 1))
        };
        let found = block::look(&who, now, steps);
        let seen = &mut *lock(&self.seen);
        let is_it = |block: &&mut Block| block.who.key == who.key && !seen.over;
        let Some(block) = seen.block.as_mut().filter(is_it) else { return };
        block.add(found, report_after, overslept);
        if let BlockKey::Step(tick) = who.key
            && now.saturating_sub(who.since) >= report_after / 2
        {
            block.ask_names(&self.shared, tick);
        }
        self.tell_blind(seen, now, report_after, true);
    }

    /// Looks at the steps that are aside, and could be told of.
    fn look_at_asides(&self, now: u64, report_after: u64) {
        let is_due = |(id, block): &&(ThreadId, Block)| block.is_look_due(now) && !self.shared.baton.is_resuming(*id);
        let due: Vec<_> = lock(&self.seen).asides.iter().filter(is_due).map(|(_, block)| block.who).collect();
        for who in due {
            let found = block::look(&who, now, 0);
            let seen = &mut *lock(&self.seen);
            let overslept = seen.overslept;
            if let Some((_, block)) = seen.asides.iter_mut().find(|(_, block)| block.who.key == who.key) {
                block.add(found, report_after, overslept);
            }
        }
    }

    /// What blocks the loop now, if it is more than a moment.
    fn suspected(&self, seen: &mut Seen, now: u64) -> Option<Suspected> {
        let thread = self.shared.turner.load(Ordering::Relaxed);
        let tick = self.shared.heartbeat.tick();
        // The pulse stands still while the watchdog waits for the GIL.
        let since = if seen.pulse.tick() == tick { seen.pulse.since() } else { seen.noticed.since(tick, now) };
        // As does what is known of the turn. A step of it that has lasted is told of by itself.
        let is_told = tick % 2 == 1 && now.saturating_sub(since) >= self.report_after();
        let turns = self.shared.counters.turns.load(Ordering::Relaxed);
        if let Some(turn) = seen.long_turn.filter(|turn| turn.turn == turns && !is_told) {
            return Some(Suspected { key: BlockKey::Turn(turns), since: turn.since, thread });
        }
        if tick % 2 == 1 {
            if seen.pulse.tick() != tick {
                if !deputy::is_overdue(now) {
                    return None; // it has begun since the last look
                }
                self.shared.sighting.note(tick, since);
            }
            return Some(Suspected { key: BlockKey::Step(tick), since: since.max(seen.debugged), thread });
        }
        let woken = self.wakes()?;
        Some(Suspected { key: BlockKey::Waking(woken), since: woken, thread })
    }

    /// Begins a report where the GIL does not come, and goes on with one that is open. `is_new`: there was another look.
    fn tell_blind(&self, seen: &mut Seen, now: u64, report_after: u64, is_new: bool) {
        let Some(block) = seen.block.as_mut().filter(|block| block.has_looks()) else { return };
        let key = block.who.key;
        let verdict = NamedVerdict::new(block, now, report_after);
        let gil_is_kept = match key {
            BlockKey::Step(_) => deputy::is_overdue(now) && verdict.keeps_gil(block.keeps_gil()),
            BlockKey::Waking(_) => true,
            BlockKey::Turn(_) | BlockKey::Aside(_) => false,
        };
        if let BlockKey::Step(tick) = key
            && is_new
        {
            let at = own(verdict.blamed(block));
            self.shared.sighting.judge(tick, plain::line(&verdict, at));
        }
        let open = match key {
            BlockKey::Step(tick) => seen.reports.stall(tick),
            _ => seen.open.filter(|(of, _)| *of == key).map(|(_, open)| open),
        };
        if let Some(open) = open {
            if block.is_telling_due(now) {
                match key {
                    // With the GIL, which can say who waits.
                    BlockKey::Step(tick) if !gil_is_kept => seen.again = Some(tick),
                    _ => {
                        let told = gil_is_kept && say(block, &verdict, now);
                        notes::lasts(open, verdict, now, told, None);
                    }
                }
            }
            return;
        }
        let is_due = verdict.charged >= report_after
            && match key {
                BlockKey::Step(_) | BlockKey::Waking(_) | BlockKey::Aside(_) => gil_is_kept,
                // A step that has had half of that time is on its way to be told of by itself.
                BlockKey::Turn(_) => {
                    let current = now.saturating_sub(seen.pulse.since());
                    seen.long_turn.is_some_and(|turn| turn.steps >= FEW) && current < verdict.charged / 2
                }
            };
        if !is_due {
            return;
        }
        if let BlockKey::Step(tick) = key {
            block.ask_names(&self.shared, tick);
        }
        let told = gil_is_kept && block.line_is_news(now) && say(block, &verdict, now);
        let open = notes::begin_blind(&self.reference, &self.shared, block, verdict, now, told);
        if let BlockKey::Step(tick) = key {
            seen.reports.begin_stall(tick, open);
            seen.unnamed = Some(tick);
        } else {
            seen.open = Some((key, open));
        }
    }

    /// What blocked the loop does so no more.
    fn finish_block(&self, seen: &mut Seen, now: u64, report_after: u64) {
        let Some(block) = seen.block.take() else { return };
        let judge = || NamedVerdict::new(&block, now, report_after);
        if let Some((_, open)) = seen.open.take_if(|(of, _)| *of == block.who.key) {
            notes::end(open, now, Some(judge()));
        }
        let BlockKey::Step(tick) = block.who.key else { return };
        if self.shared.heartbeat.tick() == tick {
            seen.finished = Some(block); // the next look judges it
            return;
        }
        // While the watchdog waits for the GIL, nobody else ends the report before the next one begins, or tells of a step
        // that has kept no GIL: the watchdog would not know it any more.
        if let Some(open) = seen.reports.end_stall(tick) {
            notes::end(open, now, Some(judge()));
        } else if deputy::is_overdue(now) && block.has_looks() {
            let verdict = judge();
            if verdict.charged >= report_after && !verdict.blames_nobody() {
                let open = notes::begin_blind(&self.reference, &self.shared, &block, verdict.clone(), now, false);
                seen.reports.begin_stall(tick, open);
                let _open = seen.reports.end_stall(tick);
                notes::end(open, now, Some(verdict));
            }
        }
        if seen.pulse.tick() == tick {
            seen.finished = Some(block);
        }
    }
}

/// Has a report written that needs no GIL, unless nobody wants any.
fn say(block: &Block, verdict: &NamedVerdict, now: u64) -> bool {
    let mode = outbox::report_mode();
    let frames = verdict.blamed(block);
    let lasted = now.saturating_sub(block.who.since);
    match mode {
        OFF => return false,
        JSON => deputy::say(plain::json(verdict, own(frames), lasted)),
        _ => deputy::say(plain::text(verdict, own(frames), frames, lasted)),
    }
    true
}
