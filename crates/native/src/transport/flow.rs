//! Flow control, as Python asks for it: `everloop_core::flow` decides.

use everloop_core::flow::WaterMarks;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The protocol is paused when more than this waits, as in asyncio.
pub const HIGH_WATER: usize = 64 * 1024;

/// The marks that somebody asks for, with asyncio's defaults for those that are None.
///
/// # Errors
/// ValueError unless `high >= low >= 0`.
pub fn water_marks(
    high: Option<&Bound<'_, PyAny>>,
    low: Option<&Bound<'_, PyAny>>,
    default: usize,
) -> PyResult<WaterMarks> {
    let (high, low) = (high.map(bytes).transpose()?, low.map(bytes).transpose()?);
    WaterMarks::new(high, low, default)
        .map_err(|(high, low)| PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0")))
}

/// A number of bytes as people give them: `float("inf")` and huge integers are as good as no limit.
fn bytes(number: &Bound<'_, PyAny>) -> PyResult<i64> {
    number.extract::<i64>().or_else(|_| number.extract::<f64>().map(|float| float as i64))
}
