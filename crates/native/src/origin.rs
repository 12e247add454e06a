//! The origin of code: asyncio, the rest of the standard library, or the program with its packages.

use crate::ffi::{self, name};
use pyo3::prelude::*;
use pyo3::types::PyCode;
use std::sync::OnceLock;

/// How the names of files begin. Written once, when everloop is imported.
struct Files {
    library: String,
    asyncio: String,
}

static FILES: OnceLock<Files> = OnceLock::new();

/// Says how the names of the files of the standard library begin, and of those of asyncio.
#[pyfunction]
pub fn set_library_files(library: String, asyncio: String) {
    FILES.get_or_init(|| Files { library, asyncio });
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Asyncio,
    /// The rest of the standard library.
    Library,
    Program,
}

/// The origin of a code object. Nothing of the program runs.
pub fn origin(code: &Bound<'_, PyCode>) -> PyResult<Origin> {
    let file = ffi::code_text(code, &name!(code.py(), "co_filename"))?;
    let file = file.to_string_lossy();
    let Some(files) = FILES.get() else { return Ok(Origin::Program) };
    Ok(if file.starts_with(&files.asyncio) {
        Origin::Asyncio
    } else if file.strip_prefix(&files.library) == Some("selectors.py") {
        Origin::Program // where a loop of asyncio's sleeps that a step turns: it may be put aside there
    } else if file.starts_with("<frozen ") || file.starts_with(&files.library) && !file.contains("-packages") {
        Origin::Library
    } else {
        Origin::Program
    })
}
