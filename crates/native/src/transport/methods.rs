//! The methods that all transports have in Python.

use super::base::{Transport, set_protocol};
use super::ending::{call_connection_lost, debug_log, fatal_error, force_close, lose};
use super::file::{Extra, File};
use super::flow::{HIGH_WATER, water_marks};
use super::info::{description, extra};
use super::readiness::{start_reading, watch};
use super::sending::maybe_pause_protocol;
use crate::event_loop::LoopCore;
use everloop_core::registry::Direction;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

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

    /// True if the transport is closing or closed.
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

    /// A fact about the connection.
    ///
    /// Args:
    ///     name: "socket" (a limited view of it), "sockname", "peername"; "pipe" for pipes.
    ///     default: The answer for a name that is not known.
    #[pyo3(signature = (name, default=None))]
    fn get_extra_info<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(extra(slf)?.get_item(name)?.or(default))
    }

    /// True if the protocol is told of what comes in.
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
        debug_log(slf, "debug", "%r pauses reading")
    }

    /// Reads again. Of no effect if not paused.
    fn resume_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.body.with(py, |body| body.closing || !std::mem::replace(&mut body.paused, false)) {
            return Ok(());
        }
        watch(slf, Direction::Read)?;
        debug_log(slf, "debug", "%r resumes reading")
    }

    /// The number of bytes that wait to be sent.
    fn get_write_buffer_size(&self, py: Python<'_>) -> usize {
        self.body.with(py, |body| body.output.len())
    }

    /// The low and the high water mark, in bytes.
    fn get_write_buffer_limits(&self, py: Python<'_>) -> (usize, usize) {
        self.body.with(py, |body| (body.flow.marks.low, body.flow.marks.high))
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
        let marks = water_marks(high, low, HIGH_WATER)?;
        slf.get().body.with(slf.py(), |body| body.flow.marks = marks);
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
        (slf.get().kind.read)(slf)
    }

    fn _write_ready(slf: &Bound<'_, Self>) -> PyResult<()> {
        (slf.get().kind.write)(slf)
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
        self.body.with(py, |body| body.flow.is_paused)
    }

    /// `isinstance(transport, asyncio.Transport)` holds, and whatever else asyncio's own code asks.
    #[getter]
    fn __class__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().kind.asyncio.class_for(slf)
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
            visit.call(&body.context)?;
            visit.call(&body.reason)?;
            visit.call(&body.empty_waiter)
        })
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let garbage = slf.get().body.with(slf.py(), |body| {
            (
                body.take_file(),
                body.loop_.take(),
                body.protocol.take(),
                body.server.take(),
                body.context.take(),
                body.reason.take(),
                body.empty_waiter.take(),
            )
        });
        drop(garbage);
    }
}
