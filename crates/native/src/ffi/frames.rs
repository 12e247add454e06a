//! Frames: where a function stands.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFrame};

/// The instruction that a frame is at, in bytes from the start of its code.
pub fn frame_instruction(frame: &Bound<'_, PyFrame>) -> i32 {
    // SAFETY: a live frame.
    unsafe { ffi::PyFrame_GetLasti(frame.as_ptr().cast()) }
}

/// The code that a frame runs.
pub fn frame_code<'py>(frame: &Bound<'py, PyFrame>) -> Bound<'py, PyCode> {
    // SAFETY: a live frame always has a code object; the result is a new reference.
    unsafe {
        Bound::from_owned_ptr(frame.py(), ffi::PyFrame_GetCode(frame.as_ptr().cast()).cast()).cast_into_unchecked()
    }
}
