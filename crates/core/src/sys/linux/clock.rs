//! The clock, and times as the kernel takes them.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

/// Nanoseconds of CLOCK_MONOTONIC.
#[inline]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CPU time of all threads of this process so far, in nanoseconds.
pub fn process_cpu() -> Option<u64> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// A time-out for the kernel.
pub fn timespec(timeout: Duration) -> Timespec {
    Timespec { tv_sec: timeout.as_secs().min(i64::MAX as u64) as i64, tv_nsec: i64::from(timeout.subsec_nanos()) }
}
