//! Stream sockets: TCP and Unix.

use super::address;
use super::base::{Kind, Transport};
use super::ending::{self, fail_waiter, fatal_error};
use super::file::{Ends, Extra, File, extra_of_socket};
use super::info::{file_object, finalize_as_transport, set_file_object};
use super::input::{self, Expected, RECEIVE};
use super::opening;
use super::output::{Data, Output, Piece, SEND};
use super::readiness::start_writing;
use super::sending::{maybe_pause_protocol, maybe_resume_protocol};
use super::server;
use super::tls::protocol::TlsProtocol;
use crate::errors::os_error;
use crate::event_loop::LoopCore;
use crate::ffi::{self, Arguments, FastMethod, View, borrow_fd, name};
use crate::private;
use everloop_core::write_queue::WriteQueue;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView};
use rustix::io::Errno;
use rustix::net::{self, SendAncillaryBuffer, Shutdown, SocketAddrAny};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

/// As asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES`: so many writes to a lost connection pass without a word.
const QUIET_LOST_WRITES: u32 = 5;

static KIND: Kind = Kind {
    name: "SocketTransport",
    asyncio: &private::SOCKET_TRANSPORT,
    file: "socket",
    read: read_ready,
    write: write_ready,
};

/// A stream socket and its protocol: what `create_connection` and servers give.
#[pyclass(frozen, extends = Transport, module = "everloop._native")]
pub struct SocketTransport;

finalize_as_transport!(SocketTransport);

pub fn install(py: Python<'_>) -> PyResult<()> {
    ffi::install_finalizer::<SocketTransport>(&py.get_type::<SocketTransport>());
    ffi::install::<Write>(py)
}

/// A transport for a connection that was accepted natively.
pub fn accepted<'py>(
    core: &Bound<'py, LoopCore>,
    socket: OwnedFd,
    numbers: [i32; 3],
    peername: SocketAddrAny,
    protocol: &Bound<'py, PyAny>,
    server: Option<&Bound<'py, PyAny>>,
    context: Py<PyAny>,
) -> PyResult<()> {
    let fd = socket.as_raw_fd();
    let extra = Extra::Later(Box::new(Ends { sockname: address::of_socket(fd), peername }));
    if numbers[0] != i32::from(net::AddressFamily::UNIX.as_raw()) {
        send_at_once(fd);
    }
    let transport = create(core, fd, File::Descriptor(socket.into(), numbers), extra, Some(context))?;
    if let Some(server) = server {
        server::attach(transport.as_super(), server)?;
    }
    opening::open(transport.as_super(), protocol, None)
}

/// Small writes are not to wait for the acknowledgement of others. What is not TCP refuses, and needs none.
fn send_at_once(fd: i32) {
    let _ = net::sockopt::set_tcp_nodelay(borrow_fd(fd), true);
}

fn create<'py>(
    core: &Bound<'py, LoopCore>,
    fd: i32,
    file: File,
    extra: Extra,
    context: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, SocketTransport>> {
    let base = Transport::new(&KIND, core, fd, file, extra, Output::Stream(WriteQueue::default()), context)?;
    Bound::new(core.py(), PyClassInitializer::from(base).add_subclass(SocketTransport))
}

#[pymethods]
impl SocketTransport {
    /// For the loop: makes the transport of a socket object, and tells the protocol in the next turn.
    #[staticmethod]
    #[pyo3(signature = (r#loop, sock, protocol, waiter=None, extra=None, server=None, context=None))]
    fn _open<'py>(
        r#loop: &Bound<'py, LoopCore>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
        server: Option<&Bound<'py, PyAny>>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let extra = Extra::Known(extra_of_socket(sock, extra)?.unbind());
        let fd = sock.call_method0("fileno")?.extract()?;
        send_at_once(fd);
        let transport = create(r#loop, fd, File::hold(sock)?, extra, context)?;
        if let Some(server) = server {
            server::attach(transport.as_super(), server)?;
        }
        opening::open(transport.as_super(), protocol, waiter)?;
        Ok(transport)
    }

    /// Sends the pieces one after the other, in as few system calls as possible.
    ///
    /// Args:
    ///     list_of_data: An iterable of bytes-like objects.
    ///
    /// Raises:
    ///     RuntimeError: after `write_eof()`, or while `sendfile` is in progress.
    ///     TypeError: a piece is not bytes-like.
    fn writelines(slf: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        writelines(slf.as_super(), list_of_data)
    }

    /// Closes the writing half once everything is sent; the other side may still write.
    fn write_eof(slf: &Bound<'_, Self>) -> PyResult<()> {
        let transport = slf.as_super();
        let (py, this) = (slf.py(), transport.get());
        let now = this
            .body
            .with(py, |body| !body.closing && !std::mem::replace(&mut body.eof, true) && body.output.is_empty());
        if now { shut_down(transport) } else { Ok(()) }
    }

    /// True: `write_eof()` works.
    fn can_write_eof(&self) -> bool {
        true
    }

    /// For `sendfile`: a future that is done when nothing is left to send. Until it is reset nobody may write.
    fn _make_empty_waiter<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.as_super().get();
        let py = slf.py();
        if this.body.with(py, |body| body.empty_waiter.is_some()) {
            return Err(PyRuntimeError::new_err("Empty waiter is already set"));
        }
        let waiter = this.core(py)?.call_method0("create_future")?;
        let new = waiter.clone().unbind();
        let empty = this.body.with(py, |body| {
            body.empty_waiter = Some(new);
            body.output.is_empty()
        });
        if empty {
            waiter.call_method1("set_result", (py.None(),))?;
        }
        Ok(waiter)
    }

    /// For `sendfile`, which sends by itself: a future that is done when the kernel takes bytes again.
    ///
    /// It takes the place of the last one, and fails as that does when the connection goes.
    fn _make_writable_waiter<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.as_super().get();
        let waiter = this.core(slf.py())?.call_method0("create_future")?;
        let new = waiter.clone().unbind();
        let before = this.body.with(slf.py(), |body| body.empty_waiter.replace(new));
        drop(before);
        start_writing(slf.as_super())?;
        Ok(waiter)
    }

    /// Writing is allowed again.
    fn _reset_empty_waiter(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.as_super().get();
        let (waiter, empty) = this.body.with(slf.py(), |body| (body.empty_waiter.take(), body.output.is_empty()));
        drop(waiter);
        if empty { this.stop_writing(slf.py()) } else { Ok(()) }
    }

    #[getter]
    fn _empty_waiter(slf: &Bound<'_, Self>) -> Option<Py<PyAny>> {
        let py = slf.py();
        slf.as_super().get().body.with(py, |body| body.empty_waiter.as_ref().map(|waiter| waiter.clone_ref(py)))
    }

    #[getter]
    fn _eof(slf: &Bound<'_, Self>) -> bool {
        slf.as_super().get().body.with(slf.py(), |body| body.eof)
    }

    #[getter]
    fn _sock<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        file_object(slf.as_super())
    }

    #[setter(_sock)]
    fn set_sock(slf: &Bound<'_, Self>, sock: Option<Py<PyAny>>) {
        set_file_object(slf.as_super(), sock);
    }

    /// Who reads, as asyncio's transport keeps it: nobody once it is closed.
    #[getter]
    fn _read_ready_cb<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let is_closing = slf.as_super().get().body.with(slf.py(), |body| body.closing);
        if is_closing { Ok(None) } else { slf.getattr("_read_ready").map(Some) }
    }

    #[getter]
    fn _sock_fd(slf: &Bound<'_, Self>) -> i32 {
        slf.as_super().get().fd
    }

    #[classattr]
    fn _start_tls_compatible() -> bool {
        true
    }

    #[getter]
    fn _sendfile_compatible(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let modes = private::SENDFILE_MODE.look_up(py)?;
        modes.map(|modes| modes.getattr("TRY_NATIVE").map(Bound::unbind)).transpose()
    }

    #[classattr]
    fn max_size() -> usize {
        input::LARGE
    }
}

// ---- reading

fn read_ready(slf: &Bound<'_, Transport>) -> PyResult<()> {
    match slf.get().receiver(slf.py()) {
        Some((protocol, false)) => read_data(slf, &protocol),
        Some((protocol, true)) => read_into_buffer(slf, &protocol),
        None => Ok(()),
    }
}

fn read_data(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let mut expected = this.body.with(py, |body| body.expected);
    let before: Expected = expected;
    let received = input::receive(py, &mut expected, |memory| {
        net::recv(borrow_fd(this.fd), memory, RECEIVE).map(|((filled, _), _)| filled.len())
    })?;
    if expected != before {
        this.body.with(py, |body| body.expected = expected);
    }
    let data = match received {
        Ok(data) => data,
        Err(error) => return read_failed(slf, error),
    };
    if data.as_bytes().is_empty() {
        return end_of_file(slf, protocol);
    }
    this.count_intake(py, data.as_bytes().len());
    match protocol.call_method1(name!(py, "data_received"), (data,)) {
        Ok(_) => Ok(()),
        Err(error) => fatal_error(slf, error, "Fatal error: protocol.data_received() call failed."),
    }
}

/// What `socket.recv_into` says of a buffer that it cannot fill.
#[cold]
fn not_writable(buffer: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let kind = buffer.get_type().name()?;
    Ok(PyTypeError::new_err(format!("recv_into() argument 1 must be read-write bytes-like object, not {kind}")))
}

fn read_into_buffer(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if let Ok(tls) = protocol.cast_exact::<TlsProtocol>() {
        return read_into_tls(slf, tls);
    }
    let buffer = protocol.call_method1(name!(py, "get_buffer"), (-1,)).and_then(|buffer| match buffer.len()? {
        0 => Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer")),
        _ => Ok(buffer),
    });
    let buffer = match buffer {
        Ok(buffer) => buffer,
        Err(error) => return fatal_error(slf, error, "Fatal error: protocol.get_buffer() call failed."),
    };
    let mut view = match View::write(&buffer) {
        Ok(view) => view,
        Err(_) => return fatal_error(slf, not_writable(&buffer)?, "Fatal read error on socket transport"),
    };
    // The protocol may have blocked, and the connection gone meanwhile.
    if this.is_closed(py) {
        return Ok(());
    }
    let received = net::recv(borrow_fd(this.fd), view.bytes_mut(), RECEIVE);
    drop(view);
    match received {
        Ok((0, _)) => end_of_file(slf, protocol),
        Ok((count, _)) => {
            this.count_intake(py, count);
            match protocol.call_method1(name!(py, "buffer_updated"), (count,)) {
                Ok(_) => Ok(()),
                Err(error) => fatal_error(slf, error, "Fatal error: protocol.buffer_updated() call failed."),
            }
        }
        Err(error) => read_failed(slf, error),
    }
}

/// As [`read_into_buffer`], without a call through Python.
fn read_into_tls(slf: &Bound<'_, Transport>, tls: &Bound<'_, TlsProtocol>) -> PyResult<()> {
    let fd = borrow_fd(slf.get().fd);
    let received = TlsProtocol::receive(tls, |memory| net::recv(fd, memory, RECEIVE).map(|(_, count)| count));
    match received {
        Ok(Ok(0)) => end_of_file(slf, tls.as_any()),
        Ok(Ok(count)) => {
            slf.get().count_intake(slf.py(), count);
            Ok(())
        }
        Ok(Err(error)) => read_failed(slf, error),
        Err(error) => fatal_error(slf, error, "Fatal error: protocol.buffer_updated() call failed."),
    }
}

#[cold]
fn read_failed(slf: &Bound<'_, Transport>, error: Errno) -> PyResult<()> {
    match error {
        Errno::AGAIN | Errno::INTR => Ok(()),
        error => fatal_error(slf, os_error(error), "Fatal read error on socket transport"),
    }
}

#[cold]
fn end_of_file(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if this.is_debug(py) {
        ending::log(slf, "debug", "%r received EOF", None)?;
    }
    let keep_open = protocol.call_method0(name!(py, "eof_received")).and_then(|keep| keep.is_truthy());
    match keep_open {
        // The protocol may go on writing; there is nothing more to read.
        Ok(true) => this.stop_reading(py),
        Ok(false) => slf.call_method0(name!(py, "close")).map(drop),
        Err(error) => fatal_error(slf, error, "Fatal error: protocol.eof_received() call failed."),
    }
}

// ---- writing

/// `transport.write(data)`.
pub struct Write;

impl FastMethod for Write {
    const NAME: &'static CStr = c"write";
    const DOC: &'static CStr = c"write($self, data)\n--\n\nSend data, at once as far as the kernel takes it; the rest follows by itself.\n\nArgs:\n    data: Bytes, bytearray or memoryview.\n\nRaises:\n    RuntimeError: after write_eof(), or while sendfile is in progress.\n    TypeError: data is of another type.\n\nThe trap: a peer that does not read lets the rest grow without a bound, unless the\nprotocol heeds pause_writing (streams: await writer.drain()).\n";
    type Class = SocketTransport;

    #[inline]
    fn call<'py>(slf: Borrowed<'_, 'py, SocketTransport>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
        let [data] = arguments.named(["data"], "write")?;
        let data =
            data.ok_or_else(|| PyTypeError::new_err("write() missing 1 required positional argument: 'data'"))?;
        write(slf.as_super(), &data)?;
        Ok(slf.py().None())
    }
}

/// Whether anything may be written now.
fn check_writable(this: &Transport, py: Python<'_>, method: &str) -> PyResult<()> {
    let (eof, waited_for) = this.body.with(py, |body| (body.eof, body.empty_waiter.is_some()));
    if eof {
        return Err(PyRuntimeError::new_err(format!("Cannot call {method}() after write_eof()")));
    }
    if waited_for {
        return Err(PyRuntimeError::new_err(format!("unable to {method}; sendfile is in progress")));
    }
    Ok(())
}

fn write(slf: &Bound<'_, Transport>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    Data::check(object)?;
    check_writable(this, py, "write")?;
    let data = match Data::new(object) {
        Ok(data) => data,
        Err(error) => return fatal_error(slf, error, "Fatal write error on socket transport"),
    };
    if data.bytes().is_empty() {
        return Ok(());
    }
    if this.is_lost(py) {
        return write_lost(slf);
    }

    // Try to send now what nothing waits before.
    let mut sent = 0;
    if this.body.with(py, |body| body.output.is_empty()) {
        match net::send(borrow_fd(this.fd), data.bytes(), SEND) {
            Ok(count) if count == data.bytes().len() => return Ok(()),
            Ok(count) => sent = count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return fatal_error(slf, os_error(error), "Fatal write error on socket transport"),
        }
        start_writing(slf)?;
    }
    let piece = data.piece(sent);
    let empty = this.body.with(py, |body| body.output.stream().and_then(|queue| queue.push(piece)));
    drop((empty, data));
    maybe_pause_protocol(slf)
}

#[cold]
fn write_lost(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let lost = slf.get().body.with(slf.py(), |body| {
        body.lost += 1;
        body.lost - 1
    });
    if lost >= QUIET_LOST_WRITES {
        slf.py()
            .import("asyncio.log")?
            .getattr("logger")?
            .call_method1("warning", ("socket.send() raised exception.",))?;
    }
    Ok(())
}

fn writelines(slf: &Bound<'_, Transport>, list: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    check_writable(this, py, "writelines")?;
    if !list.is_truthy()? {
        return Ok(());
    }
    let mut pieces = Vec::new();
    for item in list.try_iter()? {
        let item = item?;
        // Anything with a buffer goes here, as with asyncio: it takes a memoryview of each.
        let data = match item.cast::<PyBytes>() {
            Ok(bytes) => Data::Bytes(bytes),
            Err(_) => Data::View(&item, View::read(&item).map_err(|error| as_memoryview_says(&item, error))?),
        };
        pieces.push(data.piece(0));
    }
    if this.is_lost(py) {
        return write_lost(slf);
    }
    let (watched, dropped) = this.body.with(py, |body| {
        let watched = !body.output.is_empty();
        let queue = body.output.stream();
        (watched, queue.map(|queue| pieces.into_iter().filter_map(|piece| queue.push(piece)).collect::<Vec<_>>()))
    });
    drop(dropped);
    if this.body.with(py, |body| body.output.is_empty()) {
        return Ok(());
    }
    send_queue(slf)?;
    if this.body.with(py, |body| !body.output.is_empty()) && !watched {
        start_writing(slf)?;
    }
    maybe_pause_protocol(slf)
}

/// What is wrong with a piece, in the words of the memoryview that asyncio makes of it.
#[cold]
fn as_memoryview_says(item: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    PyMemoryView::from(item).err().unwrap_or(error)
}

/// Sends as much of the queue as the kernel takes.
fn send_queue(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if this.is_lost(py) {
        return Ok(());
    }
    let sent = this.body.with(py, |body| {
        let Some(queue) = body.output.stream() else { return Ok(Vec::new()) };
        let slices = queue.slices();
        let sent = match &slices[..] {
            [one] => net::send(borrow_fd(this.fd), one, SEND),
            all => net::sendmsg(borrow_fd(this.fd), all, &mut SendAncillaryBuffer::default(), SEND),
        }?;
        drop(slices);
        Ok(queue.advance(sent))
    });
    match sent {
        Ok(done) => {
            drop::<Vec<Piece>>(done);
            after_sending(slf)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => send_failed(slf, os_error(error)),
    }
}

fn write_ready(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let nothing_waits = slf.get().body.with(slf.py(), |body| body.lost == 0 && body.output.is_empty());
    // Then it is `sendfile` that waits.
    if nothing_waits { after_sending(slf) } else { send_queue(slf) }
}

fn after_sending(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    maybe_resume_protocol(slf)?; // which may write more
    let (empty, closing, eof, waiter) = this.body.with(py, |body| {
        (body.output.is_empty(), body.closing, body.eof, body.empty_waiter.as_ref().map(|waiter| waiter.clone_ref(py)))
    });
    if !empty {
        return Ok(());
    }
    this.stop_writing(py)?;
    if let Some(waiter) = waiter {
        ending::wake_waiter(waiter.bind(py))?;
    }
    if closing {
        ending::call_connection_lost(slf)
    } else if eof {
        shut_down(slf)
    } else {
        Ok(())
    }
}

#[cold]
fn send_failed(slf: &Bound<'_, Transport>, error: PyErr) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    this.stop_writing(py)?;
    let waiting = this.body.with(py, |body| body.output.take());
    drop(waiting);
    let again = error.clone_ref(py);
    fatal_error(slf, error, "Fatal write error on socket transport")?;
    let waiter = this.body.with(py, |body| body.empty_waiter.as_ref().map(|waiter| waiter.clone_ref(py)));
    match waiter {
        Some(waiter) => fail_waiter(waiter.bind(py), again),
        None => Ok(()),
    }
}

fn shut_down(slf: &Bound<'_, Transport>) -> PyResult<()> {
    net::shutdown(borrow_fd(slf.get().fd), Shutdown::Write).map_err(os_error)
}
