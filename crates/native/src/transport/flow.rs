//! Flow control: when a protocol is to pause writing, and when to go on.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// As asyncio's: more than this waits, and the protocol is paused.
pub const HIGH_WATER: usize = 64 * 1024;

/// The water marks of one transport, in bytes.
pub struct Flow {
    pub high: usize,
    pub low: usize,
    /// The protocol was told to pause.
    pub paused: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Self { high: HIGH_WATER, low: HIGH_WATER / 4, paused: false }
    }
}

impl Flow {
    /// The high and the low mark that somebody asks for, with asyncio's defaults for those that are None.
    ///
    /// # Errors
    /// ValueError unless `high >= low >= 0`.
    pub fn limits(
        high: Option<&Bound<'_, PyAny>>,
        low: Option<&Bound<'_, PyAny>>,
        default: usize,
    ) -> PyResult<(usize, usize)> {
        let high = high.map(bytes).transpose()?;
        let low = low.map(bytes).transpose()?;
        let high = high.unwrap_or_else(|| low.map_or(default as i64, |low| low.saturating_mul(4)));
        let low = low.unwrap_or_else(|| high.div_euclid(4));
        match (usize::try_from(high), usize::try_from(low)) {
            (Ok(high), Ok(low)) if high >= low => Ok((high, low)),
            _ => Err(PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0"))),
        }
    }

    /// Whether the protocol is to pause now, when so much waits.
    pub fn must_pause(&mut self, size: usize) -> bool {
        size > self.high && !std::mem::replace(&mut self.paused, true)
    }

    /// Whether the protocol may go on now, when so much waits.
    pub fn may_resume(&mut self, size: usize) -> bool {
        self.paused && size <= self.low && {
            self.paused = false;
            true
        }
    }
}

/// A number of bytes as people give them: `float("inf")` and huge integers are as good as no limit.
fn bytes(number: &Bound<'_, PyAny>) -> PyResult<i64> {
    number.extract::<i64>().or_else(|_| number.extract::<f64>().map(|float| float as i64))
}
