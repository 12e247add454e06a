//! Receiving from a socket: one `recv` for each event, then the protocol is told.

use crate::errors::os_error;
use crate::ffi::{View, borrow_fd, name};
use crate::transport::base::Transport;
use crate::transport::ending::{debug_log, fatal_error};
use crate::transport::input::{self, Expected, RECEIVE};
use crate::transport::tls::TlsProtocol;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use rustix::io::Errno;
use rustix::net;

/// Receives once, and tells the protocol.
pub fn read_ready(slf: &Bound<'_, Transport>) -> PyResult<()> {
    match slf.get().receiver(slf.py()) {
        Some((protocol, false)) => read_data(slf, &protocol),
        Some((protocol, true)) => read_into_buffer(slf, &protocol),
        None => Ok(()),
    }
}

fn read_data(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let mut expected = this.body.with(py, |body| body.expected);
    let before: Expected = expected;
    let received = input::receive(py, &mut expected, |memory| {
        net::recv(borrow_fd(this.fd), memory, RECEIVE).map(|((filled, _), _)| filled.len())
    })?;
    if expected != before {
        this.body.with(py, |body| body.expected = expected);
    }
    let data = match received {
        Ok(data) => data,
        Err(error) => return read_failed(slf, error),
    };
    if data.as_bytes().is_empty() {
        return end_of_file(slf, protocol);
    }
    this.count_intake(py, data.as_bytes().len());
    match protocol.call_method1(name!(py, "data_received"), (data,)) {
        Ok(_) => Ok(()),
        Err(error) => fatal_error(slf, error, "Fatal error: protocol.data_received() call failed."),
    }
}

/// The error of a buffer that cannot be filled, in the words of `socket.recv_into`.
#[cold]
fn not_writable(buffer: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let kind = buffer.get_type().name()?;
    Ok(PyTypeError::new_err(format!("recv_into() argument 1 must be read-write bytes-like object, not {kind}")))
}

fn read_into_buffer(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if let Ok(tls) = protocol.cast_exact::<TlsProtocol>() {
        return read_into_tls(slf, tls);
    }
    let buffer = protocol.call_method1(name!(py, "get_buffer"), (-1,)).and_then(|buffer| match buffer.len()? {
        0 => Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer")),
        _ => Ok(buffer),
    });
    let buffer = match buffer {
        Ok(buffer) => buffer,
        Err(error) => return fatal_error(slf, error, "Fatal error: protocol.get_buffer() call failed."),
    };
    let mut view = match View::write(&buffer) {
        Ok(view) => view,
        Err(_) => return fatal_error(slf, not_writable(&buffer)?, "Fatal read error on socket transport"),
    };
    // The protocol may have blocked, and the connection gone meanwhile.
    if this.is_closed(py) {
        return Ok(());
    }
    let received = net::recv(borrow_fd(this.fd), view.bytes_mut(), RECEIVE);
    drop(view);
    match received {
        Ok((0, _)) => end_of_file(slf, protocol),
        Ok((count, _)) => {
            this.count_intake(py, count);
            match protocol.call_method1(name!(py, "buffer_updated"), (count,)) {
                Ok(_) => Ok(()),
                Err(error) => fatal_error(slf, error, "Fatal error: protocol.buffer_updated() call failed."),
            }
        }
        Err(error) => read_failed(slf, error),
    }
}

/// As [`read_into_buffer`], without a call through Python.
fn read_into_tls(slf: &Bound<'_, Transport>, tls: &Bound<'_, TlsProtocol>) -> PyResult<()> {
    let fd = borrow_fd(slf.get().fd);
    let received = TlsProtocol::receive(tls, |memory| net::recv(fd, memory, RECEIVE).map(|(_, count)| count));
    match received {
        Ok(Ok(0)) => end_of_file(slf, tls.as_any()),
        Ok(Ok(count)) => {
            slf.get().count_intake(slf.py(), count);
            Ok(())
        }
        Ok(Err(error)) => read_failed(slf, error),
        Err(error) => fatal_error(slf, error, "Fatal error: protocol.buffer_updated() call failed."),
    }
}

#[cold]
fn read_failed(slf: &Bound<'_, Transport>, error: Errno) -> PyResult<()> {
    match error {
        Errno::AGAIN | Errno::INTR => Ok(()),
        error => fatal_error(slf, os_error(error), "Fatal read error on socket transport"),
    }
}

#[cold]
fn end_of_file(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    debug_log(slf, "debug", "%r received EOF")?;
    let keep_open = protocol.call_method0(name!(py, "eof_received")).and_then(|keep| keep.is_truthy());
    match keep_open {
        // The protocol may go on writing; there is nothing more to read.
        Ok(true) => this.stop_reading(py),
        Ok(false) => slf.call_method0(name!(py, "close")).map(drop),
        Err(error) => fatal_error(slf, error, "Fatal error: protocol.eof_received() call failed."),
    }
}
