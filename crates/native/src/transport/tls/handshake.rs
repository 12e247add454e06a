//! The handshake, with its time limit.

use super::connection::TlsProtocol;
use super::states::{AppState, State};
use crate::errors::{is_exception, log};
use pyo3::exceptions::PyConnectionAbortedError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

impl TlsProtocol {
    pub fn start_handshake(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let start = if this.is_debug(py)? {
            log(py, "debug", ("%r starts SSL handshake", slf), None)?;
            Some(this.time(py)?)
        } else {
            None
        };
        this.connection.with(py, |c| c.handshake_start = start);
        this.set_state(py, State::Handshake)?;
        let timer = Self::call_later(slf, &this.handshake_timeout, "_check_handshake_timeout")?;
        let before = this.connection.with(py, |c| c.handshake_timer.replace(timer));
        drop(before);
        Self::do_handshake(slf)
    }

    pub fn do_handshake(slf: &Bound<'_, Self>) -> PyResult<()> {
        static SSL_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = slf.py();
        match slf.get().session.handshake(py) {
            Ok(None) => Self::process_outgoing(slf),
            Ok(Some(())) => Self::end_handshake(slf, None),
            Err(error) if error.is_instance(py, SSL_ERROR.import(py, "ssl", "SSLError")?) => {
                Self::end_handshake(slf, Some(error))
            }
            Err(error) => Err(error),
        }
    }

    /// The handshake is over, well or badly.
    pub fn end_handshake(slf: &Bound<'_, Self>, error: Option<PyErr>) -> PyResult<()> {
        static CERTIFICATE_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = slf.py();
        let this = slf.get();
        this.cancel_handshake_timer(py)?;

        let object = this.session.object(py).into_bound(py);
        let certificate = match error {
            Some(error) => Err(error),
            None => this.set_state(py, State::Wrapped).and_then(|()| object.call_method0("getpeercert")),
        };
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(error) if !is_exception(py, &error) => return Err(error),
            Err(error) => {
                this.set_state(py, State::Unwrapped)?;
                let is_certificate = error.is_instance(py, CERTIFICATE_ERROR.import(py, "ssl", "CertificateError")?);
                let message = if is_certificate {
                    "SSL handshake failed on verifying the certificate"
                } else {
                    "SSL handshake failed"
                };
                let value = error.value(py).as_any();
                Self::fatal_error(slf, value, message)?;
                return this.wake_waiter(py, Some(value));
            }
        };

        if this.is_debug(py)? {
            let start = this.connection.with(py, |c| c.handshake_start).unwrap_or_default();
            let milliseconds = (this.time(py)? - start) * 1e3;
            log(py, "debug", ("%r: SSL handshake took %.1f ms", slf, milliseconds), None)?;
        }

        // `get_extra_info` knows these from now on.
        let extra = this.extra.bind(py);
        extra.set_item("peercert", certificate)?;
        extra.set_item("cipher", object.call_method0("cipher")?)?;
        extra.set_item("compression", object.call_method0("compression")?)?;
        extra.set_item("ssl_object", object)?;

        let is_first = this.connection.with(py, |c| {
            let is_first = c.app_state == AppState::Init;
            if is_first {
                c.app_state = AppState::Made;
            }
            is_first
        });
        if is_first && let Some(app) = this.app_protocol(py) {
            app.call_method1("connection_made", (Self::app_transport(slf)?,))?;
        }
        this.wake_waiter(py, None)?;
        Self::read_on(slf)
    }

    pub fn cancel_handshake_timer(&self, py: Python<'_>) -> PyResult<()> {
        match self.connection.with(py, |c| c.handshake_timer.take()) {
            Some(timer) => timer.call_method0(py, "cancel").map(drop),
            None => Ok(()),
        }
    }

    fn time(&self, py: Python<'_>) -> PyResult<f64> {
        self.loop_.call_method0(py, "time")?.extract(py)
    }
}

#[pymethods]
impl TlsProtocol {
    fn _check_handshake_timeout(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if this.state(py) != State::Handshake {
            return Ok(());
        }
        let seconds = this.handshake_timeout.bind(py).str()?;
        let error = PyConnectionAbortedError::new_err(format!(
            "SSL handshake is taking longer than {seconds} seconds: aborting the connection"
        ));
        Self::fatal_error(slf, error.value(py).as_any(), "Fatal error on transport")
    }
}
