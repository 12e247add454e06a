//! What all transports share: their states, and the order in which a protocol is told of them.
//!
//! open -> reading or paused -> closing (what waits is still sent) -> lost (nothing more is sent; `connection_lost` is
//! on its way) -> closed. A step never goes back.

use super::address;
use super::flow::Flow;
use super::input::Expected;
use super::output::Output;
use crate::event_loop::LoopCore;
use crate::ffi::GilCell;
use crate::handle::{Native, is_fatal};
use everloop_core::registry::Direction;
use pyo3::exceptions::{PyConnectionError, PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict, PyType};
use pyo3::{PyTraverseError, PyVisit};
use rustix::net::SocketAddrAny;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

/// What distinguishes the classes of transports.
pub struct Kind {
    pub name: &'static str,
    /// The class of asyncio that instances claim to be of, and its module.
    pub asyncio: [&'static str; 2],
    /// What `get_extra_info` calls the file.
    pub file: &'static str,
    pub read: &'static Native,
    pub write: &'static Native,
}

/// What a transport owns.
pub enum File {
    /// Made by somebody in Python: a socket or a pipe.
    Object(Py<PyAny>),
    /// The same; if its maker closes it, it stays open until the transport closes it too. (As files do that
    /// `socket.makefile` made. Otherwise the transport would go on with a number that may be another file's.)
    Held(Py<PyAny>),
    /// Accepted natively: it becomes a socket object when somebody asks for it. With its family, type and protocol.
    Descriptor(OwnedFd, [i32; 3]),
    Closed,
}

/// What `get_extra_info` knows.
pub enum Extra {
    Known(Py<PyDict>),
    /// Of a socket that was accepted natively: a dictionary when somebody asks.
    Later(Box<Ends>),
}

/// The addresses of a connection.
#[derive(Clone)]
pub struct Ends {
    pub sockname: Option<SocketAddrAny>,
    pub peername: SocketAddrAny,
}

/// The state of one transport. Written by the thread that holds the loop's baton, and always under the GIL.
pub struct Body {
    /// None once `connection_lost` was called, as are the protocol and the server.
    pub loop_: Option<Py<LoopCore>>,
    pub protocol: Option<Py<PyAny>>,
    /// The protocol is a BufferedProtocol.
    pub buffered: bool,
    pub file: File,
    pub extra: Extra,
    pub server: Option<Py<PyAny>>,
    pub closing: bool,
    pub paused: bool,
    /// 0 until `connection_lost` is on its way; from then on it also counts writes that go nowhere, as asyncio does.
    pub lost: u32,
    /// What `connection_lost` will be told.
    pub reason: Option<Py<PyAny>>,
    pub flow: Flow,
    pub output: Output,
    pub expected: Expected,
    /// `write_eof` was called.
    pub eof: bool,
    /// `sendfile` waits until nothing is left to send.
    pub empty_waiter: Option<Py<PyAny>>,
}

/// What all transports of everloop are: asyncio's transports, written in Rust.
#[pyclass(frozen, subclass, dict, weakref, module = "everloop._native")]
pub struct Transport {
    pub kind: &'static Kind,
    /// Not to be used once the body says that it is lost: the number may be another file's by then.
    pub fd: RawFd,
    pub body: GilCell<Body>,
}

pub static START_READING: Native = Native { name: "_start_reading", run: |slf| start_reading(of(slf)?) };
pub static CONNECTION_LOST: Native =
    Native { name: "_call_connection_lost", run: |slf| call_connection_lost(of(slf)?) };

/// The transport behind a handle's object.
#[inline]
pub fn of<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Transport>> {
    Ok(object.cast::<Transport>()?)
}

impl Transport {
    pub fn new(
        kind: &'static Kind,
        core: &Bound<'_, LoopCore>,
        fd: RawFd,
        file: File,
        extra: Extra,
        output: Output,
    ) -> Self {
        Self {
            kind,
            fd,
            body: GilCell::new(Body {
                loop_: Some(core.clone().unbind()),
                protocol: None,
                buffered: false,
                file,
                extra,
                server: None,
                closing: false,
                paused: false,
                lost: 0,
                reason: None,
                flow: Flow::default(),
                output,
                expected: Expected::default(),
                eof: false,
                empty_waiter: None,
            }),
        }
    }

    #[inline]
    pub fn core<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, LoopCore>> {
        self.body
            .with(py, |body| body.loop_.as_ref().map(|core| core.bind(py).clone()))
            .ok_or_else(|| PyRuntimeError::new_err("the transport is closed"))
    }

    pub fn is_debug(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.loop_.as_ref().is_some_and(|core| core.get().is_debug()))
    }

    #[inline]
    pub fn is_lost(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.lost > 0)
    }

    pub fn is_open_for_reading(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| !body.closing && !body.paused)
    }

    #[inline]
    pub fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.body.with(py, |body| body.protocol.as_ref().map(|protocol| protocol.bind(py).clone()))
    }

    /// The method of the protocol that a reader calls.
    #[inline]
    pub fn receiver<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyAny>, bool)> {
        self.body.with(py, |body| {
            if body.lost > 0 {
                return None;
            }
            body.protocol.as_ref().map(|protocol| (protocol.bind(py).clone(), body.buffered))
        })
    }

    fn unwatch(&self, py: Python<'_>, direction: Direction) -> PyResult<()> {
        let core = self.body.with(py, |body| body.loop_.as_ref().map(|core| core.clone_ref(py)));
        core.map_or(Ok(()), |core| core.get().unwatch(py, self.fd, direction).map(drop))
    }

    pub fn stop_writing(&self, py: Python<'_>) -> PyResult<()> {
        self.unwatch(py, Direction::Write)
    }

    pub fn stop_reading(&self, py: Python<'_>) -> PyResult<()> {
        self.unwatch(py, Direction::Read)
    }
}

/// Watches the file until it is writable, then calls the transport's write method.
pub fn start_writing(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let this = slf.get();
    watch(slf, Direction::Write, this.kind.write)
}

fn watch(slf: &Bound<'_, Transport>, direction: Direction, native: &'static Native) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let core = this.core(py)?;
    core.get().check_open()?;
    let handle = LoopCore::native_handle(&core, slf.clone().into_any().unbind(), native)?;
    core.get().watch(py, this.fd, direction, &handle)
}

// ---- the beginning

/// Tells the protocol of its connection in the next turn, and reads from then on.
pub fn open(
    slf: &Bound<'_, Transport>,
    protocol: &Bound<'_, PyAny>,
    waiter: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = slf.py();
    set_protocol(slf, protocol)?;
    let core = slf.get().core(py)?;
    core.get().claim(slf.get().fd, slf)?;
    let made = protocol.getattr(pyo3::intern!(py, "connection_made"))?;
    LoopCore::call_soon_with(&core, made.unbind(), slf.clone().into_any().unbind())?;
    LoopCore::call_soon_native(&core, slf.clone().into_any().unbind(), &START_READING)?;
    if let Some(waiter) = waiter {
        let wake = py.import("asyncio.futures")?.getattr("_set_result_unless_cancelled")?;
        core.call_method1("call_soon", (wake, waiter, py.None()))?;
    }
    Ok(())
}

pub fn set_protocol(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    static BUFFERED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = slf.py();
    let buffered = protocol.is_instance(BUFFERED.import(py, "asyncio.protocols", "BufferedProtocol")?)?;
    let new = protocol.clone().unbind();
    let before = slf.get().body.with(py, |body| {
        body.buffered = buffered;
        body.protocol.replace(new)
    });
    drop(before);
    Ok(())
}

/// The server that accepted the connection knows of it until it is closed.
pub fn attach(slf: &Bound<'_, Transport>, server: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    // Up to CPython 3.12 a server only counts its connections.
    match py.version_info() >= (3, 13) {
        true => server.call_method1(pyo3::intern!(py, "_attach"), (slf,))?,
        false => server.call_method0(pyo3::intern!(py, "_attach"))?,
    };
    let new = server.clone().unbind();
    slf.get().body.with(py, |body| body.server = Some(new));
    Ok(())
}

fn detach(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let py = slf.py();
    let Some(server) = slf.get().body.with(py, |body| body.server.take()) else { return Ok(()) };
    match py.version_info() >= (3, 13) {
        true => server.call_method1(py, pyo3::intern!(py, "_detach"), (slf,))?,
        false => server.call_method0(py, pyo3::intern!(py, "_detach"))?,
    };
    Ok(())
}

// ---- reading

pub fn start_reading(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if this.is_open_for_reading(py) { watch(slf, Direction::Read, this.kind.read) } else { Ok(()) }
}

// ---- flow control

/// To be called when something had to wait.
pub fn maybe_pause_protocol(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let must = slf.get().body.with(slf.py(), |body| body.flow.must_pause(body.output.len()));
    if must { call_flow(slf, "pause_writing") } else { Ok(()) }
}

/// To be called when something has left.
pub fn maybe_resume_protocol(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let may = slf.get().body.with(slf.py(), |body| body.flow.may_resume(body.output.len()));
    if may { call_flow(slf, "resume_writing") } else { Ok(()) }
}

fn call_flow(slf: &Bound<'_, Transport>, method: &str) -> PyResult<()> {
    let Some(protocol) = slf.get().protocol(slf.py()) else { return Ok(()) };
    match protocol.call_method0(method) {
        Ok(_) => Ok(()),
        Err(error) if is_fatal(slf.py(), &error) => Err(error),
        Err(error) => tell(slf, &format!("protocol.{method}() failed"), &error),
    }
}

// ---- errors

/// Hands an error to the loop's exception handler.
pub fn tell(slf: &Bound<'_, Transport>, message: &str, error: &PyErr) -> PyResult<()> {
    let py = slf.py();
    let context = PyDict::new(py);
    context.set_item("message", message)?;
    context.set_item("exception", error.value(py))?;
    context.set_item("transport", slf)?;
    context.set_item("protocol", slf.get().protocol(py))?;
    slf.get().core(py)?.call_method1("call_exception_handler", (context,))?;
    Ok(())
}

/// Debug mode only: asyncio's words.
#[cold]
pub fn log(slf: &Bound<'_, Transport>, level: &str, format: &str, error: Option<&PyErr>) -> PyResult<()> {
    let py = slf.py();
    let logger = py.import("asyncio.log")?.getattr("logger")?;
    let kwargs = match error {
        Some(error) => Some([("exc_info", error.value(py))].into_py_dict(py)?),
        None => None,
    };
    logger.call_method(level, (format, slf), kwargs.as_ref())?;
    Ok(())
}

/// The end after an error: errors of the network concern nobody but the protocol, others are reported too.
pub fn fatal_error(slf: &Bound<'_, Transport>, error: PyErr, message: &str) -> PyResult<()> {
    let py = slf.py();
    if is_fatal(py, &error) {
        return Err(error);
    }
    if !error.is_instance_of::<PyOSError>(py) {
        tell(slf, message, &error)?;
    } else if slf.get().is_debug(py) {
        log(slf, "debug", &format!("%r: {message}"), Some(&error))?;
    }
    force_close(slf, Some(error))
}

// ---- the end

/// Ends the connection without sending what waits.
pub fn force_close(slf: &Bound<'_, Transport>, error: Option<PyErr>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let reason = error.map(|error| error.into_value(py).into_any());
    let Some((waiting, was_closing)) = this.body.with(py, |body| {
        if body.lost > 0 {
            return None;
        }
        let waiting = (!body.output.is_empty()).then(|| body.output.take());
        Some((waiting, std::mem::replace(&mut body.closing, true)))
    }) else {
        return Ok(());
    };
    if let Some(waiting) = waiting {
        drop(waiting);
        this.stop_writing(py)?;
    }
    if !was_closing {
        this.stop_reading(py)?;
    }
    lose(slf, reason)
}

/// From here on nothing is sent any more; the protocol is told in the next turn.
pub fn lose(slf: &Bound<'_, Transport>, reason: Option<Py<PyAny>>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let before = this.body.with(py, |body| {
        body.lost += 1;
        std::mem::replace(&mut body.reason, reason)
    });
    drop(before);
    LoopCore::call_soon_native(&this.core(py)?, slf.clone().into_any().unbind(), &CONNECTION_LOST)
}

/// Tells the protocol that it has lost its connection, and lets go of everything.
pub fn call_connection_lost(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let (protocol, reason) = this.body.with(py, |body| {
        body.lost = body.lost.max(1);
        (body.protocol.as_ref().map(|protocol| protocol.clone_ref(py)), body.reason.take())
    });
    let told = match protocol {
        Some(protocol) => protocol.call_method1(py, pyo3::intern!(py, "connection_lost"), (reason,)).map(drop),
        None => Ok(()),
    };
    let closed = let_go(slf);
    told.and(closed)
}

fn let_go(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if let Ok(core) = this.core(py) {
        core.get().disclaim(py, this.fd);
    }
    let closed = close_file(slf);
    let (protocol, core, waiter) = this.body.with(py, |body| {
        (body.protocol.take(), body.loop_.take(), body.empty_waiter.as_ref().map(|w| w.clone_ref(py)))
    });
    drop((protocol, core));
    let detached = detach(slf);
    if let Some(waiter) = waiter {
        fail_waiter(waiter.bind(py), PyConnectionError::new_err("Connection is closed by peer"))?;
    }
    closed.and(detached)
}

/// Nothing is left to send: `sendfile` may begin.
pub fn wake_waiter(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    if !waiter.call_method0("done")?.is_truthy()? {
        waiter.call_method1("set_result", (waiter.py().None(),))?;
    }
    Ok(())
}

/// `sendfile` waits in vain.
pub fn fail_waiter(waiter: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    if !waiter.call_method0("done")?.is_truthy()? {
        waiter.call_method1("set_exception", (error.into_value(waiter.py()),))?;
    }
    Ok(())
}

fn close_file(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let py = slf.py();
    match slf.get().body.with(py, |body| std::mem::replace(&mut body.file, File::Closed)) {
        File::Closed => Ok(()),
        File::Descriptor(fd, _) => {
            drop(fd);
            Ok(())
        }
        File::Object(file) => file.call_method0(py, "close").map(drop),
        File::Held(socket) => {
            let closed = socket.call_method0(py, "close");
            socket.call_method0(py, "_decref_socketios")?;
            closed.map(drop)
        }
    }
}

/// A socket object for a transport to own.
pub fn hold(socket: &Bound<'_, PyAny>) -> PyResult<File> {
    static SOCKET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = socket.py();
    if !socket.is_instance(SOCKET.import(py, "socket", "socket")?)? {
        return Ok(File::Object(socket.clone().unbind()));
    }
    let name = pyo3::intern!(py, "_io_refs");
    socket.setattr(name, socket.getattr(name)?.extract::<i64>()? + 1)?;
    Ok(File::Held(socket.clone().unbind()))
}

// ---- what is known of it

/// The file as a Python object: None once it is closed.
pub fn file_object<'py>(slf: &Bound<'py, Transport>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, this) = (slf.py(), slf.get());
    let known = this.body.with(py, |body| match &body.file {
        File::Object(file) | File::Held(file) => Some(Some(file.bind(py).clone())),
        File::Closed => Some(None),
        File::Descriptor(..) => None,
    });
    if let Some(known) = known {
        return Ok(known);
    }
    // The socket object owns the descriptor from here on.
    let File::Descriptor(fd, numbers) = this.body.with(py, |body| std::mem::replace(&mut body.file, File::Closed))
    else {
        return Ok(None);
    };
    let arguments = [("fileno", fd.as_raw_fd())].into_py_dict(py)?;
    let [family, kind, protocol] = numbers;
    let object = py.import("socket")?.getattr("socket")?.call((family, kind, protocol), Some(&arguments));
    let file = match &object {
        Ok(object) => {
            let _owned_by_the_object = fd.into_raw_fd();
            File::Object(object.clone().unbind())
        }
        Err(_) => File::Descriptor(fd, numbers),
    };
    let before = this.body.with(py, |body| std::mem::replace(&mut body.file, file));
    drop(before);
    object.map(Some)
}

/// The dictionary behind `get_extra_info`.
fn extra<'py>(slf: &Bound<'py, Transport>) -> PyResult<Bound<'py, PyDict>> {
    let (py, this) = (slf.py(), slf.get());
    let (known, ends) = this.body.with(py, |body| match &body.extra {
        Extra::Known(extra) => (Some(extra.bind(py).clone()), None),
        Extra::Later(ends) => (None, Some(ends.clone())),
    });
    if let Some(extra) = known {
        return Ok(extra);
    }
    let extra = PyDict::new(py);
    if let Some(ends) = ends {
        extra.set_item("peername", address::to_python(py, &ends.peername)?)?;
        extra.set_item("socket", transport_socket(slf)?)?;
        extra.set_item("sockname", ends.sockname.map(|name| address::to_python(py, &name)).transpose()?)?;
    }
    let known = extra.clone().unbind();
    this.body.with(py, |body| body.extra = Extra::Known(known));
    Ok(extra)
}

/// What `get_extra_info("socket")` gives: the socket without the methods that would disturb the transport.
fn transport_socket<'py>(slf: &Bound<'py, Transport>) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    let socket = match file_object(slf)? {
        Some(socket) => socket,
        None => {
            // Nobody asked in time: one that is closed, as it would be by now.
            let closed = py.import("socket")?.call_method0("socket")?;
            closed.call_method0("close")?;
            closed
        }
    };
    wrap_socket(&socket)
}

/// asyncio's read-only view of a socket.
pub fn wrap_socket<'py>(socket: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static WRAPPER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    WRAPPER.import(socket.py(), "asyncio.trsock", "TransportSocket")?.call1((socket,))
}

fn description(slf: &Bound<'_, Transport>) -> String {
    let (py, this) = (slf.py(), slf.get());
    let (core, closed, closing, writes, size) = this.body.with(py, |body| {
        let core = body.loop_.as_ref().map(|core| core.clone_ref(py));
        let writes = !matches!(body.output, Output::None);
        (core, matches!(body.file, File::Closed), body.closing, writes, body.output.len())
    });
    let mut text = format!("<{}", this.kind.name);
    if closed {
        text += " closed";
    } else if closing {
        text += " closing";
    }
    text += &format!(" fd={}", this.fd);
    if let Some(core) = core.filter(|core| !core.get().is_closed()) {
        let state = |direction| if core.get().is_watched(this.fd, direction) { "polling" } else { "idle" };
        text += &match (this.kind.file, writes) {
            ("pipe", true) => format!(" {} bufsize={size}", state(Direction::Write)),
            ("pipe", false) => format!(" {}", state(Direction::Read)),
            _ => {
                format!(" read={} write=<{}, bufsize={size}>", state(Direction::Read), state(Direction::Write))
            }
        };
    } else if this.kind.file == "pipe" {
        text += if closed { " closed" } else { " open" };
    }
    text + ">"
}

/// The finalizer of all transports: one that nobody has closed.
pub fn finalize(slf: &Bound<'_, Transport>) {
    let py = slf.py();
    if slf.get().body.with(py, |body| matches!(body.file, File::Closed)) {
        return;
    }
    let warn = || -> PyResult<()> {
        let arguments = [("source", slf)].into_py_dict(py)?;
        let category = py.get_type::<pyo3::exceptions::PyResourceWarning>();
        let text = format!("unclosed transport {}", description(slf));
        py.import("warnings")?.call_method("warn", (text, category), Some(&arguments))?;
        Ok(())
    };
    // A warning can be an error; the file is closed all the same.
    let warned = warn();
    let closed = close_file(slf);
    let detached = detach(slf);
    if let Err(error) = warned.and(closed).and(detached) {
        error.write_unraisable(py, Some(slf));
    }
}

/// Implements [`Finalize`] for a subclass of [`Transport`].
macro_rules! finalize_as_transport {
    ($class:ty) => {
        impl crate::ffi::Finalize for $class {
            fn finalize(slf: &Bound<'_, Self>) {
                super::base::finalize(slf.as_super());
            }

            fn original() -> &'static std::sync::OnceLock<pyo3::ffi::destructor> {
                static ORIGINAL: std::sync::OnceLock<pyo3::ffi::destructor> = std::sync::OnceLock::new();
                &ORIGINAL
            }
        }
    };
}
pub(super) use finalize_as_transport;

#[pymethods]
impl Transport {
    /// Sends what waits to be sent, then calls the protocol's `connection_lost(None)`.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.body.with(py, |body| std::mem::replace(&mut body.closing, true)) {
            return Ok(());
        }
        this.stop_reading(py)?;
        if this.body.with(py, |body| !body.output.is_empty()) {
            return Ok(());
        }
        this.stop_writing(py)?;
        lose(slf, None)
    }

    /// Throws away what waits to be sent, and calls the protocol's `connection_lost(None)` in the next turn.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<()> {
        force_close(slf, None)
    }

    /// Whether the transport is closing or closed.
    fn is_closing(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.closing)
    }

    /// The protocol that is told what happens; None once the connection is lost.
    fn get_protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.protocol(py).map(Bound::unbind)
    }

    /// Has another protocol told from now on.
    #[pyo3(name = "set_protocol")]
    fn py_set_protocol(slf: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        set_protocol(slf, protocol)
    }

    /// What is known of the connection.
    ///
    /// Args:
    ///     name: "socket" (a limited view of it), "sockname", "peername"; "pipe" for pipes.
    ///     default: What is returned for a name that is not known.
    #[pyo3(signature = (name, default=None))]
    fn get_extra_info<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(extra(slf)?.get_item(name)?.or(default))
    }

    /// Whether the protocol is told of what comes in.
    fn is_reading(&self, py: Python<'_>) -> bool {
        self.is_open_for_reading(py)
    }

    /// Reads nothing more until `resume_reading()`. Of no effect if paused already.
    fn pause_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if !this.is_open_for_reading(py) {
            return Ok(());
        }
        this.body.with(py, |body| body.paused = true);
        this.stop_reading(py)?;
        if this.is_debug(py) { log(slf, "debug", "%r pauses reading", None) } else { Ok(()) }
    }

    /// Reads again. Of no effect if not paused.
    fn resume_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.body.with(py, |body| body.closing || !std::mem::replace(&mut body.paused, false)) {
            return Ok(());
        }
        watch(slf, Direction::Read, this.kind.read)?;
        if this.is_debug(py) { log(slf, "debug", "%r resumes reading", None) } else { Ok(()) }
    }

    /// How many bytes wait to be sent.
    fn get_write_buffer_size(&self, py: Python<'_>) -> usize {
        self.body.with(py, |body| body.output.len())
    }

    /// The low and the high water mark, in bytes.
    fn get_write_buffer_limits(&self, py: Python<'_>) -> (usize, usize) {
        self.body.with(py, |body| (body.flow.low, body.flow.high))
    }

    /// Sets when the protocol's `pause_writing` and `resume_writing` are called.
    ///
    /// Args:
    ///     high: Bytes; when more wait to be sent, the protocol is paused. None: 4 * low, or 64 KiB.
    ///     low: Bytes; when no more wait, it goes on. None: high / 4.
    ///
    /// Raises:
    ///     ValueError: not high >= low >= 0.
    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        slf: &Bound<'_, Self>,
        high: Option<&Bound<'_, PyAny>>,
        low: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (high, low) = Flow::set_limits(high, low)?;
        slf.get().body.with(slf.py(), |body| (body.flow.high, body.flow.low) = (high, low));
        maybe_pause_protocol(slf)
    }

    /// asyncio's own code, TLS among it, ends a transport with an error like this.
    #[pyo3(signature = (exc))]
    fn _force_close(slf: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        force_close(slf, exc.map(PyErr::from_value))
    }

    #[pyo3(signature = (exc, message="Fatal error on transport"))]
    fn _fatal_error(slf: &Bound<'_, Self>, exc: Bound<'_, PyAny>, message: &str) -> PyResult<()> {
        fatal_error(slf, PyErr::from_value(exc), message)
    }

    #[pyo3(signature = (exc=None))]
    fn _call_connection_lost(slf: &Bound<'_, Self>, exc: Option<Py<PyAny>>) -> PyResult<()> {
        let before = slf.get().body.with(slf.py(), |body| exc.and_then(|exc| body.reason.replace(exc)));
        drop(before);
        call_connection_lost(slf)
    }

    fn _start_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        start_reading(slf)
    }

    fn _read_ready(slf: &Bound<'_, Self>) -> PyResult<()> {
        (slf.get().kind.read.run)(slf.as_any())
    }

    fn _write_ready(slf: &Bound<'_, Self>) -> PyResult<()> {
        (slf.get().kind.write.run)(slf.as_any())
    }

    #[getter]
    fn _extra<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        extra(slf)
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Option<Py<LoopCore>> {
        self.core(py).ok().map(Bound::unbind)
    }

    #[getter]
    fn _protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_protocol(py)
    }

    #[getter]
    fn _server(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.body.with(py, |body| body.server.as_ref().map(|server| server.clone_ref(py)))
    }

    #[getter]
    fn _closing(&self, py: Python<'_>) -> bool {
        self.is_closing(py)
    }

    #[getter]
    fn _paused(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.paused)
    }

    #[getter]
    fn _conn_lost(&self, py: Python<'_>) -> u32 {
        self.body.with(py, |body| body.lost)
    }

    #[getter]
    fn _protocol_paused(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.flow.paused)
    }

    /// `isinstance(transport, asyncio.Transport)` holds, and whatever else asyncio's own code asks.
    #[getter]
    fn __class__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let [module, class] = slf.get().kind.asyncio;
        slf.py().import(module)?.getattr(class)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> String {
        description(slf)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.body.traverse(|body| {
            visit.call(&body.loop_)?;
            visit.call(&body.protocol)?;
            if let File::Object(file) | File::Held(file) = &body.file {
                visit.call(file)?;
            }
            if let Extra::Known(extra) = &body.extra {
                visit.call(extra)?;
            }
            visit.call(&body.server)?;
            visit.call(&body.reason)?;
            visit.call(&body.empty_waiter)
        })
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let garbage = slf.get().body.with(slf.py(), |body| {
            let file = std::mem::replace(&mut body.file, File::Closed);
            (
                file,
                body.loop_.take(),
                body.protocol.take(),
                body.server.take(),
                body.reason.take(),
                body.empty_waiter.take(),
            )
        });
        drop(garbage);
    }
}
