//! FutureWaiter: a thread waits for a future of `concurrent.futures`; and looks at such a future without its lock.

use crate::ffi::name;
use crate::private;
use everloop_core::wait::SpinThenPark;
use pyo3::prelude::*;
use pyo3::types::PyString;
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

/// True if a future's state is one of these.
fn is_one_of(state: &Bound<'_, PyAny>, states: &[&str]) -> bool {
    state.cast::<PyString>().is_ok_and(|state| states.iter().any(|known| state == *known))
}

/// As `future.done()`.
#[pyfunction]
#[pyo3(signature = (future, /))]
pub fn is_future_done(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    match private::FUTURE_STATE.of(future)? {
        Some(state) => Ok(is_one_of(&state, &["FINISHED", "CANCELLED_AND_NOTIFIED", "CANCELLED"])),
        None => future.call_method0(name!(future.py(), "done"))?.is_truthy(),
    }
}

/// True if a future was cancelled, and `concurrent.futures.wait` has not been told yet.
#[pyfunction]
#[pyo3(signature = (future, /))]
pub fn is_future_cancelled(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    match private::FUTURE_STATE.of(future)? {
        Some(state) => Ok(is_one_of(&state, &["CANCELLED"])),
        None => future.call_method0(name!(future.py(), "cancelled"))?.is_truthy(),
    }
}

/// The result of a future; `otherwise` if it has none, or if that cannot be seen without its lock.
#[pyfunction]
#[pyo3(signature = (future, otherwise, /))]
pub fn returned_by_future<'py>(
    future: &Bound<'py, PyAny>,
    otherwise: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let state = private::FUTURE_STATE.of(future)?;
    if !state.is_some_and(|state| is_one_of(&state, &["FINISHED"])) {
        return Ok(otherwise);
    }
    let has_returned = private::FUTURE_EXCEPTION.of(future)?.is_some_and(|exception| exception.is_none());
    let result = if has_returned { private::FUTURE_RESULT.of(future)? } else { None };
    Ok(result.unwrap_or(otherwise))
}

/// Calls `waiter.add_result(future)`, or one of its like, when a future is done: unless it is done already.
///
/// The lock is not needed: the thread that ends the future sets its state first, and then tells the waiters in its
/// list.
#[pyfunction]
#[pyo3(signature = (future, waiter, /))]
pub fn add_future_waiter(future: &Bound<'_, PyAny>, waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    match private::FUTURE_WAITERS.of(future)? {
        Some(waiters) => waiters.call_method1(name!(py, "append"), (waiter,)).map(drop),
        None => {
            let tell = waiter.getattr(name!(py, "add_result"))?;
            future.call_method1(name!(py, "add_done_callback"), (tell,)).map(drop)
        }
    }
}
