//! The options that a program may set on a loop.

use crate::clock;
use crate::event_loop::shared::set_limit;
use crate::event_loop::state::LoopCore;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};
use std::sync::atomic::Ordering;

/// The value of `rescue` for which steps that compute are divided.
const ALL: &str = "all";

/// TypeError: an option was set to what it cannot be.
fn no_such(option: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    value
        .repr()
        .map_or_else(|error| error, |shown| PyTypeError::new_err(format!("{option} must be {wanted}, not {shown}")))
}

/// The value of an option that is a time. An integer that no float can hold is infinite.
fn seconds(option: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    match value.extract::<f64>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            Ok(if value.lt(0)? { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        Err(error) if error.is_instance_of::<PyTypeError>(value.py()) => {
            Err(no_such(option, "a number of seconds", value))
        }
        other => other,
    }
}

/// Has steps of all loops reported after so many seconds, where that is later otherwise; None: as each loop says.
#[pyfunction]
#[pyo3(signature = (seconds))]
pub fn limit_steps(seconds: Option<f64>) {
    set_limit(seconds.map_or(u64::MAX, clock::from_seconds));
}

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
        clock::to_seconds(self.shared.report_after.own())
    }

    #[setter(slow_callback_duration)]
    fn set_slow_callback_duration(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let seconds = seconds("slow_callback_duration", value)?;
        if seconds.is_nan() {
            return Err(PyValueError::new_err("slow_callback_duration must be a number of seconds, not NaN"));
        }
        // A negative one is as good as 0, as in asyncio: each step is slow.
        self.shared.report_after.set(clock::from_seconds(seconds));
        Ok(())
    }

    /// True if steps that block in a call are put aside while others go on; "all" if those that compute are, too.
    #[getter]
    fn get_rescue<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        if self.shared.divides.load(Ordering::Relaxed) {
            return PyString::intern(py, ALL).into_any();
        }
        PyBool::new(py, self.shared.rescue.load(Ordering::Relaxed)).to_owned().into_any()
    }

    #[setter]
    fn set_rescue(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        let divides = value.cast::<PyString>().is_ok_and(|word| word.to_str().is_ok_and(|word| word == ALL));
        let rescue = match value.extract::<bool>() {
            Ok(rescue) => rescue,
            Err(_) if divides => true,
            Err(_) => return Err(no_such("rescue", "True, False or 'all'", value)),
        };
        if rescue && this.baton().is_open() {
            slf.call_method0("_prepare_rescue")?; // a loop that does not run does this when its run begins
        }
        this.shared.rescue.store(rescue, Ordering::Relaxed);
        this.shared.divides.store(divides, Ordering::Relaxed);
        Ok(())
    }

    /// Seconds that a call may block before its step is put aside.
    #[getter]
    fn get_rescue_after(&self) -> f64 {
        clock::to_seconds(self.shared.rescue_after.load(Ordering::Relaxed))
    }

    #[setter]
    fn set_rescue_after(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let seconds = seconds("rescue_after", value)?;
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
    fn set_max_relief_threads(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let count = value.extract::<usize>().map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(value.py()) {
                let most = usize::MAX;
                PyValueError::new_err(format!("max_relief_threads must be between 0 and {most}, not {value}"))
            } else if error.is_instance_of::<PyTypeError>(value.py()) {
                no_such("max_relief_threads", "a whole number", value)
            } else {
                error
            }
        })?;
        self.shared.max_relief.store(count, Ordering::Relaxed);
        Ok(())
    }
}
