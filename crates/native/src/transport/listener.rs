//! Listening sockets: accept, make a protocol and a transport, and go on.

use super::file::{socket_object, wrap_socket};
use super::{address, socket};
use crate::errors::{self, ends_loop, os_error};
use crate::event_loop::LoopCore;
use crate::ffi::{self, Called, GilCell, borrow_fd, name};
use crate::handle::{Args, Native};
use everloop_core::registry::Direction;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use pyo3::{PyTraverseError, PyVisit};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, acceptfrom_with};
use std::os::fd::OwnedFd;

static ACCEPT: Native = Native::new("_accept_ready", |slf| accept_ready(slf.cast()?));

struct Parts {
    core: Py<LoopCore>,
    sock: Py<PyAny>,
    protocol_factory: Py<PyAny>,
    server: Option<Py<PyAny>>,
    /// The context of the server, where asyncio's has one. Each connection has a copy of it, else one of the current
    /// context.
    context: Option<Py<PyAny>>,
    /// The context of TLS, and two time-outs. Such connections are made by asyncio's own code.
    tls: Option<(Py<PyAny>, Py<PyAny>, Py<PyAny>)>,
}

/// Accepts the connections of one listening socket: what `Server` uses.
#[pyclass(frozen, weakref, module = "everloop._native")]
pub struct Listener {
    parts: GilCell<Option<Parts>>,
    /// Family, type and protocol, which the connections share.
    numbers: [i32; 3],
    /// The number of connections that one event may bring.
    backlog: usize,
}

#[pymethods]
impl Listener {
    #[new]
    #[pyo3(signature = (r#loop, protocol_factory, sock, sslcontext, server, backlog, ssl_handshake_timeout, ssl_shutdown_timeout, context))]
    #[expect(clippy::too_many_arguments, reason = "asyncio's list")]
    fn new(
        r#loop: Py<LoopCore>,
        protocol_factory: Py<PyAny>,
        sock: &Bound<'_, PyAny>,
        sslcontext: Option<Py<PyAny>>,
        server: Option<Py<PyAny>>,
        backlog: i64,
        ssl_handshake_timeout: Py<PyAny>,
        ssl_shutdown_timeout: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        // An object without these numbers is no socket, but may accept like one.
        let number = |name: &str| sock.getattr(name).and_then(|number| number.extract()).unwrap_or(0);
        Ok(Self {
            numbers: [number("family"), number("type"), number("proto")],
            backlog: usize::try_from(backlog).unwrap_or(0).max(1),
            parts: GilCell::new(Some(Parts {
                core: r#loop,
                sock: sock.clone().unbind(),
                protocol_factory,
                server,
                context,
                tls: sslcontext.map(|context| (context, ssl_handshake_timeout, ssl_shutdown_timeout)),
            })),
        })
    }

    /// Accepts from the next turn on, until the socket is no longer watched or closed.
    fn start(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let Some((core, sock)) = slf.get().with(py, |parts| (parts.core.clone_ref(py), parts.sock.clone_ref(py)))
        else {
            return Ok(());
        };
        let number = sock.call_method0(py, "fileno")?;
        if number.extract::<i32>(py).is_ok_and(|fd| fd < 0) {
            return Ok(());
        }
        let fd = ffi::file_descriptor(number.bind(py))?;
        let object = slf.clone().into_any().unbind();
        let handle = LoopCore::handle_in(core.bind(py), ffi::copy_context(py)?, object, Args::Native(&ACCEPT))?;
        core.get().watch(py, fd, Direction::Read, &handle)
    }

    fn _accept_ready(slf: &Bound<'_, Self>) -> PyResult<()> {
        accept_ready(slf)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.parts.traverse(|parts| {
            let Some(parts) = parts else { return Ok(()) };
            visit.call(&parts.core)?;
            visit.call(&parts.sock)?;
            visit.call(&parts.protocol_factory)?;
            visit.call(&parts.server)?;
            visit.call(&parts.context)?;
            if let Some((context, _, _)) = &parts.tls {
                visit.call(context)?;
            }
            Ok(())
        })
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let garbage = slf.get().parts.with(slf.py(), Option::take);
        drop(garbage);
    }
}

impl Listener {
    /// The context of one connection, where the server has one: a copy of it.
    fn connection_context(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let context = self.with(py, |parts| parts.context.as_ref().map(|context| context.clone_ref(py))).flatten();
        context.map(|context| ffi::copy_of_context(py, &context)).transpose()
    }

    fn with<R>(&self, py: Python<'_>, f: impl FnOnce(&Parts) -> R) -> Option<R> {
        self.parts.with(py, |parts| parts.as_ref().map(f))
    }
}

/// Accepts the connections that wait, but no more than the backlog: others want their turn too.
fn accept_ready(slf: &Bound<'_, Listener>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let Some(sock) = this.with(py, |parts| parts.sock.clone_ref(py)) else { return Ok(()) };
    for _ in 0..this.backlog {
        // A protocol factory may have closed the server.
        let fd: i32 = sock.call_method0(py, name!(py, "fileno"))?.extract(py)?;
        if fd < 0 {
            return Ok(());
        }
        if !address::is_known(AddressFamily::from_raw(this.numbers[0] as _)) {
            let accepted = sock.call_method0(py, "accept");
            match accepted {
                Ok(pair) => {
                    let (connection, peer) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>(py)?;
                    connection.call_method1("setblocking", (false,))?;
                    serve_socket(slf, &connection, &peer)?;
                }
                Err(error) if error.is_instance_of::<pyo3::exceptions::PyOSError>(py) => return Ok(()),
                Err(error) => return Err(error),
            }
            continue;
        }
        match acceptfrom_with(borrow_fd(fd), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((connection, peer)) => serve(slf, connection, peer)?,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(()),
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                return back_off(slf, fd, os_error(error));
            }
            Err(error) => return Err(os_error(error)),
        }
    }
    Ok(())
}

/// Stops accepting for a while. The process is out of descriptors or memory, and the kernel would report the socket as
/// ready over and over.
#[cold]
fn back_off(slf: &Bound<'_, Listener>, fd: i32, error: PyErr) -> PyResult<()> {
    let py = slf.py();
    let Some((core, sock)) = slf.get().with(py, |parts| (parts.core.clone_ref(py), parts.sock.clone_ref(py))) else {
        return Ok(());
    };
    let sock = wrap_socket(sock.bind(py))?;
    let message = "socket.accept() out of system resource";
    errors::call_exception_handler(
        core.bind(py).as_any(),
        message,
        error.value(py).as_any(),
        &[("socket", Some(&sock))],
    )?;
    core.get().unwatch(py, fd, Direction::Read)?;
    let delay = py.import("asyncio.constants")?.getattr("ACCEPT_RETRY_DELAY")?;
    core.call_method1(py, "call_later", (delay, slf.getattr("start")?))?;
    Ok(())
}

fn serve(slf: &Bound<'_, Listener>, connection: OwnedFd, peer: Option<SocketAddrAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let Some((core, server, is_tls)) = this.with(py, |parts| {
        (parts.core.clone_ref(py), parts.server.as_ref().map(|server| server.clone_ref(py)), parts.tls.is_some())
    }) else {
        return Ok(());
    };
    let peer = peer.unwrap_or_else(|| rustix::net::SocketAddrUnix::new_unnamed().into());
    if is_tls || core.get().is_debug() {
        let name = address::to_python(py, &peer)?;
        return serve_socket(slf, &socket_object(py, connection, this.numbers)?, &name);
    }

    // Each connection has a context of its own, a copy of the server's, or of the one in which serving was started.
    let context = this.connection_context(py)?.map_or_else(|| ffi::copy_context(py), Ok)?;
    let Some(factory) = this.with(py, |parts| parts.protocol_factory.clone_ref(py)) else { return Ok(()) };
    let called = ffi::run_in_context(py, &context, || {
        let protocol = factory.call0(py)?;
        let server = server.as_ref().map(|server| server.bind(py));
        socket::accepted(
            core.bind(py),
            connection,
            this.numbers,
            peer,
            protocol.bind(py),
            server,
            context.clone_ref(py),
        )
    });
    match called {
        Called::Returned => Ok(()),
        Called::Raised(error) | Called::ContextBusy(error) if ends_loop(py, &error) => Err(error),
        // Outside of debug mode asyncio says nothing of a protocol that cannot be made.
        Called::Raised(_) | Called::ContextBusy(_) => Ok(()),
    }
}

/// Serves a connection with asyncio's own code: a task for each, which waits for the handshake and reports errors.
fn serve_socket(slf: &Bound<'_, Listener>, connection: &Bound<'_, PyAny>, peer: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    let parts = slf.get().with(py, |parts| {
        let tls = parts.tls.as_ref().map(|(context, handshake, shutdown)| {
            (context.clone_ref(py), handshake.clone_ref(py), shutdown.clone_ref(py))
        });
        let server = parts.server.as_ref().map(|server| server.clone_ref(py));
        (parts.core.clone_ref(py), parts.protocol_factory.clone_ref(py), server, parts.sock.clone_ref(py), tls)
    });
    let Some((core, factory, server, _sock, tls)) = parts else { return Ok(()) };
    if core.get().is_debug() {
        errors::log(py, "debug", ("%r got a new connection from %r: %r", &server, peer, connection), None)?;
    }
    let extra = [("peername", peer)].into_py_dict(py)?;
    let accept = name!(py, "_accept_connection2");
    // Versions whose servers have no context do not take one.
    let context = slf.get().connection_context(py)?;
    let task_options = context.map(|context| [("context", context)].into_py_dict(py)).transpose()?;
    let options = task_options.as_ref().map_or_else(|| Ok(PyDict::new(py)), |options| options.copy())?;
    let sslcontext = match tls {
        Some((context, handshake, shutdown)) => {
            options.set_item("ssl_handshake_timeout", handshake)?;
            options.set_item("ssl_shutdown_timeout", shutdown)?;
            context
        }
        None => py.None(),
    };
    let coroutine =
        core.bind(py).call_method(accept, (factory, connection, extra, sslcontext, server), Some(&options))?;
    core.bind(py).call_method("create_task", (coroutine,), task_options.as_ref())?;
    Ok(())
}
