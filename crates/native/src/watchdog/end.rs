//! The end of a run, which steps in blocking calls hold up: also those that have said so, and are not reported.

use super::notes;
use crate::aside::Reason;
use crate::event_loop::LoopCore;
use crate::member::Member;
use pyo3::prelude::*;
use std::mem;
use std::sync::Arc;

/// So many nanoseconds may a run that is to end wait for steps before they are told of.
const PATIENCE: u64 = 1_000_000_000;

/// The end of a run, as remembered from look to look.
#[derive(Default)]
pub struct End {
    /// The time at which it was first found that the run is to end; None: it is not.
    since: Option<u64>,
    told: bool,
}

impl End {
    /// Looks whether the run is to end, and tells of the steps that it waits for, once.
    pub fn look(&mut self, core: &Bound<'_, LoopCore>, members: &[Arc<Member>], now: u64) -> PyResult<()> {
        if !core.get().is_stopping() {
            self.since = None;
            return Ok(());
        }
        let waited = now.saturating_sub(*self.since.get_or_insert(now));
        if waited < PATIENCE || mem::replace(&mut self.told, true) {
            return Ok(());
        }
        let holds_up = |member: &&Arc<Member>| member.aside_reason().is_some_and(|reason| reason != Reason::BlockOn);
        members.iter().filter(holds_up).try_for_each(|member| notes::holds_end(core, member, waited))
    }
}
