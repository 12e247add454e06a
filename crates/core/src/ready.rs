//! The inbox: what other threads hand to the loop.
//!
//! The loop's own queue is a plain `VecDeque` inside [`Turn`](crate::turn::Turn), touched only by the holder of the
//! baton. Everybody else pushes here, and the holder moves the lot over at the start of each turn, in order.

use crate::sync::{AtomicBool, Mutex, Ordering, fence, lock, try_look};

/// A queue that any thread may push to and the holder of the baton empties.
pub struct Inbox<T> {
    /// Written by any thread, emptied by the holder. Held while items are moved, and no longer.
    items: Mutex<Vec<T>>,
    /// True if `items` may hold something: set by pushers after the push, cleared by the holder before it looks.
    /// The pusher next looks whether the loop sleeps, and the loop looks here after it said that it would: a fence on
    /// both sides makes one see the other (see [`Baton::begin_poll`](crate::baton::Baton::begin_poll)).
    filled: AtomicBool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { items: Mutex::new(Vec::new()), filled: AtomicBool::new(false) }
    }
}

impl<T> Inbox<T> {
    /// Adds an item. The caller then wakes the loop if it sleeps.
    pub fn push(&self, item: T) {
        lock(&self.items).push(item);
        // Once it is filled it stays so until the holder is about to look, which will find this item, too: had the
        // holder looked before this push, it would have cleared this before, and this thread would see that, as it has
        // had the lock after the holder. Whoever filled it sees to the loop's sleep.
        if !self.filled.load(Ordering::SeqCst) {
            self.filled.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst); // push | look whether the loop sleeps
        }
    }

    /// True if there may be something to take.
    pub fn is_filled(&self) -> bool {
        self.filled.load(Ordering::SeqCst)
    }

    /// Hands everything over, in its order. `take` pushes nothing here and drops nothing; the memory stays for the next
    /// burst.
    pub fn take(&self, take: impl FnMut(T)) {
        if self.filled.swap(false, Ordering::SeqCst) {
            lock(&self.items).drain(..).for_each(take);
        }
    }

    /// Shows each item to `see`, unless the queue is in use at this moment: for garbage collectors.
    pub fn try_each(&self, see: impl FnMut(&T)) {
        try_look(&self.items, |items| items.iter().for_each(see));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_the_order_they_were_pushed() {
        let inbox = Inbox::default();
        assert!(!inbox.is_filled());
        for n in 0..5 {
            inbox.push(n);
        }
        let mut taken = Vec::new();
        inbox.take(|item| taken.push(item));
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        assert!(!inbox.is_filled());
    }

    #[test]
    fn nothing_is_lost_between_many_pushers_and_a_taker() {
        let inbox = Inbox::default();
        let mut got: Vec<(usize, usize)> = Vec::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let inbox = &inbox;
                scope.spawn(move || (0..1000).for_each(|n| inbox.push((thread, n))));
            }
            while got.len() < 4000 {
                inbox.take(|item| got.push(item));
            }
        });
        for thread in 0..4 {
            let of_thread: Vec<_> = got.iter().filter(|(t, _)| *t == thread).map(|(_, n)| *n).collect();
            assert_eq!(of_thread, (0..1000).collect::<Vec<_>>());
        }
    }
}
