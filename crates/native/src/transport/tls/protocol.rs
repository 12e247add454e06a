//! TlsProtocol: the data of one connection, and the face that the transport below sees.

use super::constant;
use super::limits::{self, Limits};
use super::session::Session;
use super::states::{AppState, State};
use super::transport::TlsTransport;
use crate::errors::{is_exception, log};
use crate::ffi::{self, GilCell, Window, name};
use crate::private;
use crate::transport::base::Transport;
use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict, PyMemoryView, PyType};
use pyo3::{PyTraverseError, PyVisit};
use std::collections::VecDeque;

/// How many bytes the transport below may hand over at once. (Measured: twice as much is 5 % slower for large messages, as
/// it leaves the processor's cache, half as much is no faster.)
const RECEIVE: usize = 128 * 1024;

/// The user's protocol.
pub struct App {
    /// Gone once the connection is lost.
    pub protocol: Option<Py<PyAny>>,
    /// Whether it brings its own buffers: `asyncio.BufferedProtocol`.
    pub is_buffered: bool,
}

/// What changes. No Python code runs while it is borrowed.
pub struct Connection {
    pub state: State,
    pub app_state: AppState,
    pub app: App,
    /// What the user writes to. Made when first asked for; gone once the connection is lost.
    app_transport: Option<Py<TlsTransport>>,
    app_transport_made: bool,
    /// The transport below, between connection_made and connection_lost.
    pub transport: Option<Py<PyAny>>,
    /// All that the user's protocol is told, it is told in this context or a copy: that of the transport below.
    calls_in: Option<Py<PyAny>>,
    /// Who waits for the handshake.
    pub waiter: Option<Py<PyAny>>,
    pub handshake_timer: Option<Py<PyAny>>,
    /// When the handshake began, for the log of debug mode.
    pub handshake_start: Option<f64>,
    pub shutdown_timer: Option<Py<PyAny>>,
    /// What is written and not encrypted yet, each with its size: what came before the handshake's end.
    pub backlog: VecDeque<(Py<PyAny>, usize)>,
    pub backlog_size: usize,
    /// How often something was written after the end.
    pub lost_writes: usize,
    /// The transport below wants no more for now.
    pub is_writing_paused: bool,
    /// The user's protocol was told to write no more for now.
    pub is_app_writing_paused: bool,
    pub outgoing_limits: Limits,
    /// The user wants no more for now.
    pub is_app_reading_paused: bool,
    /// The transport below was told to read no more for now.
    pub is_reading_paused: bool,
    pub incoming_limits: Limits,
    pub eof_received: bool,
}

/// TLS between a transport and a protocol: what `asyncio.sslproto.SSLProtocol` is on other loops.
#[pyclass(frozen, weakref, dict, module = "everloop._native")]
pub struct TlsProtocol {
    pub connection: GilCell<Connection>,
    pub session: Session,
    pub loop_: Py<PyAny>,
    pub context: Py<PyAny>,
    /// What `get_extra_info` knows.
    pub extra: Py<PyDict>,
    pub handshake_timeout: Py<PyAny>,
    pub shutdown_timeout: Py<PyAny>,
    pub server_side: bool,
    pub server_hostname: Option<String>,
    /// Where a transport below that is not a native socket puts what it has received, and how it sees that.
    received: PyOnceLock<(Py<Window>, Py<PyAny>)>,
}

fn positive_timeout(value: Option<Bound<'_, PyAny>>, name: &str, default: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    match value {
        None => Ok(default.unbind()),
        Some(value) if value.le(0)? => {
            Err(PyValueError::new_err(format!("{name} should be a positive number, got {}", value.str()?)))
        }
        Some(value) => Ok(value.unbind()),
    }
}

impl TlsProtocol {
    pub fn state(&self, py: Python<'_>) -> State {
        self.connection.with(py, |c| c.state)
    }

    pub fn set_state(&self, py: Python<'_>, to: State) -> PyResult<()> {
        let now = self.state(py).change(to)?;
        self.connection.with(py, |c| c.state = now);
        Ok(())
    }

    /// The transport below.
    pub fn transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.connection.with(py, |c| c.transport.as_ref().map(|t| t.bind(py).clone()))
    }

    /// For a native socket: as `get_buffer`, then `fill`, then `buffer_updated`. `fill` must run no Python code.
    pub fn receive<E>(
        slf: &Bound<'_, Self>,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> PyResult<Result<usize, E>> {
        // One for all connections: it is filled and emptied under the GIL, with no Python code in between.
        static RECEIVED: PyOnceLock<Py<Window>> = PyOnceLock::new();
        let py = slf.py();
        let window = RECEIVED.get_or_try_init(py, || Py::new(py, Window::new(RECEIVE)))?;
        let filled = window.get().fill(py, fill);
        if let Ok(count) = filled
            && count > 0
        {
            Self::received(slf, window, count)?;
        }
        Ok(filled)
    }

    fn received(slf: &Bound<'_, Self>, window: &Py<Window>, count: usize) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        this.session.feed(py, window, count)?;
        match this.state(py) {
            State::Handshake => Self::do_handshake(slf),
            State::Wrapped => Self::do_read(slf),
            State::Flushing => Self::do_flush(slf),
            State::Shutdown => Self::do_shutdown(slf),
            State::Unwrapped => Ok(()),
        }
    }

    /// The buffer of `get_buffer`, and what it shows.
    fn receive_buffer(&self, py: Python<'_>) -> PyResult<&(Py<Window>, Py<PyAny>)> {
        self.received.get_or_try_init(py, || {
            let window = Bound::new(py, Window::new(RECEIVE))?;
            let view = PyMemoryView::from(&window)?;
            Ok((window.unbind(), view.into_any().unbind()))
        })
    }

    pub fn app_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.connection.with(py, |c| c.app.protocol.as_ref().map(|p| p.bind(py).clone()))
    }

    pub fn is_debug(&self, py: Python<'_>) -> PyResult<bool> {
        self.loop_.bind(py).call_method0(name!(py, "get_debug"))?.is_truthy()
    }

    /// Marks the user's transport as closed, so that it does not warn.
    pub fn mark_closed(&self, py: Python<'_>) {
        self.connection.with(py, |c| {
            if let Some(transport) = &c.app_transport {
                transport.get().mark_closed();
            }
        });
    }

    /// The context in which what is read is told.
    pub fn calls_in(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let own = self.connection.with(py, |c| c.calls_in.as_ref().map(|context| context.clone_ref(py)));
        own.map_or_else(|| ffi::copy_context(py), Ok)
    }

    /// Does what may call the user's protocol in the midst of a call of its transport: in a copy of that context, whatever
    /// the caller's is.
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

    fn schedule<'py>(&self, py: Python<'py>, context: Py<PyAny>, call: impl PyCallArgs<'py>) -> PyResult<()> {
        let options = [("context", context)].into_py_dict(py)?;
        self.loop_.bind(py).call_method(name!(py, "call_soon"), call, Some(&options)).map(drop)
    }

    /// Schedules a method of this object, unless it is cancelled.
    pub fn call_later<'py>(slf: &Bound<'py, Self>, delay: &Py<PyAny>, method: &str) -> PyResult<Py<PyAny>> {
        let callback = slf.getattr(method)?;
        slf.get().loop_.call_method1(slf.py(), "call_later", (delay, callback))
    }

    /// Tells whoever waits for the handshake how it went.
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
    pub fn app_transport(slf: &Bound<'_, Self>) -> PyResult<Option<Py<TlsTransport>>> {
        let py = slf.py();
        let this = slf.get();
        let (transport, made) =
            this.connection.with(py, |c| (c.app_transport.as_ref().map(|t| t.clone_ref(py)), c.app_transport_made));
        if made {
            return Ok(transport);
        }
        let transport = Py::new(py, TlsTransport::new(this.loop_.clone_ref(py), slf.clone().unbind()))?;
        this.connection.with(py, |c| {
            c.app_transport = Some(transport.clone_ref(py));
            c.app_transport_made = true;
        });
        Ok(Some(transport))
    }

    pub fn set_app_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let app = App::new(protocol)?;
        let before = self.connection.with(py, |c| std::mem::replace(&mut c.app, app));
        drop(before);
        Ok(())
    }

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

#[pymethods]
impl TlsProtocol {
    /// As of `asyncio.sslproto.SSLProtocol`.
    #[new]
    #[pyo3(signature = (r#loop, app_protocol, sslcontext, waiter, server_side=false, server_hostname=None,
        call_connection_made=true, ssl_handshake_timeout=None, ssl_shutdown_timeout=None))]
    #[expect(clippy::too_many_arguments, reason = "asyncio's")]
    fn new(
        r#loop: Bound<'_, PyAny>,
        app_protocol: &Bound<'_, PyAny>,
        sslcontext: &Bound<'_, PyAny>,
        waiter: Option<Py<PyAny>>,
        server_side: bool,
        server_hostname: Option<String>,
        call_connection_made: bool,
        ssl_handshake_timeout: Option<Bound<'_, PyAny>>,
        ssl_shutdown_timeout: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = r#loop.py();
        if py.import("asyncio.sslproto")?.getattr("ssl")?.is_none() {
            return Err(PyRuntimeError::new_err("stdlib ssl module not available"));
        }

        // Checked in asyncio's order.
        let default = constant(py, "SSL_HANDSHAKE_TIMEOUT")?;
        let handshake_timeout = positive_timeout(ssl_handshake_timeout, "ssl_handshake_timeout", default)?;
        let default = constant(py, "SSL_SHUTDOWN_TIMEOUT")?;
        let shutdown_timeout = positive_timeout(ssl_shutdown_timeout, "ssl_shutdown_timeout", default)?;
        let context = if sslcontext.is_truthy()? {
            sslcontext.clone()
        } else {
            default_context(py, server_side, server_hostname.as_deref())?
        };

        let server_hostname = server_hostname.filter(|name| !name.is_empty() && !server_side);
        let extra = PyDict::new(py);
        extra.set_item("sslcontext", &context)?;
        let app = App::new(app_protocol)?;
        let session = Session::new(&context, server_side, server_hostname.as_deref())?;
        let connection = Connection {
            state: State::Unwrapped,
            app_state: if call_connection_made { AppState::Init } else { AppState::Made },
            app,
            app_transport: None,
            app_transport_made: false,
            transport: None,
            calls_in: Some(ffi::copy_context(py)?),
            waiter,
            handshake_timer: None,
            handshake_start: None,
            shutdown_timer: None,
            backlog: VecDeque::new(),
            backlog_size: 0,
            lost_writes: 0,
            is_writing_paused: false,
            is_app_writing_paused: false,
            outgoing_limits: Limits::with_default(limits::WRITE),
            is_app_reading_paused: false,
            is_reading_paused: false,
            incoming_limits: Limits::with_default(limits::READ),
            eof_received: false,
        };
        Ok(Self {
            connection: GilCell::new(connection),
            session,
            loop_: r#loop.unbind(),
            context: context.unbind(),
            extra: extra.unbind(),
            handshake_timeout,
            shutdown_timeout,
            server_side,
            server_hostname,
            received: PyOnceLock::new(),
        })
    }

    // ---- called by the transport below

    /// The connection stands: the handshake begins.
    fn connection_made(slf: &Bound<'_, Self>, transport: Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let context = if let Ok(native) = transport.cast::<Transport>() {
            Some(native.get().context(py)?)
        } else if let Ok(tls) = transport.cast::<TlsTransport>() {
            tls.get().calls_in(py)?
        } else {
            None
        };
        let before = slf.get().connection.with(py, |c| {
            let other = context.and_then(|context| c.calls_in.replace(context));
            (c.transport.replace(transport.unbind()), other)
        });
        drop(before);
        Self::start_handshake(slf)
    }

    /// The connection is lost, or closed (None). The user's protocol learns of it in a step of its own.
    fn connection_lost(slf: &Bound<'_, Self>, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let backlog = this.connection.with(py, |c| {
            c.lost_writes += 1;
            std::mem::take(&mut c.backlog)
        });
        drop(backlog);
        this.session.drain(py)?;
        this.mark_closed(py);

        let (tells, app) = this.connection.with(py, |c| {
            let tells = c.state != State::Handshake && matches!(c.app_state, AppState::Made | AppState::Eof);
            if tells {
                c.app_state = AppState::Lost;
            }
            (tells, c.app.protocol.as_ref().map(|p| p.clone_ref(py)))
        });
        if let (true, Some(app)) = (tells, app) {
            let callback = app.getattr(py, name!(py, "connection_lost"))?;
            let context = ffi::copy_of_context(py, &this.calls_in(py)?)?;
            this.schedule(py, context, (callback, exc))?;
        }

        this.set_state(py, State::Unwrapped)?;
        let gone = this.connection.with(py, |c| {
            c.app_transport_made = true;
            (c.transport.take(), c.app_transport.take(), c.app.protocol.take(), c.calls_in.take())
        });
        drop(gone);
        this.wake_waiter(py, Some(exc).filter(|exc| !exc.is_none()))?;
        this.cancel_shutdown_timer(py)?;
        this.cancel_handshake_timer(py)
    }

    /// Where the next bytes go.
    fn get_buffer(&self, py: Python<'_>, n: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let _ = n; // asyncio's too is always as large
        Ok(self.receive_buffer(py)?.1.clone_ref(py))
    }

    /// So many bytes have arrived.
    fn buffer_updated(slf: &Bound<'_, Self>, nbytes: usize) -> PyResult<()> {
        let (window, _) = slf.get().receive_buffer(slf.py())?;
        Self::received(slf, window, nbytes)
    }

    /// The peer sends no more bytes, with or without close_notify. True: the transport below is closed later.
    fn eof_received(slf: &Bound<'_, Self>) -> PyResult<Option<bool>> {
        let py = slf.py();
        let this = slf.get();
        this.connection.with(py, |c| c.eof_received = true);
        let result = Self::end_reading(slf);
        if let Err(error) = &result
            && is_exception(py, error)
            && let Some(transport) = this.transport(py)
        {
            transport.call_method0("close")?;
        }
        result
    }

    /// The transport below has more than it can send.
    fn pause_writing(&self, py: Python<'_>) -> PyResult<()> {
        self.set_writing_paused(py, true)
    }

    /// The transport below can send again.
    fn resume_writing(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().set_writing_paused(slf.py(), false)?;
        Self::process_outgoing(slf)
    }

    /// `isinstance(protocol, asyncio.BufferedProtocol)` holds: transports ask.
    #[getter]
    fn __class__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        private::TLS_PROTOCOL.class_for(slf)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.session.traverse(&visit)?;
        visit.call(&self.loop_)?;
        visit.call(&self.context)?;
        visit.call(&self.extra)?;
        self.connection.traverse(|c| {
            visit.call(&c.app.protocol)?;
            visit.call(&c.app_transport)?;
            visit.call(&c.transport)?;
            visit.call(&c.calls_in)?;
            visit.call(&c.waiter)?;
            visit.call(&c.handshake_timer)?;
            visit.call(&c.shutdown_timer)?;
            c.backlog.iter().try_for_each(|(data, _)| visit.call(data))
        })
    }

    fn __clear__(&self, py: Python<'_>) {
        let garbage = self.connection.with(py, |c| {
            (
                c.app.protocol.take(),
                c.app_transport.take(),
                c.transport.take(),
                c.calls_in.take(),
                c.waiter.take(),
                c.handshake_timer.take(),
                c.shutdown_timer.take(),
                std::mem::take(&mut c.backlog),
            )
        });
        drop(garbage);
    }
}

impl TlsProtocol {
    /// What the end of the bytes means at each stage.
    fn end_reading(slf: &Bound<'_, Self>) -> PyResult<Option<bool>> {
        let py = slf.py();
        let this = slf.get();
        if this.is_debug(py)? {
            log(py, "debug", ("%r received EOF", slf), None)?;
        }
        match this.state(py) {
            State::Handshake => {
                let error = pyo3::exceptions::PyConnectionResetError::new_err(());
                Self::end_handshake(slf, Some(error))?;
            }
            State::Wrapped => {
                this.set_state(py, State::Flushing)?;
                if this.connection.with(py, |c| c.is_app_reading_paused) {
                    return Ok(Some(true));
                }
                Self::do_flush(slf)?;
            }
            State::Flushing => {
                Self::do_write(slf)?;
                this.set_state(py, State::Shutdown)?;
                Self::do_shutdown(slf)?;
            }
            State::Shutdown => Self::do_shutdown(slf)?,
            State::Unwrapped => {}
        }
        Ok(None)
    }

    fn set_writing_paused(&self, py: Python<'_>, paused: bool) -> PyResult<()> {
        let before = self.connection.with(py, |c| std::mem::replace(&mut c.is_writing_paused, paused));
        if before == paused { Err(PyAssertionError::new_err(())) } else { Ok(()) }
    }
}

/// What `ssl=True` stands for, as in asyncio.
fn default_context<'py>(
    py: Python<'py>,
    server_side: bool,
    server_hostname: Option<&str>,
) -> PyResult<Bound<'py, PyAny>> {
    if server_side {
        return Err(PyValueError::new_err("Server side SSL needs a valid SSLContext"));
    }
    let context = py.import("ssl")?.call_method0("create_default_context")?;
    if server_hostname.is_none_or(str::is_empty) {
        context.setattr("check_hostname", false)?;
    }
    Ok(context)
}
