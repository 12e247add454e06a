//! Patients: threads whose steps compute. They let all others go first, and go on when nobody has anything to do, one
//! after the other; or when somebody who keeps the time hurries the first of them, which resumes as any other step then.
//!
//! A thread that sleeps in the poll sleeps on meanwhile: the baton is taken from it, and given back, without a system
//! call. Where it was told that there is something to do, or may find that by itself (`idle`), it goes first.

use super::{Baton, FREE, Queue, Waiter};
use crate::sync::{Ordering, fence, lock};
use std::sync::Arc;

impl Baton {
    /// Queues for the baton behind all who have something to do: `true` if it came at once. Then wait as after
    /// [`queue_resume`](Self::queue_resume). `idle`: the inbox is empty, so a thread that sleeps in the poll sleeps on.
    pub fn queue_patient(&self, me: &Arc<Waiter>, idle: bool) -> bool {
        let mut queue = lock(&self.queue);
        if self.is_granted(me) {
            return true;
        }
        queue.patients.push_back(Arc::clone(me));
        self.patient.store(queue.patients.len(), Ordering::SeqCst);
        if idle {
            self.serve_patient(&mut queue);
        }
        self.is_granted(me)
    }

    /// True if somebody is patient. For a thread that has lain down in the poll, and found nothing there.
    #[inline]
    pub fn has_patients(&self) -> bool {
        self.patients() != 0
    }

    /// The number of them.
    #[inline]
    pub fn patients(&self) -> usize {
        self.patient.load(Ordering::SeqCst)
    }

    /// A thread that sleeps in the poll, and has nothing to do, lets the first of the patients have the baton.
    pub fn pass_to_patient(&self) {
        self.serve_patient(&mut lock(&self.queue));
    }

    /// Gives the first of the patients the baton, if it is that of a thread that sleeps on in the poll.
    pub(super) fn serve_patient(&self, queue: &mut Queue) {
        let sleeps_on = queue.polling.as_ref().is_some_and(|sleeper| !sleeper.told);
        if let Some(first) = queue.patients.front().filter(|_| sleeps_on).cloned()
            && self.take_from_sleeper(queue, &first)
        {
            self.end_patience(queue);
            first.parker.unpark();
        }
    }

    /// The first of the patients is patient no longer.
    fn end_patience(&self, queue: &mut Queue) -> Option<Arc<Waiter>> {
        let first = queue.patients.pop_front();
        self.patient.store(queue.patients.len(), Ordering::SeqCst);
        first
    }

    /// The others have had their time: the first of the patients goes before all who have not waited longer. For
    /// whoever keeps the time, on any thread.
    pub fn hurry_patient(&self) {
        let mut queue = lock(&self.queue);
        let Some(first) = self.end_patience(&mut queue) else { return };
        self.wanted.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst); // announce | look, as in `queue_resume`
        if self.compare_exchange(FREE, first.holding()) || self.take_from_sleeper(&mut queue, &first) {
            self.wanted.fetch_sub(1, Ordering::SeqCst);
            first.parker.unpark();
        } else {
            queue.resuming.push_back(first);
        }
    }

    /// Takes a thread out of the queue of those that resume, or are patient. False: it has the baton already.
    pub fn cancel_resume(&self, me: &Waiter) -> bool {
        let mut queue = lock(&self.queue);
        let before = queue.resuming.len();
        queue.resuming.retain(|waiter| waiter.id != me.id);
        if queue.resuming.len() < before {
            self.wanted.fetch_sub(1, Ordering::SeqCst);
            return true;
        }
        let before = queue.patients.len();
        queue.patients.retain(|waiter| waiter.id != me.id);
        self.patient.store(queue.patients.len(), Ordering::SeqCst);
        queue.patients.len() < before
    }
}
