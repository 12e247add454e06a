//! The loop's clock: CLOCK_MONOTONIC, as `time.monotonic()`.

use std::time::Duration;

/// Nanoseconds of CLOCK_MONOTONIC.
#[inline]
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// As `loop.time()` returns it.
#[inline]
pub fn to_seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// The first nanosecond that is not before `seconds`: a timer is never early. Negative and NaN are long past, and what is
/// too large never comes.
#[inline]
pub fn from_seconds(seconds: f64) -> u64 {
    (seconds * 1e9).ceil() as u64
}

/// How long from `now` until `when`.
pub fn until(when: u64, now: u64) -> Duration {
    Duration::from_nanos(when.saturating_sub(now))
}
