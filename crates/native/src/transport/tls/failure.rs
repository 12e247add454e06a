//! Errors of a TLS connection: reported, and the end of the transport below.

use super::connection::TlsProtocol;
use crate::errors::{call_exception_handler, is_exception, log};
use crate::private;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// Ends the transport below at once, with an error if it takes one: transports of others may not.
pub fn force_close(transport: &Bound<'_, PyAny>, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match transport.getattr_opt(private::FORCE_CLOSE.attribute(transport.py()))? {
        Some(force_close) => force_close.call1((error,)).map(drop),
        None => {
            let module: String = transport.get_type().module()?.extract()?;
            if module.starts_with("asyncio.") || module.starts_with("everloop.") {
                private::FORCE_CLOSE.tell_loss(transport.py());
            }
            transport.call_method0("abort").map(drop)
        }
    }
}

impl TlsProtocol {
    /// Reports an error and ends the connection at once.
    #[cold]
    pub fn fatal_error(slf: &Bound<'_, Self>, error: &Bound<'_, PyAny>, message: &str) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if let Some(transport) = this.transport(py) {
            force_close(&transport, Some(error))?;
        }
        static CANCELLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        if error.is_instance_of::<PyOSError>() {
            if this.is_debug(py)? {
                log(py, "debug", ("%r: %s", slf, message), Some(error))?;
            }
        } else if !error.is_instance(CANCELLED.import(py, "asyncio", "CancelledError")?)? {
            Self::report(slf, message, error, this.transport(py).as_ref())?;
        }
        Ok(())
    }

    /// Reports an error, unless it is one that is meant for whoever called `run_forever`.
    pub fn fatal_exception(slf: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        if !is_exception(slf.py(), &error) {
            return Err(error);
        }
        Self::fatal_error(slf, error.value(slf.py()).as_any(), message)
    }

    /// Hands an error to the loop's exception handler.
    pub fn report(
        slf: &Bound<'_, Self>,
        message: &str,
        error: &Bound<'_, PyAny>,
        transport: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let concerned = [("transport", transport), ("protocol", Some(slf.as_any()))];
        call_exception_handler(slf.get().loop_.bind(slf.py()), message, error, &concerned)
    }
}
