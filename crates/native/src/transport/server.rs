//! The server that has accepted a connection, which knows of it until it is closed.

use super::base::Transport;
use crate::private;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// True if a server knows its connections; up to CPython 3.12 it only counts them.
fn server_knows_clients(py: Python<'_>) -> bool {
    static ANSWER: PyOnceLock<bool> = PyOnceLock::new();
    *ANSWER.get_or_init(py, || py.version_info() >= (3, 13))
}

/// Has the server know of the connection until `detach`.
pub fn attach(slf: &Bound<'_, Transport>, server: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    let Some(attach) = private::SERVER_ATTACH.of(server)? else { return Ok(()) };
    if server_knows_clients(py) {
        attach.call1((slf,))?
    } else {
        attach.call0()?
    };
    let new = server.clone().unbind();
    slf.get().body.with(py, |body| body.server = Some(new));
    Ok(())
}

/// The server forgets the connection. Of no effect if none knows it.
pub fn detach(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let py = slf.py();
    let Some(server) = slf.get().body.with(py, |body| body.server.take()) else { return Ok(()) };
    if let Some(detach) = private::SERVER_DETACH.of(server.bind(py))? {
        if server_knows_clients(py) {
            detach.call1((slf,))?
        } else {
            detach.call0()?
        };
    }
    Ok(())
}
