//! asyncio's own code, which no other step may run in the middle of.
//!
//! `asyncio.Event.wait` looks whether the event is set, makes a future, and adds it to those that wait: nothing comes in
//! between, as there is no `await`. But in debug mode making a future reads source files, for the stack that it keeps;
//! and where asyncio logs, a handler may block. If the step were put aside there, and another one set the event, that
//! would be lost. So a step that blocks in what asyncio itself calls is not put aside: the loop waits, as on asyncio.
//!
//! Code of the program, or of another package, that asyncio calls is no code of asyncio's. Nor is the sleep of a loop of
//! asyncio's that a step turns (`selectors.py`): that may be put aside.

use crate::ffi::{self, name};
use crate::member::Member;
use pyo3::prelude::*;
use pyo3::types::PyFrame;
use std::sync::OnceLock;

/// How the names of files begin. Written once, when everloop is imported.
struct Places {
    library: String,
    asyncio: String,
}

static PLACES: OnceLock<Places> = OnceLock::new();

/// Says how the names of the files of the standard library begin, and of those of asyncio.
#[pyfunction]
pub fn set_library_files(library: String, asyncio: String) {
    PLACES.get_or_init(|| Places { library, asyncio });
}

/// The place where a file is.
#[derive(PartialEq, Eq)]
enum Place {
    Asyncio,
    /// The rest of the standard library: asyncio's, if asyncio has called it.
    Library,
    Other,
}

fn place(frame: &Bound<'_, PyFrame>) -> PyResult<Place> {
    let file = ffi::code_text(&ffi::frame_code(frame), &name!(frame.py(), "co_filename"))?;
    let file = file.to_string_lossy();
    let Some(places) = PLACES.get() else { return Ok(Place::Other) };
    Ok(if file.starts_with(&places.asyncio) {
        Place::Asyncio
    } else if file.strip_prefix(&places.library) == Some("selectors.py") {
        Place::Other
    } else if file.starts_with("<frozen ") || file.starts_with(&places.library) && !file.contains("-packages") {
        Place::Library
    } else {
        Place::Other
    })
}

/// True if the step of `member` is in a call that asyncio itself has made. Nothing of the program runs.
pub fn is_in_asyncio(py: Python<'_>, member: &Member) -> PyResult<bool> {
    for frame in member.step_frames(py) {
        match place(&frame)? {
            Place::Asyncio => return Ok(true),
            Place::Other => return Ok(false),
            Place::Library => {}
        }
    }
    Ok(false)
}
