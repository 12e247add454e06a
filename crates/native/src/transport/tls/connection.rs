//! TlsProtocol: the data of one connection, for the stages of its life, which stand in files of their own.
//!
//! Who touches what: the thread that holds the loop's baton reads and writes, under the GIL, as with every transport.
//! The flag `app_transport_closed` is shared with the user's transport, which reads it while it is freed.

use super::session::Session;
use super::states::{AppState, State};
use crate::ffi::{self, GilCell, Window, name};
use everloop_core::flow::{Flow, Pauses};
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict, PyType};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// asyncio's defaults, in bytes: what waits to be decrypted, and what waits to be sent.
pub const READ: usize = 256 * 1024;
pub const WRITE: usize = 512 * 1024;

/// The user's protocol.
pub struct App {
    /// Gone once the connection is lost.
    pub protocol: Option<Py<PyAny>>,
    /// True if it brings its own buffers: an `asyncio.BufferedProtocol`.
    pub is_buffered: bool,
}

/// The parts of a connection that change. Written by the thread that holds the loop's baton, under the GIL.
pub struct Connection {
    pub state: State,
    pub app_state: AppState,
    pub app: App,
    /// The transport that the user writes to. Made when first asked for; gone once the connection is lost.
    pub app_transport: Option<Py<PyAny>>,
    pub app_transport_made: bool,
    /// The transport below, between connection_made and connection_lost.
    pub transport: Option<Py<PyAny>>,
    /// The user's protocol is told of everything in this context or a copy: it is that of the transport below.
    pub calls_in: Option<Py<PyAny>>,
    /// The future of whoever waits for the handshake.
    pub waiter: Option<Py<PyAny>>,
    pub handshake_timer: Option<Py<PyAny>>,
    /// The time at which the handshake began, for the log of debug mode.
    pub handshake_start: Option<f64>,
    pub shutdown_timer: Option<Py<PyAny>>,
    /// Data that is not encrypted yet, each piece with its size: it was written before the end of the handshake.
    pub backlog: VecDeque<(Py<PyAny>, usize)>,
    pub backlog_size: usize,
    /// The number of writes after the end.
    pub lost_writes: usize,
    /// True while the transport below wants no more.
    pub is_writing_paused: bool,
    /// The flow of what the user writes: paused while the user's protocol was told to write no more.
    pub outgoing: Flow,
    /// True while the user wants no more.
    pub is_app_reading_paused: bool,
    /// The flow of what waits to be decrypted: paused while the transport below was told to read no more.
    pub incoming: Flow,
    pub eof_received: bool,
}

/// Makes the transport that the user writes to.
pub type MakeTransport = fn(&Bound<'_, TlsProtocol>) -> PyResult<Py<PyAny>>;

/// TLS between a transport and a protocol: what `asyncio.sslproto.SSLProtocol` is on other loops.
#[pyclass(frozen, weakref, dict, module = "everloop._native")]
pub struct TlsProtocol {
    pub connection: GilCell<Connection>,
    pub session: Session,
    pub loop_: Py<PyAny>,
    pub context: Py<PyAny>,
    /// The answers of `get_extra_info`, but for those of the transport below.
    pub extra: Py<PyDict>,
    pub handshake_timeout: Py<PyAny>,
    pub shutdown_timeout: Py<PyAny>,
    pub server_side: bool,
    pub server_hostname: Option<String>,
    /// Makes the transport that the user writes to: a function of a file that uses this one.
    make_transport: MakeTransport,
    /// True once that transport, or this protocol, was closed: both share it.
    pub app_transport_closed: Arc<AtomicBool>,
    /// The buffer for a transport below that is not a native socket, and the view of it that such a transport is given.
    pub received: PyOnceLock<(Py<Window>, Py<PyAny>)>,
}

/// The choices of whoever makes a connection.
pub struct Options {
    pub waiter: Option<Py<PyAny>>,
    pub server_side: bool,
    pub server_hostname: Option<String>,
    /// False: the user's protocol was told of a connection before TLS began.
    pub call_connection_made: bool,
    pub handshake_timeout: Py<PyAny>,
    pub shutdown_timeout: Py<PyAny>,
    pub make_transport: MakeTransport,
}

impl TlsProtocol {
    pub fn with(
        loop_: Bound<'_, PyAny>,
        app_protocol: &Bound<'_, PyAny>,
        context: &Bound<'_, PyAny>,
        options: Options,
    ) -> PyResult<Self> {
        let py = loop_.py();
        let extra = PyDict::new(py);
        extra.set_item("sslcontext", context)?;
        let app = App::new(app_protocol)?;
        let session = Session::new(context, options.server_side, options.server_hostname.as_deref())?;
        let connection = Connection {
            state: State::Unwrapped,
            app_state: if options.call_connection_made { AppState::Init } else { AppState::Made },
            app,
            app_transport: None,
            app_transport_made: false,
            transport: None,
            calls_in: Some(ffi::copy_context(py)?),
            waiter: options.waiter,
            handshake_timer: None,
            handshake_start: None,
            shutdown_timer: None,
            backlog: VecDeque::new(),
            backlog_size: 0,
            lost_writes: 0,
            is_writing_paused: false,
            outgoing: Flow::new(WRITE, Pauses::AtHigh),
            is_app_reading_paused: false,
            incoming: Flow::new(READ, Pauses::AtHigh),
            eof_received: false,
        };
        Ok(Self {
            connection: GilCell::new(connection),
            session,
            loop_: loop_.unbind(),
            context: context.clone().unbind(),
            extra: extra.unbind(),
            handshake_timeout: options.handshake_timeout,
            shutdown_timeout: options.shutdown_timeout,
            server_side: options.server_side,
            server_hostname: options.server_hostname,
            make_transport: options.make_transport,
            app_transport_closed: Arc::default(),
            received: PyOnceLock::new(),
        })
    }
}

impl TlsProtocol {
    /// The state of the records.
    pub fn state(&self, py: Python<'_>) -> State {
        self.connection.with(py, |c| c.state)
    }

    /// # Errors
    /// RuntimeError: `to` may not follow the state of now.
    pub fn set_state(&self, py: Python<'_>, to: State) -> PyResult<()> {
        let now = self.state(py).change(to)?;
        self.connection.with(py, |c| c.state = now);
        Ok(())
    }

    /// The transport below.
    pub fn transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.connection.with(py, |c| c.transport.as_ref().map(|t| t.bind(py).clone()))
    }

    /// The user's protocol; None once the connection is lost.
    pub fn app_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.connection.with(py, |c| c.app.protocol.as_ref().map(|p| p.bind(py).clone()))
    }

    /// True if the loop is in debug mode.
    pub fn is_debug(&self, py: Python<'_>) -> PyResult<bool> {
        self.loop_.bind(py).call_method0(name!(py, "get_debug"))?.is_truthy()
    }

    /// Notes that the user's transport, if there is one, is closed: then it does not warn.
    pub fn mark_closed(&self, py: Python<'_>) {
        self.connection.with(py, |c| {
            if c.app_transport.is_some() {
                self.app_transport_closed.store(true, Ordering::Relaxed);
            }
        });
    }

    /// The context in which the user's protocol is told of what is read.
    pub fn calls_in(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let own = self.connection.with(py, |c| c.calls_in.as_ref().map(|context| context.clone_ref(py)));
        own.map_or_else(|| ffi::copy_context(py), Ok)
    }

    /// Does what may call the user's protocol in the midst of a call of its transport: in a copy of the protocol's
    /// context, not in the caller's.
    pub fn in_context(&self, py: Python<'_>, call: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
        let context = ffi::copy_of_context(py, &self.calls_in(py)?)?;
        ffi::run_in_context(py, &context, call).into_result()
    }

    /// Schedules a method of this object that reads.
    pub fn call_soon(slf: &Bound<'_, Self>, method: &str) -> PyResult<()> {
        let py = slf.py();
        let context = slf.get().calls_in(py)?;
        slf.get().schedule(py, context, (slf.getattr(method)?,))
    }

    /// Schedules a call in a context.
    pub fn schedule<'py>(&self, py: Python<'py>, context: Py<PyAny>, call: impl PyCallArgs<'py>) -> PyResult<()> {
        let options = [("context", context)].into_py_dict(py)?;
        self.loop_.bind(py).call_method(name!(py, "call_soon"), call, Some(&options)).map(drop)
    }

    /// Schedules a method of this object, unless it is cancelled.
    pub fn call_later<'py>(slf: &Bound<'py, Self>, delay: &Py<PyAny>, method: &str) -> PyResult<Py<PyAny>> {
        let callback = slf.getattr(method)?;
        slf.get().loop_.call_method1(slf.py(), "call_later", (delay, callback))
    }

    /// Ends the future that waits for the handshake: with an error, or well.
    pub fn wake_waiter(&self, py: Python<'_>, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let Some(waiter) = self.connection.with(py, |c| c.waiter.as_ref().map(|w| w.bind(py).clone())) else {
            return Ok(());
        };
        if !waiter.call_method0("cancelled")?.is_truthy()? {
            match error {
                Some(error) => waiter.call_method1("set_exception", (error,))?,
                None => waiter.call_method1("set_result", (py.None(),))?,
            };
        }
        let gone = self.connection.with(py, |c| c.waiter.take());
        drop(gone);
        Ok(())
    }

    /// The transport that the user writes to. None once the connection is lost.
    pub fn app_transport(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        let this = slf.get();
        let (transport, made) =
            this.connection.with(py, |c| (c.app_transport.as_ref().map(|t| t.clone_ref(py)), c.app_transport_made));
        if made {
            return Ok(transport);
        }
        let transport = (this.make_transport)(slf)?;
        this.connection.with(py, |c| {
            c.app_transport = Some(transport.clone_ref(py));
            c.app_transport_made = true;
        });
        Ok(Some(transport))
    }

    /// Has another protocol told from now on.
    pub fn set_app_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let app = App::new(protocol)?;
        let before = self.connection.with(py, |c| std::mem::replace(&mut c.app, app));
        drop(before);
        Ok(())
    }

    /// A fact about the connection, here or below.
    pub fn extra_info<'py>(&self, name: Bound<'py, PyAny>, default: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = name.py();
        if let Some(value) = self.extra.bind(py).get_item(&name)? {
            return Ok(value);
        }
        match self.transport(py) {
            Some(transport) => transport.call_method1("get_extra_info", (name, default)),
            None => Ok(default),
        }
    }
}

impl App {
    fn new(protocol: &Bound<'_, PyAny>) -> PyResult<Self> {
        static BUFFERED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = protocol.py();
        let class = BUFFERED.import(py, "asyncio", "BufferedProtocol")?;
        let is_buffered = protocol.hasattr("get_buffer")? && protocol.is_instance(class)?;
        Ok(Self { protocol: (!protocol.is_none()).then(|| protocol.clone().unbind()), is_buffered })
    }
}
