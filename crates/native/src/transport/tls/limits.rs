//! High and low water of one direction. Unlike a socket's, the source is paused *at* the high mark, as with asyncio.

use crate::transport::flow::Flow;
use pyo3::prelude::*;

/// asyncio's defaults, in bytes: what waits to be decrypted, and what waits to be sent.
pub const READ: usize = 256 * 1024;
pub const WRITE: usize = 512 * 1024;

/// The marks, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub high: usize,
    pub low: usize,
}

impl Limits {
    /// What the user asks for, the rest filled in.
    ///
    /// # Errors
    /// ValueError unless `high >= low >= 0`.
    pub fn new(high: Option<&Bound<'_, PyAny>>, low: Option<&Bound<'_, PyAny>>, default: usize) -> PyResult<Self> {
        let (high, low) = Flow::limits(high, low, default)?;
        Ok(Self { high, low })
    }

    pub fn with_default(default: usize) -> Self {
        Self { high: default, low: default / 4 }
    }

    /// Whether the source is to be paused (true) or to go on (false) now, when so much waits. None: as before.
    pub fn change(self, size: usize, is_paused: bool) -> Option<bool> {
        if is_paused { (size <= self.low).then_some(false) } else { (size >= self.high).then_some(true) }
    }
}
