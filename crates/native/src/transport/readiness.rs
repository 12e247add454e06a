//! Readiness: the kernel reports that a file can be read or written, and a method of its transport runs as a step.
//!
//! A step that is aside may still be in such a method, since that calls the protocol. Then the next call of the same
//! method waits for it; the other method does not.

use super::base::{Transport, of};
use super::ending::{fatal_error, report};
use crate::event_loop::LoopCore;
use crate::handle::{Args, Native};
use everloop_core::registry::Direction;
use pyo3::exceptions::{PyOSError, PyPermissionError};
use pyo3::prelude::*;
use rustix::io::Errno;

/// Has the transport's write method called whenever the file is writable.
pub fn start_writing(slf: &Bound<'_, Transport>) -> PyResult<()> {
    watch(slf, Direction::Write)
}

/// Has the method for one direction called whenever the file is ready for that.
pub fn watch(slf: &Bound<'_, Transport>, direction: Direction) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let core = this.core(py)?;
    core.get().check_open()?;
    let method = match direction {
        Direction::Read => &READ,
        Direction::Write => &WRITE,
    };
    let object = slf.clone().into_any().unbind();
    let handle = LoopCore::handle_in(&core, this.context(py)?, object, Args::Native(method))?;
    core.get().watch(py, this.fd, direction, &handle)
}

static READ: Native = Native::new("_read_ready", |slf| read(of(slf)?))
    .beside(|slf| of(slf).is_ok_and(|slf| !slf.get().body.with(slf.py(), |body| body.reading)));
static WRITE: Native = Native::new("_write_ready", |slf| write(of(slf)?))
    .beside(|slf| of(slf).is_ok_and(|slf| !slf.get().body.with(slf.py(), |body| body.writing)));

#[inline]
fn read(slf: &Bound<'_, Transport>) -> PyResult<()> {
    slf.get().body.with(slf.py(), |body| body.reading = true);
    let result = (slf.get().kind.read)(slf);
    slf.get().body.with(slf.py(), |body| body.reading = false);
    result
}

#[inline]
fn write(slf: &Bound<'_, Transport>) -> PyResult<()> {
    slf.get().body.with(slf.py(), |body| body.writing = true);
    let result = (slf.get().kind.write)(slf);
    slf.get().body.with(slf.py(), |body| body.writing = false);
    result
}

/// Begins to read, unless the transport is closing or paused by now.
pub fn start_reading(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if !this.is_open_for_reading(py) {
        return Ok(());
    }
    match watch(slf, Direction::Read) {
        Err(error) if error.is_instance_of::<PyOSError>(py) => cannot_watch(slf, error),
        other => other,
    }
}

/// Ends a transport whose file the kernel does not watch, or that somebody has closed: nothing would ever come of it.
#[cold]
pub fn cannot_watch(slf: &Bound<'_, Transport>, error: PyErr) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let error = if error.is_instance_of::<PyPermissionError>(py) {
        let text = "epoll does not watch files of this kind: use a thread for them";
        PyPermissionError::new_err((Errno::PERM.raw_os_error(), text))
    } else {
        error
    };
    if this.kind.file == "pipe" {
        report(slf, "Fatal error on pipe transport", &error)?; // as asyncio does with errors of pipes
    }
    fatal_error(slf, error, "Fatal error on transport")
}
