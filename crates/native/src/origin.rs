//! The origin of code: asyncio, the rest of the standard library, or the program with its packages.

use crate::ffi::{self, name};
use crate::private::COMPUTING_FILES;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyString};
use std::sync::OnceLock;

/// How the names of files begin. Written once, when everloop is imported.
struct Files {
    library: String,
    asyncio: String,
    own: String,
}

static FILES: OnceLock<Files> = OnceLock::new();

/// Says how the names of the files of the standard library begin, of those of asyncio, and of everloop's own.
#[pyfunction]
pub fn set_library_files(library: String, asyncio: String, own: String) {
    FILES.get_or_init(|| Files { library, asyncio, own });
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
    let file = file(code)?;
    let file = file.to_string_lossy();
    let Some(files) = FILES.get() else { return Ok(Origin::Program) };
    Ok(if file.starts_with(&files.asyncio) {
        Origin::Asyncio
    } else if file.strip_prefix(&files.library) == Some("selectors.py") {
        Origin::Program // where a loop of asyncio's sleeps that a step turns: it may be put aside there
    } else if is_of_library(&file, files) {
        Origin::Library
    } else {
        Origin::Program
    })
}

fn file<'py>(code: &Bound<'py, PyCode>) -> PyResult<Bound<'py, PyString>> {
    ffi::code_text(code, &name!(code.py(), "co_filename"))
}

fn is_of_library(file: &str, files: &Files) -> bool {
    file.starts_with("<frozen ") || file.starts_with(&files.library) && !file.contains("-packages")
}

/// True if a code object only computes, as far as its origin tells: it is the program's, or one of those files of the
/// library. Nothing of the program runs.
pub fn computes(code: &Bound<'_, PyCode>) -> PyResult<bool> {
    let file = file(code)?;
    let file = file.to_string_lossy();
    let Some(files) = FILES.get() else { return Ok(true) };
    let is_listed = || file.strip_prefix(&files.library).is_some_and(|name| COMPUTING_FILES.contains(&name));
    Ok(!file.starts_with(&files.own) && (!is_of_library(&file, files) || is_listed()))
}
