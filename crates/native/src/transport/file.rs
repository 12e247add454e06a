//! The file of a transport, a socket or a pipe, and the answers of `get_extra_info`.

use crate::private;
use everloop_core::descriptor::Descriptor;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict, PyType};
use rustix::net::SocketAddrAny;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

/// The file that a transport owns.
pub enum File {
    /// Made by somebody in Python: a socket or a pipe.
    Object(Py<PyAny>),
    /// The same, but a socket that stays open until the transport closes it too, whoever else does. (As files do that
    /// `socket.makefile` made. Otherwise the transport would go on with a number that may be another file's.)
    Held(Py<PyAny>),
    /// Accepted natively, with its family, type and protocol. It becomes a socket object when somebody asks for it.
    Descriptor(Descriptor, [i32; 3]),
    Closed,
}

/// The answers of `get_extra_info`.
pub enum Extra {
    Known(Py<PyDict>),
    /// Of a socket that was accepted natively: a dictionary when somebody asks.
    Later(Box<Ends>),
}

/// The addresses of a connection.
#[derive(Clone)]
pub struct Ends {
    pub sockname: Option<SocketAddrAny>,
    pub peername: SocketAddrAny,
}

impl File {
    /// Closes it, whatever it is.
    pub fn close(self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Closed | Self::Descriptor(..) => Ok(()), // a descriptor closes itself
            Self::Object(file) => file.call_method0(py, "close").map(drop),
            Self::Held(socket) => {
                let closed = socket.call_method0(py, "close");
                if let Some(let_go) = private::DECREF_SOCKETIOS.of(socket.bind(py))? {
                    let_go.call0()?;
                }
                closed.map(drop)
            }
        }
    }

    /// A socket object for a transport to own.
    pub fn hold(socket: &Bound<'_, PyAny>) -> PyResult<Self> {
        static SOCKET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = socket.py();
        if !socket.is_instance(SOCKET.import(py, "socket", "socket")?)? {
            return Ok(Self::Object(socket.clone().unbind()));
        }
        let Some(count) = private::IO_REFS.of(socket)? else { return Ok(Self::Object(socket.clone().unbind())) };
        socket.setattr(private::IO_REFS.attribute(py), count.extract::<i64>()? + 1)?;
        Ok(Self::Held(socket.clone().unbind()))
    }
}

/// A socket object for a descriptor, which is the object's own from then on. With its family, type and protocol.
pub fn socket_object<'py>(py: Python<'py>, fd: OwnedFd, numbers: [i32; 3]) -> PyResult<Bound<'py, PyAny>> {
    let arguments = [("fileno", fd.as_raw_fd())].into_py_dict(py)?;
    let [family, kind, protocol] = numbers;
    let socket = py.import("socket")?.getattr("socket")?.call((family, kind, protocol), Some(&arguments))?;
    let _owned_by_the_object = fd.into_raw_fd();
    // The kernel knows that it does not block; the object has to be told. A copy of it (`dup`) would make both block.
    socket.call_method1("setblocking", (false,))?;
    Ok(socket)
}

/// asyncio's read-only view of a socket.
pub fn wrap_socket<'py>(socket: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static WRAPPER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    WRAPPER.import(socket.py(), "asyncio.trsock", "TransportSocket")?.call1((socket,))
}

/// The dictionary of `get_extra_info` for a socket object, as asyncio fills it.
pub fn extra_of_socket<'py>(
    socket: &Bound<'py, PyAny>,
    given: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyDict>> {
    let py = socket.py();
    let extra = given.map_or_else(|| Ok(PyDict::new(py)), |given| given.copy())?;
    extra.set_item("socket", wrap_socket(socket)?)?;
    let name = |method: &str| match socket.call_method0(method) {
        Err(error) if error.is_instance_of::<PyOSError>(py) => Ok(py.None().into_bound(py)),
        other => other,
    };
    extra.set_item("sockname", name("getsockname")?)?;
    if !extra.contains("peername")? {
        extra.set_item("peername", name("getpeername")?)?;
    }
    Ok(extra)
}
