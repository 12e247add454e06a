//! What a loop counts.

use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Running totals, for `statistics()`, and what `driver` judges by. Relaxed: each is a number on its own.
#[derive(Default)]
pub struct Counters {
    /// Turns of the loop. Written by the holder of the baton.
    pub turns: AtomicU64,
    pub releases: AtomicU64,
    pub rescues: AtomicU64,
    pub learned: AtomicU64,
    /// Steps that are aside now, whatever for.
    pub aside: AtomicUsize,
    /// Those of them that wait in `block_on`.
    pub in_block_on: AtomicUsize,
    /// Relief threads alive. One that is being started counts itself when it begins.
    pub relief: AtomicUsize,
    /// Files that were collected the last time, and the bytes that transports have read since. Written under the GIL.
    pub collected: AtomicUsize,
    pub intake: AtomicUsize,
}
