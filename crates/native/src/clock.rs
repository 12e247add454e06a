//! The loop's clock: CLOCK_MONOTONIC, as `time.monotonic()`, unless the program has put another `time` in its place.

use crate::ffi::{self, Made, name};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Nanoseconds of CLOCK_MONOTONIC.
pub use everloop_core::sys::now;

/// As `loop.time()` returns it.
#[inline]
pub fn to_seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// The first nanosecond that is not before `seconds`. Negative and NaN are long past, and what is too large never
/// comes.
#[inline]
pub fn from_seconds(seconds: f64) -> u64 {
    (seconds * 1e9).ceil() as u64
}

/// The time from `now` until `when`, in seconds of any clock.
pub fn until(when: f64, now: f64) -> Duration {
    Duration::from_nanos(from_seconds(when - now))
}

/// Knows whether the `time` of a loop is ours. Subclasses override that method, tests and tools that fast-forward patch
/// it on the loop or on its class, in the middle of a step too, and timers heed it from then on. A loop that has ours
/// pays one comparison to know it.
#[derive(Default)]
pub struct Source {
    /// The version of the loop's class (CPython counts each change of a class) for which `time` was found to be ours;
    /// 0: look again. Only under the GIL.
    ours: AtomicU32,
}

/// The method `time` that is ours.
static OURS: Made<PyAny> = Made::new();

/// Keeps the class's own method, to know it again.
pub fn install(class: &Bound<'_, PyAny>) -> PyResult<()> {
    OURS.get(class.py(), |py| class.getattr(name!(py, "time"))).map(drop)
}

impl Source {
    /// True if the loop's time is [`now`].
    #[inline]
    pub fn is_ours(&self, loop_: &Bound<'_, PyAny>) -> PyResult<bool> {
        if self.is_known_ours(loop_) { Ok(true) } else { self.look(loop_) }
    }

    /// True if that is known, without asking anybody: for the watchdog, which runs nothing of the program's.
    #[inline]
    pub fn is_known_ours(&self, loop_: &Bound<'_, PyAny>) -> bool {
        let version = ffi::private::class_version(loop_);
        version != 0 && version == self.ours.load(Ordering::Relaxed)
    }

    /// An attribute of the loop was set or deleted.
    pub fn forget(&self) {
        self.ours.store(0, Ordering::Relaxed);
    }

    #[cold]
    fn look(&self, loop_: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = loop_.py();
        let name = name!(py, "time");
        let of_class = loop_.get_type().getattr(&name)?;
        let ours = OURS.get(py, |_| Ok(of_class.clone()))?;
        // Not by `__dict__`: calls of a loop's methods are quicker as long as nobody has asked for that.
        let is_ours = of_class.is(&ours) && loop_.getattr(name)?.eq(ours.call_method1("__get__", (loop_,))?)?;
        // The version is read after the attribute was looked up, which gives the class one if it has none.
        self.ours.store(if is_ours { ffi::private::class_version(loop_) } else { 0 }, Ordering::Relaxed);
        Ok(is_ours)
    }
}
