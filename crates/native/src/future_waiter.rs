//! Who waits on a thread for a future of `concurrent.futures`.

use everloop_core::wait::SpinThenPark;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A waiter as `concurrent.futures` has them, in a future's `_waiters`. For one thread.
#[pyclass(frozen, module = "everloop._native")]
pub struct FutureWaiter {
    has_come: AtomicBool,
    place: SpinThenPark,
}

#[pymethods]
impl FutureWaiter {
    #[new]
    fn new() -> Self {
        Self { has_come: AtomicBool::new(false), place: SpinThenPark::default() }
    }

    /// The future has a result.
    fn add_result(&self, _future: &Bound<'_, PyAny>) {
        self.has_come.store(true, Ordering::Release);
        self.place.unpark();
    }

    /// The future has an exception.
    fn add_exception(&self, future: &Bound<'_, PyAny>) {
        self.add_result(future);
    }

    /// The future is cancelled.
    fn add_cancelled(&self, future: &Bound<'_, PyAny>) {
        self.add_result(future);
    }

    /// Waits for the future, `seconds` at the most; None: as long as it takes. False: it is not done yet.
    #[pyo3(signature = (seconds, /))]
    fn wait(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<bool> {
        // A time that is out of range is no limit.
        let deadline = seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
            .and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if self.has_come.load(Ordering::Acquire) || left == Some(Duration::ZERO) {
                return Ok(self.has_come.load(Ordering::Acquire));
            }
            py.detach(|| self.place.park(left));
            py.check_signals()?;
        }
    }
}
