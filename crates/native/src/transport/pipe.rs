//! Pipes, FIFOs and character devices: one direction each.

use super::base::{Kind, Transport};
use super::ending;
use super::file::{Extra, File};
use super::info::{file_object, finalize_as_transport, set_file_object};
use super::input;
use super::opening;
use super::output::{Data, Output};
use super::readiness::{self, start_writing};
use super::sending::{maybe_pause_protocol, maybe_resume_protocol};
use crate::errors::os_error;
use crate::event_loop::LoopCore;
use crate::ffi::{self, borrow_fd, name};
use crate::handle::is_fatal;
use crate::private;
use everloop_core::registry::Direction;
use everloop_core::write_queue::WriteQueue;
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyNotImplementedError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags};
use rustix::io::{self, Errno};
use std::io::IoSlice;
use std::os::fd::RawFd;

/// As asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES`: so many writes to a lost pipe pass without a word.
const QUIET_LOST_WRITES: u32 = 5;

static READ: Kind = Kind {
    name: "ReadPipeTransport",
    asyncio: &private::READ_PIPE_TRANSPORT,
    file: "pipe",
    read: read_ready,
    write: |_| Ok(()),
};

static WRITE: Kind = Kind {
    name: "WritePipeTransport",
    asyncio: &private::WRITE_PIPE_TRANSPORT,
    file: "pipe",
    read: closed_by_peer,
    write: write_ready,
};

/// The reading end of a pipe: what `connect_read_pipe` gives.
#[pyclass(frozen, extends = Transport, module = "everloop._native")]
pub struct ReadPipeTransport;

/// The writing end of a pipe: what `connect_write_pipe` gives.
#[pyclass(frozen, extends = Transport, module = "everloop._native")]
pub struct WritePipeTransport;

finalize_as_transport!(ReadPipeTransport);
finalize_as_transport!(WritePipeTransport);

pub fn install(py: Python<'_>) -> PyResult<()> {
    ffi::install_finalizer::<ReadPipeTransport>(&py.get_type::<ReadPipeTransport>());
    ffi::install_finalizer::<WritePipeTransport>(&py.get_type::<WritePipeTransport>());
    Ok(())
}

/// What both ends begin with.
fn create<'py>(
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

#[pymethods]
impl ReadPipeTransport {
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
        let (base, _) = create(&READ, r#loop, pipe, extra, Output::None, "Pipe transport is for pipes/sockets only.")?;
        let transport = Bound::new(pipe.py(), PyClassInitializer::from(base).add_subclass(Self))?;
        opening::open(transport.as_super(), protocol, waiter)?;
        Ok(transport)
    }

    /// Closes the pipe at once.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let transport = slf.as_super();
        if transport.get().body.with(slf.py(), |body| body.closing) { Ok(()) } else { end(transport, None) }
    }

    #[getter]
    fn _pipe<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        file_object(slf.as_super())
    }

    #[setter(_pipe)]
    fn set_pipe(slf: &Bound<'_, Self>, pipe: Option<Py<PyAny>>) {
        set_file_object(slf.as_super(), pipe);
    }

    #[getter]
    fn _fileno(slf: &Bound<'_, Self>) -> i32 {
        slf.as_super().get().fd
    }

    #[classattr]
    fn max_size() -> usize {
        input::LARGE
    }
}

// ---- reading

fn read_ready(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let Some((protocol, _)) = this.receiver(py) else { return Ok(()) };
    let mut expected = this.body.with(py, |body| body.expected);
    let received = input::receive(py, &mut expected, |memory| {
        is_ready(this.fd, PollFlags::IN)?;
        io::read(borrow_fd(this.fd), memory).map(|(filled, _)| filled.len())
    })?;
    this.body.with(py, |body| body.expected = expected);
    match received {
        Ok(data) if data.as_bytes().is_empty() => read_end_of_file(slf, &protocol),
        Ok(data) => {
            this.count_intake(py, data.as_bytes().len());
            protocol.call_method1(name!(py, "data_received"), (data,)).map(drop)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        // A pseudo-terminal whose other side is closed.
        Err(Errno::IO) => fail(slf, os_error(Errno::IO), "Fatal read error on pipe transport", true),
        Err(error) => fail(slf, os_error(error), "Fatal read error on pipe transport", false),
    }
}

fn read_end_of_file(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if this.is_debug(py) {
        ending::log(slf, "info", "%r was closed by peer", None)?;
    }
    this.body.with(py, |body| body.closing = true);
    this.stop_reading(py)?;
    this.core(py)?.call_method1("call_soon", (protocol.getattr("eof_received")?,))?;
    ending::lose(slf, None)
}

/// asyncio reports every error of a pipe but the expected ones.
fn fail(slf: &Bound<'_, Transport>, error: PyErr, message: &str, is_expected: bool) -> PyResult<()> {
    let py = slf.py();
    if is_fatal(py, &error) {
        return Err(error);
    }
    if !is_expected {
        ending::tell(slf, message, &error)?;
    } else if slf.get().is_debug(py) {
        ending::log(slf, "debug", &format!("%r: {message}"), Some(&error))?;
    }
    end(slf, Some(error))
}

/// Ends the transport; what waits is lost.
fn end(slf: &Bound<'_, Transport>, error: Option<PyErr>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let (waiting, was_lost) = this.body.with(py, |body| {
        body.closing = true;
        ((!body.output.is_empty()).then(|| body.output.take()), body.lost > 0)
    });
    if waiting.is_some() {
        this.stop_writing(py)?;
    }
    drop(waiting);
    stop_watching(slf)?;
    if was_lost {
        return Ok(()); // asyncio would tell the protocol twice
    }
    ending::lose(slf, error.map(|error| error.into_value(py).into_any()))
}

/// Reads nothing more, or looks no more for the end of whoever reads.
fn stop_watching(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if this.body.with(py, |body| body.paused) { Ok(()) } else { this.stop_reading(py) }
}

// ---- writing

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
        let (base, file_type) = create(&WRITE, r#loop, pipe, extra, output, refusal)?;
        let transport = Bound::new(pipe.py(), PyClassInitializer::from(base).add_subclass(Self))?;
        // The writing end of a pipe is readable once the reading end is closed; a terminal is readable for other reasons. And
        // who reads from the same file is not to be disturbed.
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
        // As asyncio's WriteTransport does it.
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
        end(slf.as_super(), None)
    }

    #[getter]
    fn _pipe<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        file_object(slf.as_super())
    }

    #[setter(_pipe)]
    fn set_pipe(slf: &Bound<'_, Self>, pipe: Option<Py<PyAny>>) {
        set_file_object(slf.as_super(), pipe);
    }

    #[getter]
    fn _fileno(slf: &Bound<'_, Self>) -> i32 {
        slf.as_super().get().fd
    }
}

fn write(slf: &Bound<'_, Transport>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if Data::check(object).is_err() {
        return Err(PyAssertionError::new_err(object.repr()?.unbind()));
    }
    let data = Data::new(object)?;
    if data.bytes().is_empty() {
        return Ok(());
    }
    if this.body.with(py, |body| body.lost > 0 || body.closing) {
        return write_lost(slf);
    }

    let mut sent = 0;
    if this.body.with(py, |body| body.output.is_empty()) {
        match put(this.fd, &[IoSlice::new(data.bytes())]) {
            Ok(count) if count == data.bytes().len() => return Ok(()),
            Ok(count) => sent = count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return fail(slf, os_error(error), "Fatal write error on pipe transport", true),
        }
        match start_writing(slf) {
            Err(error) if error.is_instance_of::<PyOSError>(py) => return readiness::cannot_watch(slf, error),
            other => other?,
        }
    }
    let piece = data.piece(sent);
    let empty = this.body.with(py, |body| body.output.stream().and_then(|queue| queue.push(piece)));
    drop((empty, data));
    maybe_pause_protocol(slf)
}

/// Writes what fits. Not what would block: a pipe can be made blocking by whoever else has it, another process for one, and
/// the GIL is held. Then only so much is written as fits for sure (`man 7 pipe`, PIPE_BUF).
fn put(fd: RawFd, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    const FITS: usize = 4096;
    match (is_ready(fd, PollFlags::OUT)?, slices) {
        (Blocking::No, slices) => io::writev(borrow_fd(fd), slices),
        (Blocking::Yes, [first, ..]) => io::write(borrow_fd(fd), &first[..first.len().min(FITS)]),
        (Blocking::Yes, []) => Ok(0),
    }
}

/// Whether calls of the kernel can block.
enum Blocking {
    Yes,
    No,
}

/// # Errors
/// EAGAIN: it would block now.
fn is_ready(fd: RawFd, wanted: PollFlags) -> Result<Blocking, Errno> {
    if rustix::fs::fcntl_getfl(borrow_fd(fd))?.contains(OFlags::NONBLOCK) {
        return Ok(Blocking::No);
    }
    let mut poll = [PollFd::from_borrowed_fd(borrow_fd(fd), wanted)];
    match rustix::event::poll(&mut poll, Some(&Timespec::default()))? {
        0 => Err(Errno::AGAIN),
        _ => Ok(Blocking::Yes),
    }
}

/// Whether the other end is closed. (The kernel says so to everybody who asks for anything.)
fn is_hung_up(fd: RawFd) -> Result<bool, Errno> {
    let mut poll = [PollFd::from_borrowed_fd(borrow_fd(fd), PollFlags::empty())];
    rustix::event::poll(&mut poll, Some(&Timespec::default()))?;
    Ok(poll[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

#[cold]
fn write_lost(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let lost = slf.get().body.with(slf.py(), |body| {
        let before = body.lost;
        // A pipe that is only closing still has to be lost once.
        if before > 0 {
            body.lost += 1;
        }
        before
    });
    // Closing is not among what asyncio counts here.
    if lost > QUIET_LOST_WRITES {
        let text = "pipe closed by peer or os.write(pipe, data) raised exception.";
        slf.py().import("asyncio.log")?.getattr("logger")?.call_method1("warning", (text,))?;
    }
    Ok(())
}

fn write_ready(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let sent = this.body.with(py, |body| {
        let Some(queue) = body.output.stream() else { return Ok(Vec::new()) };
        let slices = queue.slices();
        let sent = put(this.fd, &slices)?;
        drop(slices);
        Ok(queue.advance(sent))
    });
    match sent {
        Ok(done) => drop(done),
        Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
        Err(error) => {
            this.stop_writing(py)?;
            return fail(slf, os_error(error), "Fatal write error on pipe transport", true);
        }
    }
    if this.body.with(py, |body| !body.output.is_empty()) {
        return maybe_resume_protocol(slf);
    }
    this.stop_writing(py)?;
    maybe_resume_protocol(slf)?; // which may write more
    if this.body.with(py, |body| body.closing && body.output.is_empty()) {
        stop_watching(slf)?;
        return ending::call_connection_lost(slf);
    }
    Ok(())
}

fn write_eof(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let (was_closing, empty) =
        this.body.with(py, |body| (std::mem::replace(&mut body.closing, true), body.output.is_empty()));
    if was_closing || !empty {
        return Ok(());
    }
    stop_watching(slf)?;
    ending::lose(slf, None)
}

/// Nobody reads any more; or there is something to read, which is for somebody else: of a socket, or of a FIFO that is open
/// for both. Then the next write will tell of the end.
fn closed_by_peer(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if !is_hung_up(this.fd).map_err(os_error)? {
        this.body.with(py, |body| body.paused = true);
        return this.stop_reading(py);
    }
    if this.is_debug(py) {
        ending::log(slf, "info", "%r was closed by peer", None)?;
    }
    let waits = this.body.with(py, |body| !body.output.is_empty());
    end(slf, waits.then(|| PyBrokenPipeError::new_err(())))
}
