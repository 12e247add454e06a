//! Pipes, FIFOs and character devices: the beginning and the errors that both ends share.

use super::base::{Kind, Transport};
use super::ending::end_after;
use super::file::{Extra, File};
use super::output::Output;
use crate::errors::os_error;
use crate::event_loop::LoopCore;
use crate::ffi::borrow_fd;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags};
use rustix::io::{self, Errno};
use std::os::fd::RawFd;

/// Makes the transport of a file object, if that is of a kind that the kernel reports. `refusal` is the error of
/// another.
pub fn create<'py>(
    kind: &'static Kind,
    core: &Bound<'py, LoopCore>,
    pipe: &Bound<'py, PyAny>,
    extra: Option<&Bound<'py, PyDict>>,
    output: Output,
    refusal: &'static str,
) -> PyResult<(Transport, FileType)> {
    let py = core.py();
    let extra = extra.map_or_else(|| Ok(PyDict::new(py)), |extra| extra.copy())?;
    extra.set_item("pipe", pipe)?;
    let fd: i32 = pipe.call_method0("fileno")?.extract()?;
    let mode = rustix::fs::fstat(borrow_fd(fd)).map_err(os_error)?.st_mode;
    let file_type = FileType::from_raw_mode(mode);
    if ![FileType::Fifo, FileType::Socket, FileType::CharacterDevice].contains(&file_type) {
        return Err(PyValueError::new_err(refusal));
    }
    io::ioctl_fionbio(borrow_fd(fd), true).map_err(os_error)?;
    let file = File::Object(pipe.clone().unbind());
    Ok((Transport::new(kind, core, fd, file, Extra::Known(extra.unbind()), output, None)?, file_type))
}

/// The end after an error. As asyncio does, even an error of the system is reported, unless it is an expected one.
pub fn fail(slf: &Bound<'_, Transport>, error: PyErr, message: &str, is_expected: bool) -> PyResult<()> {
    end_after(slf, error, message, !is_expected)
}

/// The answer to: can a call of the kernel block?
pub enum Blocking {
    Yes,
    No,
}

/// Looks whether a pipe is ready, if that can block.
///
/// # Errors
/// EAGAIN: it would block now.
pub fn check_ready(fd: RawFd, wanted: PollFlags) -> Result<Blocking, Errno> {
    if rustix::fs::fcntl_getfl(borrow_fd(fd))?.contains(OFlags::NONBLOCK) {
        return Ok(Blocking::No);
    }
    let mut poll = [PollFd::from_borrowed_fd(borrow_fd(fd), wanted)];
    match rustix::event::poll(&mut poll, Some(&Timespec::default()))? {
        0 => Err(Errno::AGAIN),
        _ => Ok(Blocking::Yes),
    }
}
