//! The face of TLS that the transport below sees: its protocol.

use super::connection::{Options, TlsProtocol};
use super::constants::constant;
use super::states::{AppState, State};
use super::transport::TlsTransport;
use crate::errors::{is_exception, log};
use crate::ffi::{self, Window, name};
use crate::private;
use crate::transport::base::Transport;
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyMemoryView;
use pyo3::{PyTraverseError, PyVisit};

/// The number of bytes that the transport below may hand over at once. (Measured: twice as much is 5 % slower for large
/// messages, as it leaves the processor's cache, half as much is no faster.)
const RECEIVE: usize = 128 * 1024;

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

        // The arguments are checked in asyncio's order.
        let default = constant(py, "SSL_HANDSHAKE_TIMEOUT")?;
        let handshake_timeout = positive_timeout(ssl_handshake_timeout, "ssl_handshake_timeout", default)?;
        let default = constant(py, "SSL_SHUTDOWN_TIMEOUT")?;
        let shutdown_timeout = positive_timeout(ssl_shutdown_timeout, "ssl_shutdown_timeout", default)?;
        let context = if sslcontext.is_truthy()? {
            sslcontext.clone()
        } else {
            default_context(py, server_side, server_hostname.as_deref())?
        };

        Self::with(
            r#loop,
            app_protocol,
            &context,
            Options {
                waiter,
                server_side,
                server_hostname: server_hostname.filter(|name| !name.is_empty() && !server_side),
                call_connection_made,
                handshake_timeout,
                shutdown_timeout,
                make_transport: TlsTransport::make,
            },
        )
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

    /// The buffer for the next bytes.
    fn get_buffer(&self, py: Python<'_>, n: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let _ = n; // asyncio's buffer, too, has this size whatever the hint
        Ok(self.receive_buffer(py)?.1.clone_ref(py))
    }

    /// The buffer has as many new bytes.
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
    /// For a native socket: as `get_buffer`, then `fill`, then `buffer_updated`. `fill` must run no Python code.
    pub fn receive<E>(
        slf: &Bound<'_, Self>,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> PyResult<Result<usize, E>> {
        // One buffer serves all connections: it is filled and emptied under the GIL, with no Python code in between.
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
            State::Wrapped => Self::read_on(slf),
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

    /// The end of the bytes, which means something else at each stage.
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

fn positive_timeout(value: Option<Bound<'_, PyAny>>, name: &str, default: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    match value {
        None => Ok(default.unbind()),
        Some(value) if value.le(0)? => {
            Err(PyValueError::new_err(format!("{name} should be a positive number, got {}", value.str()?)))
        }
        Some(value) => Ok(value.unbind()),
    }
}

/// The context that `ssl=True` stands for, as in asyncio.
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
