//! asyncio's own code, which no other step may run in the middle of.
//!
//! `asyncio.Event.wait` looks whether the event is set, makes a future, and adds it to those that wait: nothing comes in
//! between, as there is no `await`. But in debug mode making a future reads source files, for the stack that it keeps;
//! and where asyncio logs, a handler may block. If the step were put aside there, and another one set the event, that
//! would be lost. So a step that blocks in what asyncio itself calls is not put aside: the loop waits, as on asyncio.
//!
//! Code of the program, or of another package, that asyncio calls is no code of asyncio's; the rest of the standard
//! library is, if asyncio has called it.

use crate::ffi;
use crate::member::Member;
use crate::origin::{Origin, origin};
use pyo3::prelude::*;

/// True if the step of `member` is in a call that asyncio itself has made. Nothing of the program runs.
pub fn is_in_asyncio(py: Python<'_>, member: &Member) -> PyResult<bool> {
    for frame in member.step_frames(py) {
        match origin(&ffi::frame_code(&frame))? {
            Origin::Asyncio => return Ok(true),
            Origin::Program => return Ok(false),
            Origin::Library => {}
        }
    }
    Ok(false)
}
