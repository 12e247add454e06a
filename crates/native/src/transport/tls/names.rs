//! Private names of asyncio's class that asyncio itself, its tests and other programs use.

use super::connection::TlsProtocol;
use crate::private;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::types::PyString;

#[pymethods]
impl TlsProtocol {
    #[pyo3(name = "_set_app_protocol")]
    fn set_app_protocol_py(&self, app_protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set_app_protocol(app_protocol)
    }

    #[pyo3(signature = (name, default=None))]
    fn _get_extra_info<'py>(
        &self,
        name: Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let default = default.unwrap_or_else(|| name.py().None().into_bound(name.py()));
        self.extra_info(name, default)
    }

    #[pyo3(signature = (exc, message="Fatal error on transport"))]
    fn _fatal_error(slf: &Bound<'_, Self>, exc: &Bound<'_, PyAny>, message: &str) -> PyResult<()> {
        Self::fatal_error(slf, exc, message)
    }

    fn _get_app_transport(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::app_transport(slf)?.ok_or_else(|| PyRuntimeError::new_err("Creating _SSLProtocolTransport twice"))
    }

    #[getter]
    fn _app_transport(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        Self::app_transport(slf)
    }

    #[getter]
    fn _transport(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.transport(py).map(Bound::unbind)
    }

    #[getter]
    fn _app_protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.app_protocol(py).map(Bound::unbind)
    }

    #[getter]
    fn _app_reading_paused(&self, py: Python<'_>) -> bool {
        self.connection.with(py, |c| c.is_app_reading_paused)
    }

    #[getter]
    fn _app_writing_paused(&self, py: Python<'_>) -> bool {
        self.connection.with(py, |c| c.outgoing.is_paused)
    }

    #[getter]
    fn _ssl_reading_paused(&self, py: Python<'_>) -> bool {
        self.connection.with(py, |c| c.incoming.is_paused)
    }

    #[getter]
    fn _ssl_writing_paused(&self, py: Python<'_>) -> bool {
        self.connection.with(py, |c| c.is_writing_paused)
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.loop_.clone_ref(py)
    }

    #[getter]
    fn _sslcontext(&self, py: Python<'_>) -> Py<PyAny> {
        self.context.clone_ref(py)
    }

    #[getter]
    fn _server_side(&self) -> bool {
        self.server_side
    }

    #[getter]
    fn _server_hostname(&self) -> Option<&str> {
        self.server_hostname.as_deref()
    }

    #[getter]
    fn _extra(&self, py: Python<'_>) -> Py<PyDict> {
        self.extra.clone_ref(py)
    }

    #[getter]
    fn _waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.connection.with(py, |c| c.waiter.as_ref().map(|w| w.clone_ref(py)))
    }

    #[getter]
    fn _state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let name = self.state(py).name();
        match private::TLS_STATE.look_up(py)? {
            Some(states) => states.getattr(name),
            None => Ok(PyString::new(py, name).into_any()),
        }
    }

    #[getter]
    fn _incoming(&self, py: Python<'_>) -> Py<PyAny> {
        self.session.incoming(py)
    }

    #[getter(_sslobj)]
    fn get_sslobj(&self, py: Python<'_>) -> Py<PyAny> {
        self.session.object(py)
    }

    #[setter(_sslobj)]
    fn set_sslobj(&self, sslobj: &Bound<'_, PyAny>) -> PyResult<()> {
        let outgoing = self.session.outgoing(sslobj.py());
        self.session.replace(sslobj, outgoing.into_bound(sslobj.py()))
    }

    #[getter(_outgoing)]
    fn get_outgoing(&self, py: Python<'_>) -> Py<PyAny> {
        self.session.outgoing(py)
    }

    #[setter(_outgoing)]
    fn set_outgoing(&self, outgoing: Bound<'_, PyAny>) -> PyResult<()> {
        let object = self.session.object(outgoing.py());
        self.session.replace(&object.into_bound(outgoing.py()), outgoing)
    }
}
