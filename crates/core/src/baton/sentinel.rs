//! The sentinel: a spare that looks at a baton which was released quietly, twice, and takes it if nobody came back for it.

use super::{After, Baton, FREE, Queue, SENTINEL_PATIENCE, SentinelWatch, Spare, SpareAction, Waiter};
use crate::sync::{Ordering, fence, lock};
use std::sync::Arc;

impl Baton {
    pub(super) fn wake_sentinel(&self) -> After {
        let mut queue = lock(&self.queue);
        self.call_sentinel(&mut queue)
    }

    /// Has a spare look at a baton that was released quietly.
    pub(super) fn call_sentinel(&self, queue: &mut Queue) -> After {
        if queue.sentinel.is_none() {
            let Some(spare) = queue.spares.last() else {
                return After::Spawn;
            };
            queue.sentinel = Some(Arc::clone(spare));
        }
        self.sentinel_up.store(true, Ordering::SeqCst);
        if let Some(sentinel) = &queue.sentinel {
            sentinel.parker.unpark();
        }
        After::Nothing
    }

    pub(super) fn dismiss_sentinel(&self, queue: &mut Queue, who: &Waiter) {
        if queue.sentinel.as_ref().is_some_and(|waiter| waiter.id == who.id) {
            queue.sentinel = None;
            self.sentinel_up.store(false, Ordering::SeqCst);
        }
    }

    /// One look of the sentinel, [`SENTINEL_LOOK`] after the last: it takes a baton that nobody came back for.
    pub fn stand_by(&self, me: &Arc<Waiter>, SentinelWatch { seen, patience }: SentinelWatch) -> SpareAction {
        if self.is_granted(me) {
            return SpareAction::End(Spare::Holds);
        }
        let quiet = self.quiet.load(Ordering::SeqCst);
        if quiet != seen {
            return SpareAction::StandBy(SentinelWatch { seen: quiet, patience: SENTINEL_PATIENCE });
        }
        if self.is_free() {
            let mut queue = lock(&self.queue);
            if self.quiet.load(Ordering::SeqCst) == seen && self.compare_exchange(FREE, me.holding()) {
                self.stand_up(&mut queue, me);
                return SpareAction::End(Spare::Holds);
            }
        }
        if patience > 1 {
            return SpareAction::StandBy(SentinelWatch { seen, patience: patience - 1 });
        }
        let mut queue = lock(&self.queue);
        if self.is_granted(me) {
            return SpareAction::End(Spare::Holds);
        }
        self.dismiss_sentinel(&mut queue, me);
        fence(Ordering::SeqCst); // lie down | look: a quiet releaser lets go first and looks for the sentinel then
        if self.compare_exchange(FREE, me.holding()) {
            self.stand_up(&mut queue, me);
            return SpareAction::End(Spare::Holds);
        }
        SpareAction::Sleep
    }
}
