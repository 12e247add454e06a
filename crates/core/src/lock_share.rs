//! Decides when a loop that always has work to do lends the global lock to other threads.
//!
//! A thread that has that lock would be made to give it up only every few milliseconds, and each call that runs in an
//! executor needs that twice. Letting go of it for a moment now and then is worse than nothing: each time the waiting
//! threads are woken, come too late, and begin their wait anew (measured: 27 milliseconds to get it, against 0.3). So
//! it is lent for as long as it takes to wake up; often while somebody takes it, and ever more seldom while nobody
//! does.
//!
//! All times are nanoseconds of one clock, which the caller reads.

use std::time::Duration;

const SHORTEST: u64 = 50_000;
const LONGEST: u64 = 5_000_000;
/// The longest interval while other threads are at work: those of steps that are aside, or of an executor.
const LONGEST_IN_COMPANY: u64 = 400_000;
/// The time for which one sign of another thread counts.
const COMPANY: u64 = 100_000_000;

/// One thread's share of the lock.
#[derive(Clone, Copy, Debug)]
pub struct LockShare {
    /// The time at which the lock is to be lent next; None while it has just been free.
    due: Option<u64>,
    /// Nanoseconds between two times at which the lock is lent.
    interval: u64,
    /// True if another thread has sent something since the lock was last lent.
    heard: bool,
    /// The time until which other threads are taken to be at work, because one was heard.
    company_until: u64,
}

impl Default for LockShare {
    fn default() -> Self {
        Self { due: None, interval: LONGEST, heard: false, company_until: 0 }
    }
}

impl LockShare {
    /// The time for which the lock is lent: as long as a sleeping thread takes to wake up.
    pub const WAKE_UP: Duration = Duration::from_micros(25);

    /// This thread has let go of the lock anyway.
    pub fn was_free(&mut self) {
        self.due = None;
    }

    /// Another thread has sent something.
    pub fn hear(&mut self) {
        self.heard = true;
    }

    /// True if the lock is to be lent now.
    pub fn is_due(&mut self, now: u64) -> bool {
        now >= *self.due.get_or_insert(now + self.interval)
    }

    /// The lock was lent at `now`. `taken`: somebody took it. `aside`: other threads are at work in steps of this loop.
    pub fn lent(&mut self, now: u64, taken: bool, aside: bool) {
        if std::mem::take(&mut self.heard) || aside {
            self.company_until = now + COMPANY;
        }
        let longest = if now < self.company_until { LONGEST_IN_COMPANY } else { LONGEST };
        self.interval = if taken { self.interval / 2 } else { self.interval * 2 }.clamp(SHORTEST, longest);
        self.due = Some(now + self.interval);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The time at which the lock is lent next.
    fn next(share: &LockShare) -> u64 {
        let mut low = 0;
        while !share.clone().is_due(low) {
            low += SHORTEST / 2;
        }
        low
    }

    #[test]
    fn a_lock_that_was_free_is_lent_after_a_whole_interval() {
        let mut share = LockShare::default();
        assert!(!share.is_due(1_000));
        assert!(!share.is_due(1_000 + LONGEST - 1));
        assert!(share.is_due(1_000 + LONGEST));
        share.was_free();
        assert!(!share.is_due(2 * LONGEST), "the interval begins anew");
    }

    #[test]
    fn a_lock_that_is_taken_is_lent_more_often_and_one_that_is_not_more_seldom() {
        let mut share = LockShare::default();
        share.lent(0, true, false);
        assert_eq!(next(&share), LONGEST / 2);
        share.lent(0, true, false);
        assert_eq!(next(&share), LONGEST / 4);
        share.lent(0, false, false);
        assert_eq!(next(&share), LONGEST / 2);
        (0..20).for_each(|_| share.lent(0, true, false));
        assert_eq!(next(&share), SHORTEST);
        (0..20).for_each(|_| share.lent(0, false, false));
        assert_eq!(next(&share), LONGEST);
    }

    #[test]
    fn beside_other_threads_it_is_lent_often_until_none_was_heard_for_a_while() {
        let mut share = LockShare::default();
        share.hear();
        share.lent(0, false, false);
        assert_eq!(next(&share), LONGEST_IN_COMPANY);
        share.lent(COMPANY - 1, false, false);
        assert!(share.is_due(COMPANY - 1 + LONGEST_IN_COMPANY), "it was heard a moment ago");
        share.lent(COMPANY, false, false);
        assert!(!share.is_due(COMPANY + LONGEST_IN_COMPANY), "once heard counts once");
        share.lent(COMPANY, false, true);
        assert!(share.is_due(COMPANY + LONGEST_IN_COMPANY));
    }

    proptest! {
        /// Whatever happens, a busy loop lends the lock again within the longest interval, and not before the shortest.
        #[test]
        fn the_interval_stays_in_its_bounds(program in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..100)) {
            let (mut share, mut now) = (LockShare::default(), 0);
            for (heard, taken, aside) in program {
                if heard {
                    share.hear();
                }
                share.lent(now, taken, aside);
                prop_assert!(!share.is_due(now + SHORTEST - 1));
                let longest = if heard || aside { LONGEST_IN_COMPANY } else { LONGEST };
                prop_assert!(share.is_due(now + longest));
                now += longest;
            }
        }
    }
}
