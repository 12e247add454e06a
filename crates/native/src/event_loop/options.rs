//! The options that a program may set on a loop.

use crate::clock;
use crate::event_loop::state::LoopCore;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

#[pymethods]
impl LoopCore {
    /// True if the loop is in debug mode. Every future asks for it.
    fn get_debug(&self) -> bool {
        self.is_debug()
    }

    /// The number of steps that are aside now.
    #[getter(_aside)]
    fn get_aside(&self) -> usize {
        self.shared.counters.aside.load(Ordering::Relaxed)
    }

    /// Seconds that a step may take before it is reported.
    #[getter(slow_callback_duration)]
    fn get_slow_callback_duration(&self) -> f64 {
        clock::to_seconds(self.shared.report_after.load(Ordering::Relaxed))
    }

    #[setter(slow_callback_duration)]
    fn set_slow_callback_duration(&self, seconds: f64) {
        self.shared.report_after.store(clock::from_seconds(seconds), Ordering::Relaxed);
    }

    /// True if steps that block in a call are put aside while others go on.
    #[getter]
    fn get_rescue(&self) -> bool {
        self.shared.rescue.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_rescue(slf: &Bound<'_, Self>, rescue: bool) -> PyResult<()> {
        let this = slf.get();
        if rescue && this.baton().is_open() {
            slf.call_method0("_prepare_rescue")?; // a loop that does not run does this when its run begins
        }
        this.shared.rescue.store(rescue, Ordering::Relaxed);
        Ok(())
    }

    /// Seconds that a call may block before its step is put aside.
    #[getter]
    fn get_rescue_after(&self) -> f64 {
        clock::to_seconds(self.shared.rescue_after.load(Ordering::Relaxed))
    }

    #[setter]
    fn set_rescue_after(&self, seconds: f64) -> PyResult<()> {
        // The condition is written so that NaN is refused too.
        if !(0.0001..=3600.0).contains(&seconds) {
            return Err(PyValueError::new_err(format!(
                "rescue_after must be between 0.0001 and 3600 seconds, not {seconds}"
            )));
        }
        self.shared.rescue_after.store(clock::from_seconds(seconds), Ordering::Relaxed);
        Ok(())
    }

    /// The number of relief threads that are started as soon as they are wanted; past it they come one at a time.
    #[getter]
    fn get_max_relief_threads(&self) -> usize {
        self.shared.max_relief.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_max_relief_threads(&self, count: i64) -> PyResult<()> {
        let count = usize::try_from(count)
            .map_err(|_| PyValueError::new_err(format!("max_relief_threads must be 0 or more, not {count}")))?;
        self.shared.max_relief.store(count, Ordering::Relaxed);
        Ok(())
    }
}
