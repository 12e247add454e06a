//! The counts of a loop.

use std::sync::atomic::{AtomicU64, AtomicUsize};

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
    /// Files that were queued when files were collected last. Written and read by the holder of the baton.
    pub collected: AtomicUsize,
    /// Bytes that transports have read since. Written by them under the GIL; read by the holder of the baton.
    pub intake: AtomicUsize,
}
