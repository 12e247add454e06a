//! One turn of the loop: `wait(..)` -> poll (not here) -> `collect(now)` -> `next()` until it is empty.
//!
//! No system call, no clock and no lock: time comes in as a number, events come in as pushes. What becomes ready during
//! a turn runs in the next one, so a callback that schedules itself cannot starve files and timers.

use crate::poll::Events;
use crate::timers::Timers;
use std::collections::VecDeque;

/// The time that a poll may sleep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wait {
    /// Work is ready: look at files at most, do not sleep.
    No,
    /// Until this time, in seconds of the loop's clock.
    Until(f64),
    /// Until somebody wakes the loop.
    Forever,
}

/// The queues of a loop. Touched only by the holder of the baton.
pub struct Turn<T> {
    ready: VecDeque<T>,
    /// The number of items of `ready` that belong to the generation that runs now.
    generation: usize,
    pub timers: Timers<T>,
    /// Files that were found ready, and wait for a later turn.
    pub found: Events,
}

impl<T> Default for Turn<T> {
    fn default() -> Self {
        Self { ready: VecDeque::new(), generation: 0, timers: Timers::default(), found: Events::default() }
    }
}

impl<T> Turn<T> {
    /// Queues an item for the next generation.
    #[inline]
    pub fn push(&mut self, item: T) {
        self.ready.push_back(item);
    }

    /// Puts an item in front, as part of the generation that runs: for one that was taken too early.
    pub fn push_front(&mut self, item: T) {
        self.ready.push_front(item);
        self.generation += 1;
    }

    /// True if anything is ready, of this generation or the next.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The number of items that are ready.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The time that the poll before the next generation may sleep.
    pub fn wait(&self) -> Wait {
        if self.has_ready() || !self.found.is_empty() {
            return Wait::No;
        }
        self.timers.first().map_or(Wait::Forever, Wait::Until)
    }

    /// Queues what is due at `now`.
    pub fn collect(&mut self, now: f64) {
        while let Some(item) = self.timers.pop_due(now) {
            self.ready.push_back(item);
        }
    }

    /// Closes the generation: [`next`](Self::next) gives what is ready now, and no later item. Says how many that is.
    pub fn begin(&mut self) -> usize {
        self.generation = self.ready.len();
        self.generation
    }

    /// The next item of this generation.
    #[inline]
    #[allow(clippy::should_implement_trait)] // not an iterator: items are pushed between two calls
    pub fn next(&mut self) -> Option<T> {
        if self.generation == 0 {
            return None;
        }
        self.generation -= 1;
        self.ready.pop_front()
    }

    /// Takes everything out: at the end of a loop's life.
    pub fn take_all(&mut self) -> (VecDeque<T>, Timers<T>) {
        self.generation = 0;
        (std::mem::take(&mut self.ready), std::mem::take(&mut self.timers))
    }

    /// The items that are ready, in their order.
    pub fn ready(&self) -> impl Iterator<Item = &T> {
        self.ready.iter()
    }

    /// All items, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.ready.iter().chain(self.timers.iter())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_ready_in_a_turn_runs_in_the_next() {
        let mut turn = Turn::default();
        turn.push(1);
        turn.push(2);
        assert_eq!(turn.begin(), 2);
        assert_eq!(turn.next(), Some(1));
        turn.push(3);
        assert_eq!(turn.next(), Some(2));
        assert_eq!(turn.next(), None);
        assert_eq!(turn.wait(), Wait::No);
        assert_eq!(turn.begin(), 1);
        assert_eq!(turn.next(), Some(3));
    }

    #[test]
    fn a_sleep_ends_at_the_first_timer() {
        let mut turn: Turn<u8> = Turn::default();
        assert_eq!(turn.wait(), Wait::Forever);
        turn.timers.insert(30.0, 1);
        turn.timers.insert(20.0, 2);
        assert_eq!(turn.wait(), Wait::Until(20.0));
        turn.collect(25.0);
        assert_eq!(turn.begin(), 1);
        assert_eq!(turn.next(), Some(2));
        assert_eq!(turn.wait(), Wait::Until(30.0));
    }

    #[test]
    fn an_item_put_back_in_front_runs_again_in_the_same_generation() {
        let mut turn = Turn::default();
        turn.push("a");
        turn.push("b");
        turn.begin();
        let a = turn.next().expect("two items were pushed");
        turn.push_front(a);
        assert_eq!(turn.next(), Some("a"));
        assert_eq!(turn.next(), Some("b"));
        assert_eq!(turn.next(), None);
    }
}
