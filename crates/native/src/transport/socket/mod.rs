//! Stream sockets: TCP and Unix.

mod reading;
mod writing;

use super::address;
use super::base::{Kind, Transport};
use super::file::{Ends, Extra, File, extra_of_socket};
use super::info::{file_names, finalize_as_transport};
use super::input;
use super::opening;
use super::output::Output;
use super::readiness::start_writing;
use super::server;
use crate::event_loop::LoopCore;
use crate::ffi::{self, Arguments, FastMethod, borrow_fd};
use crate::private;
use everloop_core::write_queue::WriteQueue;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::net::{self, SocketAddrAny};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

static KIND: Kind = Kind {
    name: "SocketTransport",
    asyncio: &private::SOCKET_TRANSPORT,
    file: "socket",
    read: reading::read_ready,
    write: writing::write_ready,
};

/// A stream socket and its protocol: what `create_connection` and servers give.
#[pyclass(frozen, extends = Transport, module = "everloop._native")]
pub struct SocketTransport;

finalize_as_transport!(SocketTransport);
file_names!(SocketTransport, _sock, _sock_fd);

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

/// Has small writes leave at once, not only when earlier ones are acknowledged. A socket that is not TCP refuses the
/// option, and sends at once anyway.
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
        writing::writelines(slf.as_super(), list_of_data)
    }

    /// Closes the writing half once everything is sent; the other side may still write.
    fn write_eof(slf: &Bound<'_, Self>) -> PyResult<()> {
        let transport = slf.as_super();
        let (py, this) = (slf.py(), transport.get());
        let now = this
            .body
            .with(py, |body| !body.closing && !std::mem::replace(&mut body.eof, true) && body.output.is_empty());
        if now { writing::shut_down(transport) } else { Ok(()) }
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

    /// The method that reads, as asyncio's transport keeps it; None once it is closing.
    #[getter]
    fn _read_ready_cb<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let is_closing = slf.as_super().get().body.with(slf.py(), |body| body.closing);
        if is_closing { Ok(None) } else { slf.getattr("_read_ready").map(Some) }
    }

    #[classattr]
    fn _start_tls_compatible() -> bool {
        true
    }

    #[getter]
    fn _sendfile_compatible(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        private::sendfile_mode(py, "TRY_NATIVE")
    }

    #[classattr]
    fn max_size() -> usize {
        input::LARGE
    }
}

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
        writing::write(slf.as_super(), &data)?;
        Ok(slf.py().None())
    }
}
