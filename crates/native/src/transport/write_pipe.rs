//! The writing end of a pipe.

use super::base::{Kind, Transport};
use super::ending::{call_connection_lost, debug_log, force_close, lose};
use super::info::{file_names, finalize_as_transport};
use super::opening;
use super::output::{Data, Output, is_bytes_like};
use super::pipe::{Blocking, check_ready, create, fail};
use super::readiness::cannot_watch;
use super::sending::{QUIET_LOST_WRITES, count_lost_write, is_drained, send_or_queue};
use crate::errors::os_error;
use crate::event_loop::LoopCore;
use crate::ffi::{self, borrow_fd};
use crate::private;
use everloop_core::registry::Direction;
use everloop_core::write_queue::WriteQueue;
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyNotImplementedError, PyOSError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;
use rustix::io::{self, Errno};
use std::io::IoSlice;
use std::os::fd::RawFd;

static KIND: Kind = Kind {
    name: "WritePipeTransport",
    asyncio: &private::WRITE_PIPE_TRANSPORT,
    file: "pipe",
    read: closed_by_peer,
    write: write_ready,
};

/// The writing end of a pipe: what `connect_write_pipe` gives.
#[pyclass(frozen, extends = Transport, module = "everloop._native")]
pub struct WritePipeTransport;

finalize_as_transport!(WritePipeTransport);
file_names!(WritePipeTransport, _pipe, _fileno);

pub fn install(py: Python<'_>) {
    ffi::install_finalizer::<WritePipeTransport>(&py.get_type::<WritePipeTransport>());
}

#[pymethods]
impl WritePipeTransport {
    /// For the loop: makes the transport of a file object, and tells the protocol in the next turn.
    #[staticmethod]
    #[pyo3(signature = (r#loop, pipe, protocol, waiter=None, extra=None))]
    fn _open<'py>(
        r#loop: &Bound<'py, LoopCore>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        let output = Output::Stream(WriteQueue::default());
        let refusal = "Pipe transport is only for pipes, sockets and character devices";
        let (base, file_type) = create(&KIND, r#loop, pipe, extra, output, refusal)?;
        let transport = Bound::new(pipe.py(), PyClassInitializer::from(base).add_subclass(Self))?;
        // The writing end of a pipe is readable once the reading end is closed; a terminal is readable for other
        // reasons. And who reads from the same file is not to be disturbed.
        let is_read = r#loop.get().is_watched(transport.as_super().get().fd, Direction::Read);
        let paused = file_type == FileType::CharacterDevice || is_read;
        transport.as_super().get().body.with(pipe.py(), |body| body.paused = paused);
        opening::open(transport.as_super(), protocol, waiter)?;
        Ok(transport)
    }

    /// Sends data, at once as far as the pipe takes it; the rest follows by itself.
    ///
    /// Args:
    ///     data: Bytes, bytearray or memoryview.
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        write(slf.as_super(), data)
    }

    /// Sends the pieces one after the other.
    ///
    /// Args:
    ///     list_of_data: An iterable of bytes-like objects.
    fn writelines(slf: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        // The pieces are joined first, as asyncio's WriteTransport does it.
        let data = pyo3::types::PyBytes::new(slf.py(), b"").call_method1("join", (list_of_data,))?;
        slf.call_method1("write", (data,)).map(drop)
    }

    /// Closes the pipe once everything is sent.
    fn write_eof(slf: &Bound<'_, Self>) -> PyResult<()> {
        write_eof(slf.as_super())
    }

    /// True: `write_eof()` works.
    fn can_write_eof(&self) -> bool {
        true
    }

    /// Closes the pipe once everything is sent.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        write_eof(slf.as_super())
    }

    /// A writing end reads nothing.
    fn is_reading(&self) -> PyResult<bool> {
        Err(PyNotImplementedError::new_err(()))
    }

    /// A writing end reads nothing.
    fn pause_reading(&self) -> PyResult<()> {
        Err(PyNotImplementedError::new_err(()))
    }

    /// A writing end reads nothing.
    fn resume_reading(&self) -> PyResult<()> {
        Err(PyNotImplementedError::new_err(()))
    }

    /// Closes the pipe at once: what waits to be sent is lost.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<()> {
        force_close(slf.as_super(), None)
    }
}

fn write(slf: &Bound<'_, Transport>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if !is_bytes_like(object) {
        return Err(PyAssertionError::new_err(object.repr()?.unbind()));
    }
    let data = Data::new(object)?;
    if data.bytes().is_empty() {
        return Ok(());
    }
    if this.body.with(py, |body| body.lost > 0 || body.closing) {
        return write_lost(slf);
    }
    match send_or_queue(slf, data, |bytes| put(this.fd, &[IoSlice::new(bytes)])) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => fail(slf, os_error(error), "Fatal write error on pipe transport", true),
        Err(error) if error.is_instance_of::<PyOSError>(py) => cannot_watch(slf, error),
        Err(error) => Err(error),
    }
}

/// Writes as much as fits, and never blocks, since the GIL is held. Whoever else has the pipe, another process for one,
/// can make it blocking. Then only so much is written as fits for sure (`man 7 pipe`, PIPE_BUF).
fn put(fd: RawFd, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    const FITS: usize = 4096;
    match (check_ready(fd, PollFlags::OUT)?, slices) {
        (Blocking::No, slices) => io::writev(borrow_fd(fd), slices),
        (Blocking::Yes, [first, ..]) => io::write(borrow_fd(fd), &first[..first.len().min(FITS)]),
        (Blocking::Yes, []) => Ok(0),
    }
}

#[cold]
fn write_lost(slf: &Bound<'_, Transport>) -> PyResult<()> {
    // One more write than for sockets passes without a word: asyncio does not count the closing of a pipe.
    let quiet = QUIET_LOST_WRITES + 1;
    count_lost_write(slf, quiet, "pipe closed by peer or os.write(pipe, data) raised exception.")
}

fn write_ready(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    match this.body.with(py, |body| body.output.send(|slices| put(this.fd, slices))) {
        Ok(done) => drop(done),
        Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
        Err(error) => {
            this.stop_writing(py)?;
            return fail(slf, os_error(error), "Fatal write error on pipe transport", true);
        }
    }
    if is_drained(slf)? && this.body.with(py, |body| body.closing) {
        this.stop_own_reading(py)?;
        return call_connection_lost(slf);
    }
    Ok(())
}

/// Closes the pipe once everything is sent.
fn write_eof(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let (was_closing, empty) =
        this.body.with(py, |body| (std::mem::replace(&mut body.closing, true), body.output.is_empty()));
    if was_closing || !empty {
        return Ok(());
    }
    this.stop_own_reading(py)?;
    lose(slf, None)
}

/// True if the other end is closed. (The kernel reports that whatever is asked for.)
fn is_hung_up(fd: RawFd) -> Result<bool, Errno> {
    let mut poll = [PollFd::from_borrowed_fd(borrow_fd(fd), PollFlags::empty())];
    rustix::event::poll(&mut poll, Some(&Timespec::default()))?;
    Ok(poll[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

/// The pipe is readable: nobody reads from the other end any more. Or there is something to read (in a socket, or in a
/// FIFO that is open for both), which is for somebody else. Then only the next write finds out that nobody reads any
/// more.
fn closed_by_peer(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if !is_hung_up(this.fd).map_err(os_error)? {
        this.body.with(py, |body| body.paused = true);
        return this.stop_reading(py);
    }
    debug_log(slf, "info", "%r was closed by peer")?;
    let waits = this.body.with(py, |body| !body.output.is_empty());
    force_close(slf, waits.then(|| PyBrokenPipeError::new_err(())))
}
