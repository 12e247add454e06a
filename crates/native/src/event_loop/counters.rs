//! The counts of a loop.

use crate::clock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How often somebody has waited, and for how many nanoseconds: those waits that are over. Written under the GIL.
#[derive(Default)]
pub struct Waits {
    pub count: AtomicU64,
    pub total: AtomicU64,
    pub longest: AtomicU64,
}

impl Waits {
    /// Notes a wait that began at `since` and is over now.
    pub fn note(&self, since: u64) {
        let waited = clock::now().saturating_sub(since);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(waited, Ordering::Relaxed);
        self.longest.fetch_max(waited, Ordering::Relaxed);
    }
}

/// Totals for `statistics()`, and numbers that the driver and the watchdog judge by. Relaxed: each is a number on its
/// own.
#[derive(Default)]
pub struct Counters {
    /// Turns of the loop. Written by the holder of the baton.
    pub turns: AtomicU64,
    /// Steps that went aside because they asked for it. These four totals are written under the GIL, by `release`.
    pub releases: AtomicU64,
    /// Steps that the watchdog put aside.
    pub rescues: AtomicU64,
    /// Steps that went aside at a learned site.
    pub learned: AtomicU64,
    /// Slices of steps that compute: how often one went aside so that others can run.
    pub divided: AtomicU64,
    /// Steps that are aside now, for any reason. Written under the GIL, by `release` and `resume`; read without it by
    /// the watchdog.
    pub aside: AtomicUsize,
    /// Those of them that wait in `block_on`. Written and read as `aside`.
    pub in_block_on: AtomicUsize,
    /// Relief threads alive. Written by each of them, when it begins and when it ends, under the GIL.
    pub relief: AtomicUsize,
    /// The most of them that were alive at once. Written as `relief`.
    pub most_relief: AtomicUsize,
    /// The waits of the loop for a thread: a step had gone aside, and none was free to go on.
    pub standstills: Waits,
    /// The time since which it waits so; 0: it does not. Written under the GIL: by `release`, and by each thread that
    /// finds that it has the baton.
    standstill_since: AtomicU64,
    /// The waits of steps that had come to their gates, or whose futures were done, for the baton.
    pub baton_waits: Waits,
    /// Files that were queued when files were collected last. Written and read by the holder of the baton.
    pub collected: AtomicUsize,
    /// Bytes that transports have read since. Written by them under the GIL; read by the holder of the baton.
    pub intake: AtomicUsize,
}

impl Counters {
    /// A relief thread has begun.
    pub fn add_relief(&self) {
        let alive = self.relief.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_relief.fetch_max(alive, Ordering::Relaxed);
    }

    /// A step has let go of the baton, and no thread is there to take it.
    pub fn begin_standstill(&self) {
        self.standstill_since.store(clock::now(), Ordering::Relaxed);
    }

    /// This thread has the baton.
    #[inline]
    pub fn end_standstill(&self) {
        if self.standstill_since.load(Ordering::Relaxed) != 0 {
            self.standstills.note(self.standstill_since.swap(0, Ordering::Relaxed));
        }
    }

    /// The time since which the loop has waited for a thread; 0: it does not.
    pub fn standstill_since(&self) -> u64 {
        self.standstill_since.load(Ordering::Relaxed)
    }

    /// In a forked child: the standstill was the parent's.
    pub fn forget_standstill(&self) {
        self.standstill_since.store(0, Ordering::Relaxed);
    }
}
