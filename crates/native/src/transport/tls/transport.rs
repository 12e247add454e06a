//! TlsTransport: the face that the user sees.

use super::connection::TlsProtocol;
use super::connection::{READ, WRITE};
use super::writing::check_data;
use crate::ffi::GilCell;
use crate::private;
use crate::transport::flow::water_marks;
use pyo3::exceptions::{PyAttributeError, PyNotImplementedError, PyResourceWarning};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A transport over TLS: what `create_connection(ssl=...)` and `start_tls` return.
#[pyclass(frozen, weakref, dict, module = "everloop._native")]
pub struct TlsTransport {
    loop_: Py<PyAny>,
    /// Gone once it was closed twice, as with asyncio's, or collected.
    protocol: GilCell<Option<Py<TlsProtocol>>>,
    /// Shared with the protocol, which closes this transport too. Written under the GIL; read there, and while this is
    /// freed.
    closed: Arc<AtomicBool>,
}

impl TlsTransport {
    /// Makes the transport of a connection.
    pub fn make(protocol: &Bound<'_, TlsProtocol>) -> PyResult<Py<PyAny>> {
        let this = protocol.get();
        let transport = Self {
            loop_: this.loop_.clone_ref(protocol.py()),
            protocol: GilCell::new(Some(protocol.clone().unbind())),
            closed: Arc::clone(&this.app_transport_closed),
        };
        Ok(Py::new(protocol.py(), transport)?.into_any())
    }

    /// The context in which the protocol is told what is read; None: it is gone.
    pub fn calls_in(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.protocol(py).map(|protocol| protocol.get().calls_in(py)).transpose()
    }

    fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, TlsProtocol>> {
        self.protocol.with(py, |protocol| protocol.as_ref().map(|p| p.bind(py).clone()))
    }

    /// The protocol, for a method that leans on asyncio's private `attribute` of it.
    #[inline]
    fn need<'py>(&self, py: Python<'py>, attribute: &str) -> PyResult<Bound<'py, TlsProtocol>> {
        self.protocol(py)
            .ok_or_else(|| PyAttributeError::new_err(format!("'NoneType' object has no attribute '{attribute}'")))
    }
}

#[pymethods]
impl TlsTransport {
    #[classattr]
    fn _start_tls_compatible() -> bool {
        true
    }

    #[getter]
    fn _sendfile_compatible(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        private::sendfile_mode(py, "FALLBACK")
    }

    /// A fact about the connection.
    ///
    /// Args:
    ///     name: "sslcontext"; after the handshake "ssl_object", "peercert", "cipher" and "compression"; or what the
    ///         transport below knows.
    ///     default: The answer for a name that is not known.
    #[pyo3(signature = (name, default=None))]
    fn get_extra_info<'py>(
        &self,
        name: Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = name.py();
        let default = default.unwrap_or_else(|| py.None().into_bound(py));
        self.need(py, "_get_extra_info")?.get().extra_info(name, default)
    }

    /// Has another protocol told from now on.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.need(protocol.py(), "_set_app_protocol")?.get().set_app_protocol(protocol)
    }

    /// The protocol that is told what happens; None once the connection is lost.
    fn get_protocol<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.need(py, "_app_protocol")?.get().app_protocol(py))
    }

    /// True if the transport is closing or closed.
    fn is_closing(&self, py: Python<'_>) -> PyResult<bool> {
        if self.closed.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if py.version_info() < (3, 14) {
            return Ok(false);
        }
        match self.need(py, "_is_transport_closing")?.get().transport(py) {
            Some(transport) => transport.call_method0("is_closing")?.is_truthy(),
            None => Ok(false),
        }
    }

    /// Sends what was written, says close_notify, and waits for the peer's. Nothing more is received.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.closed.swap(true, Ordering::Relaxed) {
            let gone = self.protocol.with(py, Option::take);
            drop(gone);
            return Ok(());
        }
        let protocol = self.need(py, "_start_shutdown")?;
        // The protocol is told of bytes that have arrived already, before the shutdown begins.
        protocol.get().in_context(py, || TlsProtocol::start_shutdown(&protocol))
    }

    /// Closes at once: what was written and not sent is lost.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self._force_close(py, None)
    }

    /// asyncio's own code, TLS in TLS among it, ends a transport with an error like this.
    #[pyo3(signature = (exc))]
    fn _force_close(&self, py: Python<'_>, exc: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.closed.store(true, Ordering::Relaxed);
        match self.protocol(py) {
            Some(protocol) => protocol.get().abort(py, exc),
            None => Ok(()),
        }
    }

    /// True if the protocol is told of what comes in.
    fn is_reading(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(!self.need(py, "_app_reading_paused")?.get().connection.with(py, |c| c.is_app_reading_paused))
    }

    /// Keeps what comes in from the protocol until `resume_reading()`.
    fn pause_reading(&self, py: Python<'_>) -> PyResult<()> {
        self.need(py, "_pause_reading")?.get().pause_app_reading(py);
        Ok(())
    }

    /// Tells the protocol of what comes in again. Of no effect if not paused.
    fn resume_reading(&self, py: Python<'_>) -> PyResult<()> {
        TlsProtocol::resume_app_reading(&self.need(py, "_resume_reading")?)
    }

    /// Sets when the protocol's `pause_writing` and `resume_writing` are called.
    ///
    /// Args:
    ///     high: Bytes; when as many wait to be sent, the protocol is paused. None: 4 * low, or 512 KiB.
    ///     low: Bytes; when no more wait, it goes on. None: high / 4.
    ///
    /// Raises:
    ///     ValueError: not high >= low >= 0.
    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        &self,
        py: Python<'_>,
        high: Option<&Bound<'_, PyAny>>,
        low: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let protocol = self.need(py, "_set_write_buffer_limits")?;
        let marks = water_marks(high, low, WRITE)?;
        protocol.get().connection.with(py, |c| c.outgoing.marks = marks);
        TlsProtocol::control_app_writing(&protocol, protocol.get().write_buffer_size(py)?)
    }

    /// The low and the high water mark, in bytes.
    fn get_write_buffer_limits(&self, py: Python<'_>) -> PyResult<(usize, usize)> {
        let marks = self.need(py, "_outgoing_low_water")?.get().connection.with(py, |c| c.outgoing.marks);
        Ok((marks.low, marks.high))
    }

    /// The number of bytes that wait to be encrypted, or to be handed to the transport below.
    fn get_write_buffer_size(&self, py: Python<'_>) -> PyResult<usize> {
        self.need(py, "_get_write_buffer_size")?.get().write_buffer_size(py)
    }

    /// Sets when the transport below stops reading, and when it goes on.
    ///
    /// Args:
    ///     high: Bytes; when as many wait to be decrypted, it stops. None: 4 * low, or 256 KiB.
    ///     low: Bytes; when no more wait, it goes on. None: high / 4.
    ///
    /// Raises:
    ///     ValueError: not high >= low >= 0.
    #[pyo3(signature = (high=None, low=None))]
    fn set_read_buffer_limits(
        &self,
        py: Python<'_>,
        high: Option<&Bound<'_, PyAny>>,
        low: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let protocol = self.need(py, "_set_read_buffer_limits")?;
        let marks = water_marks(high, low, READ)?;
        protocol.get().connection.with(py, |c| c.incoming.marks = marks);
        protocol.get().control_reading(py)
    }

    /// The low and the high water mark of what waits to be decrypted, in bytes.
    fn get_read_buffer_limits(&self, py: Python<'_>) -> PyResult<(usize, usize)> {
        let marks = self.need(py, "_incoming_low_water")?.get().connection.with(py, |c| c.incoming.marks);
        Ok((marks.low, marks.high))
    }

    /// The number of bytes that wait to be decrypted.
    fn get_read_buffer_size(&self, py: Python<'_>) -> PyResult<usize> {
        self.need(py, "_get_read_buffer_size")?.get().session.incoming_pending(py)
    }

    /// Encrypts and sends data; what cannot be sent now follows by itself.
    ///
    /// Args:
    ///     data: Bytes, bytearray or memoryview.
    ///
    /// Raises:
    ///     TypeError: data is of another type.
    ///
    /// The trap: a peer that does not read lets the rest grow without a bound, unless the protocol heeds pause_writing
    /// (streams: await writer.drain()).
    fn write(&self, data: Bound<'_, PyAny>) -> PyResult<()> {
        check_data(&data)?;
        if data.len()? == 0 {
            return Ok(());
        }
        TlsProtocol::write(&self.need(data.py(), "_write_appdata")?, std::iter::once(Ok(data)))
    }

    /// Encrypts the pieces one after the other, and sends them together.
    ///
    /// Args:
    ///     list_of_data: An iterable of bytes-like objects.
    fn writelines(&self, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        let protocol = self.need(list_of_data.py(), "_write_appdata")?;
        TlsProtocol::write(&protocol, list_of_data.try_iter()?)
    }

    /// Raises NotImplementedError: TLS here has no half-closed connections.
    fn write_eof(&self) -> PyResult<()> {
        Err(PyNotImplementedError::new_err(()))
    }

    /// False: see `write_eof`.
    fn can_write_eof(&self) -> bool {
        false
    }

    #[getter]
    fn _protocol_paused(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.need(py, "_app_writing_paused")?.get().connection.with(py, |c| c.outgoing.is_paused))
    }

    /// For `sendfile`: the peer has closed, or this side does, and what is written goes nowhere.
    #[getter]
    fn _is_ending(&self, py: Python<'_>) -> bool {
        self.protocol(py).is_none_or(|protocol| protocol.get().state(py).is_ending())
    }

    #[getter]
    fn _ssl_protocol(&self, py: Python<'_>) -> Option<Py<TlsProtocol>> {
        self.protocol(py).map(Bound::unbind)
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.loop_.clone_ref(py)
    }

    #[getter(_closed)]
    fn get_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    #[setter(_closed)]
    fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Called by tests of asyncio.
    #[pyo3(name = "_test__append_write_backlog")]
    fn append_write_backlog(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.need(data.py(), "_write_backlog")?.get().append(data)
    }

    /// `isinstance(transport, asyncio.Transport)` holds.
    #[getter]
    fn __class__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        private::TLS_TRANSPORT.class_for(slf)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.loop_)?;
        self.protocol.traverse(|protocol| visit.call(protocol))
    }

    fn __clear__(&self, py: Python<'_>) {
        let garbage = self.protocol.with(py, Option::take);
        drop(garbage);
    }
}

impl Drop for TlsTransport {
    fn drop(&mut self) {
        if !self.closed.load(Ordering::Relaxed) {
            Python::try_attach(warn_unclosed);
        }
    }
}

/// In asyncio's words, which name its own class.
#[cold]
fn warn_unclosed(py: Python<'_>) {
    // Objects die at any time, also while an error is on its way.
    let error = PyErr::take(py);
    let category = py.get_type::<PyResourceWarning>();
    if let Err(raised) = PyErr::warn(py, &category, c"unclosed transport <asyncio._SSLProtocolTransport object>", 1) {
        raised.write_unraisable(py, None);
    }
    if let Some(error) = error {
        error.restore(py);
    }
}
