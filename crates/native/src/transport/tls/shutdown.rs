//! The end: what was written goes out, then close_notify, then the peer's is waited for, within a time limit.

use super::connection::TlsProtocol;
use super::failure::force_close;
use super::states::State;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

impl TlsProtocol {
    /// Hands over what can be decrypted, sends what that has led to, and begins the shutdown if the peer has.
    pub fn read_on(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::do_read(slf, |slf| {
            Self::call_eof_received(slf)?;
            Self::start_shutdown(slf)
        })
    }

    /// Sends what was written, then says close_notify. Of no effect the second time.
    pub fn start_shutdown(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if this.state(py).is_ending() {
            return Ok(());
        }
        this.mark_closed(py);
        if this.state(py) == State::Handshake {
            return this.abort(py, None);
        }
        this.set_state(py, State::Flushing)?;
        let timer = Self::call_later(slf, &this.shutdown_timeout, "_check_shutdown_timeout")?;
        let before = this.connection.with(py, |c| c.shutdown_timer.replace(timer));
        drop(before);
        Self::do_flush(slf)
    }

    /// Sends what was written; then the shutdown goes on.
    pub fn do_flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::read_on(slf)?;
        slf.get().set_state(slf.py(), State::Shutdown)?;
        Self::do_shutdown(slf)
    }

    /// Says close_notify, or looks for the peer's.
    pub fn do_shutdown(slf: &Bound<'_, Self>) -> PyResult<()> {
        static SSL_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = slf.py();
        let this = slf.get();
        // Nobody answers a close_notify after the end of the bytes.
        let unwrapped =
            if this.connection.with(py, |c| c.eof_received) { Ok(Some(())) } else { this.session.unwrap(py) };
        match unwrapped {
            Ok(None) => Self::process_outgoing(slf),
            Ok(Some(())) => {
                Self::process_outgoing(slf)?;
                Self::call_eof_received(slf)?;
                Self::end_shutdown(slf, None)
            }
            Err(error) if error.is_instance(py, SSL_ERROR.import(py, "ssl", "SSLError")?) => {
                Self::end_shutdown(slf, Some(error))
            }
            Err(error) => Err(error),
        }
    }

    fn end_shutdown(slf: &Bound<'_, Self>, error: Option<PyErr>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        this.cancel_shutdown_timer(py)?;
        if let Some(error) = error {
            return Self::fatal_error(slf, error.value(py).as_any(), "Fatal error on transport");
        }
        if let Some(transport) = this.transport(py) {
            this.loop_.call_method1(py, "call_soon", (transport.getattr("close")?,))?;
        }
        Ok(())
    }

    /// Ends the connection at once.
    pub fn abort(&self, py: Python<'_>, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.set_state(py, State::Unwrapped)?;
        let Some(transport) = self.transport(py) else { return Ok(()) };
        if error.is_none() && py.version_info() < (3, 13) {
            // As asyncio does there: transports of others may know no more than this.
            transport.call_method0("abort")?;
        } else {
            force_close(&transport, error)?;
        }
        Ok(())
    }

    /// The shutdown is over.
    pub fn cancel_shutdown_timer(&self, py: Python<'_>) -> PyResult<()> {
        match self.connection.with(py, |c| c.shutdown_timer.take()) {
            Some(timer) => timer.call_method0(py, "cancel").map(drop),
            None => Ok(()),
        }
    }
}

#[pymethods]
impl TlsProtocol {
    #[pyo3(name = "_do_read")]
    fn do_read_py(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::read_on(slf)
    }

    /// The user wants more: goes on where the connection is by now.
    fn _resume(slf: &Bound<'_, Self>) -> PyResult<()> {
        match slf.get().state(slf.py()) {
            State::Wrapped => Self::read_on(slf),
            State::Flushing => Self::do_flush(slf),
            State::Shutdown => Self::do_shutdown(slf),
            State::Unwrapped | State::Handshake => Ok(()),
        }
    }

    fn _start_shutdown(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::start_shutdown(slf)
    }

    #[pyo3(signature = (exc=None))]
    fn _abort(&self, py: Python<'_>, exc: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.abort(py, exc)
    }

    fn _check_shutdown_timeout(&self, py: Python<'_>) -> PyResult<()> {
        if matches!(self.state(py), State::Flushing | State::Shutdown)
            && let Some(transport) = self.transport(py)
        {
            let error = pyo3::exceptions::PyTimeoutError::new_err("SSL shutdown timed out");
            force_close(&transport, Some(error.value(py)))?;
        }
        Ok(())
    }
}
