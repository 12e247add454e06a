//! Timers: a heap of `(when, sequence)`, first in first out on ties.
//!
//! Times are floating-point seconds, as programs give them and as `loop.time()` returns them: a timer is due exactly
//! when the program's own comparison of the two says so, and the clock may be any, also one below zero or of other
//! units.
//!
//! A timer that is cancelled as the last one in the heap leaves it at once: a timeout that was not needed, most often.
//! Any other stays until it is due or until the dead are the majority; then the heap is rebuilt without them. O(log n)
//! to insert and to pop, fine below a million timers; beyond that a timer wheel. The standard library's heap does not
//! give its last item away.

use crate::sync::{AtomicUsize, Ordering};

/// Below this many cancelled timers a rebuild is not worth its cost (asyncio's `_MIN_CANCELLED_TIMER_HANDLES` is 100).
const FEW_CANCELLED: usize = 100;

/// Seconds as a number of the same order: integers compare faster. There is no NaN among them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seconds(u64);

const SIGN: u64 = 1 << 63;

impl Seconds {
    #[inline]
    fn new(seconds: f64) -> Self {
        let bits = (seconds + 0.0).to_bits(); // -0.0 becomes 0.0
        Self(if bits & SIGN == 0 { bits | SIGN } else { !bits })
    }

    #[inline]
    fn get(self) -> f64 {
        f64::from_bits(if self.0 & SIGN == 0 { !self.0 } else { self.0 & !SIGN })
    }
}

struct Entry<T> {
    key: (Seconds, u64),
    item: T,
}

/// Items with the time, in seconds of any one clock, from which they are due.
pub struct Timers<T> {
    /// No entry is due before its parent: that of `n` stands at `(n - 1) / 2`.
    heap: Vec<Entry<T>>,
    /// Grows with every insert: breaks ties in the order of insertion.
    sequence: u64,
}

/// The number of cancelled timers in a heap. Any thread that cancels raises it, the holder of the baton resets it. An
/// estimate: a timer may have been due before, or have run. It only decides when a rebuild pays, so Relaxed will do.
#[derive(Debug)]
pub struct Cancelled(AtomicUsize);

impl Default for Cancelled {
    fn default() -> Self {
        Self(AtomicUsize::new(0))
    }
}

impl Cancelled {
    /// One more timer in the heap is dead. Of two threads that say so at once one may not be counted.
    pub fn add(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The dead timers have left the heap. Those that were counted and were not in it any more are forgotten too.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// True if a heap of `timers` entries is mostly dead.
    pub fn is_majority(&self, timers: usize) -> bool {
        let dead = self.0.load(Ordering::Relaxed);
        dead > FEW_CANCELLED && dead * 2 > timers
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: Vec::new(), sequence: 0 }
    }
}

impl<T> Timers<T> {
    /// Adds `item`, due from `when` on. NaN is no time: it would never be due, nor would what is behind it.
    pub fn insert(&mut self, when: f64, item: T) {
        debug_assert!(!when.is_nan(), "a timer needs a time");
        self.sequence += 1;
        self.heap.push(Entry { key: (Seconds::new(when), self.sequence), item });
        self.rise(self.heap.len() - 1);
    }

    /// The time at which the first timer is due.
    pub fn first(&self) -> Option<f64> {
        self.heap.first().map(|entry| entry.key.0.get())
    }

    /// Takes the first timer if it is due at `now`.
    pub fn pop_due(&mut self, now: f64) -> Option<T> {
        if self.first()? > now {
            return None;
        }
        let first = self.heap.swap_remove(0);
        self.sink(0);
        Some(first.item)
    }

    /// Takes the last entry of the heap, if it is the one: the timer that was added last, unless that is due before
    /// others.
    pub fn take_last_if(&mut self, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        self.heap.pop_if(|entry| is_it(&entry.item)).map(|entry| entry.item)
    }

    /// Moves an entry up, past those that are due after it.
    #[inline]
    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent].key < self.heap[at].key {
                break;
            }
            self.heap.swap(parent, at);
            at = parent;
        }
    }

    /// Moves an entry down, past those that are due before it.
    fn sink(&mut self, mut at: usize) {
        loop {
            let children = 2 * at + 1..(2 * at + 3).min(self.heap.len());
            let Some(first) = children.min_by_key(|child| self.heap[*child].key) else { break };
            if self.heap[at].key < self.heap[first].key {
                break;
            }
            self.heap.swap(at, first);
            at = first;
        }
    }

    /// The number of timers that are due at `now` and that `counts`. Looks at no others, but for their neighbours: who
    /// stands below one that is not due in the heap is not due either.
    pub fn due_len(&self, now: f64, counts: impl Fn(&T) -> bool) -> usize {
        let (mut below, mut count) = (vec![0], 0);
        while let Some(at) = below.pop() {
            if let Some(entry) = self.heap.get(at).filter(|entry| entry.key.0.get() <= now) {
                count += usize::from(counts(&entry.item));
                below.extend([2 * at + 1, 2 * at + 2]);
            }
        }
        count
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Takes out every item that is dead. The caller drops them when it holds nothing.
    pub fn take_dead(&mut self, is_dead: impl Fn(&T) -> bool) -> Vec<T> {
        let (dead, alive): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.heap).into_iter().partition(|entry| is_dead(&entry.item));
        self.heap = alive;
        (0..self.heap.len() / 2).rev().for_each(|at| self.sink(at));
        dead.into_iter().map(|entry| entry.item).collect()
    }

    /// All items, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|entry| &entry.item)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_timer_is_never_early_and_ties_keep_their_order() {
        let mut timers = Timers::default();
        timers.insert(20.0, "late");
        timers.insert(10.0, "first");
        timers.insert(10.0, "second");
        assert_eq!(timers.pop_due(9.999), None);
        assert_eq!(timers.pop_due(10.0), Some("first"));
        assert_eq!(timers.pop_due(10.0), Some("second"));
        assert_eq!(timers.pop_due(19.0), None);
        assert_eq!(timers.first(), Some(20.0));
    }

    #[test]
    fn any_clock_will_do_also_one_that_begins_below_zero() {
        let mut timers = Timers::default();
        for (when, item) in [(f64::INFINITY, 6), (1e300, 5), (0.0, 3), (-0.0, 4), (-7.5, 2), (f64::NEG_INFINITY, 1)] {
            timers.insert(when, item);
        }
        assert_eq!(timers.pop_due(-8.0), Some(1));
        assert_eq!(timers.pop_due(-8.0), None);
        let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(1e300)).collect();
        assert_eq!(due, [2, 3, 4, 5]);
        assert_eq!(timers.pop_due(f64::MAX), None);
    }

    #[test]
    fn a_heap_is_mostly_dead_anew_only_after_as_many_timers_have_died() {
        let cancelled = Cancelled::default();
        for _ in 0..2 {
            (0..=FEW_CANCELLED).for_each(|_| cancelled.add());
            assert!(cancelled.is_majority(FEW_CANCELLED) && !cancelled.is_majority(4 * FEW_CANCELLED));
            // All are cleared, however many of them were found.
            cancelled.clear();
            assert!(!cancelled.is_majority(0));
        }
    }

    #[test]
    fn the_timer_that_was_added_last_can_be_taken_back_at_once() {
        let mut timers = Timers::default();
        timers.insert(10.0, "first");
        timers.insert(20.0, "second");
        assert_eq!(timers.take_last_if(|item| *item == "first"), None);
        assert_eq!(timers.take_last_if(|item| *item == "second"), Some("second"));
        assert_eq!(timers.pop_due(30.0), Some("first"));
        assert_eq!(timers.take_last_if(|_| true), None);
    }

    #[test]
    fn those_that_are_due_are_counted() {
        let mut timers = Timers::default();
        for at in [5, 1, 9, 3, 7, 3] {
            timers.insert(f64::from(at), at);
        }
        for (now, due) in [(0.5, 0), (3.0, 3), (8.0, 5), (100.0, 6)] {
            assert_eq!(timers.due_len(now, |_| true), due, "{now}");
        }
        assert_eq!(timers.due_len(8.0, |at| *at != 3), 3, "some are dead");
        assert_eq!(Timers::<()>::default().due_len(1.0, |()| true), 0);
    }

    proptest! {
        /// Against a sorted list: same items, same order, whatever is inserted, popped and rebuilt between.
        #[test]
        fn behaves_as_a_stable_sorted_list(program in prop::collection::vec((0u8..5, 0u64..50), 1..200)) {
            let seconds = |value| value as f64 / 10.0 - 2.0;
            let mut timers = Timers::default();
            let mut model: Vec<(u64, usize)> = Vec::new();
            for (n, (what, value)) in program.into_iter().enumerate() {
                match what {
                    0 | 1 => {
                        timers.insert(seconds(value), n);
                        let at = model.partition_point(|(when, _)| *when <= value);
                        model.insert(at, (value, n));
                    }
                    2 => {
                        let expected = model.first().filter(|(when, _)| *when <= value).map(|(_, item)| *item);
                        if expected.is_some() {
                            model.remove(0);
                        }
                        prop_assert_eq!(timers.pop_due(seconds(value)), expected);
                    }
                    3 => {
                        // Whichever is last in the heap.
                        if let Some(taken) = timers.take_last_if(|item| *item as u64 % 2 == value % 2) {
                            let place = model.iter().position(|(_, item)| *item == taken);
                            prop_assert!(place.is_some());
                            model.remove(place.unwrap_or_default());
                        }
                    }
                    _ => {
                        let mut dead = timers.take_dead(|item| *item as u64 % 3 == value % 3);
                        dead.sort_unstable();
                        let mut expected: Vec<_> =
                            model.iter().map(|(_, item)| *item).filter(|item| *item as u64 % 3 == value % 3).collect();
                        expected.sort_unstable();
                        prop_assert_eq!(dead, expected);
                        model.retain(|(_, item)| *item as u64 % 3 != value % 3);
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                prop_assert_eq!(timers.first(), model.first().map(|(when, _)| seconds(*when)));
            }
        }
    }
}
