//! Sending through a socket, until `write_eof` or the end.

use crate::errors::os_error;
use crate::ffi::{View, borrow_fd};
use crate::transport::base::Transport;
use crate::transport::ending::{call_connection_lost, fatal_error};
use crate::transport::output::{Data, Piece, SEND};
use crate::transport::readiness::start_writing;
use crate::transport::sending::{QUIET_LOST_WRITES, count_lost_write, is_drained, maybe_pause_protocol, send_or_queue};
use crate::transport::waiters::{fail_waiter, wake_waiter};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use rustix::io::Errno;
use rustix::net::{self, SendAncillaryBuffer, Shutdown};

/// # Errors
/// RuntimeError: nothing may be written now.
fn check_writable(this: &Transport, py: Python<'_>, method: &str) -> PyResult<()> {
    let (eof, waited_for) = this.body.with(py, |body| (body.eof, body.empty_waiter.is_some()));
    if eof {
        return Err(PyRuntimeError::new_err(format!("Cannot call {method}() after write_eof()")));
    }
    if waited_for {
        return Err(PyRuntimeError::new_err(format!("unable to {method}; sendfile is in progress")));
    }
    Ok(())
}

#[inline]
pub fn write(slf: &Bound<'_, Transport>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    Data::check(object)?;
    check_writable(this, py, "write")?;
    let data = match Data::new(object) {
        Ok(data) => data,
        Err(error) => return fatal_error(slf, error, "Fatal write error on socket transport"),
    };
    if data.bytes().is_empty() {
        return Ok(());
    }
    if this.is_lost(py) {
        return write_lost(slf);
    }

    let sent = send_or_queue(slf, data, |bytes| net::send(borrow_fd(this.fd), bytes, SEND))?;
    sent.or_else(|error| fatal_error(slf, os_error(error), "Fatal write error on socket transport"))
}

#[cold]
fn write_lost(slf: &Bound<'_, Transport>) -> PyResult<()> {
    count_lost_write(slf, QUIET_LOST_WRITES, "socket.send() raised exception.")
}

pub fn writelines(slf: &Bound<'_, Transport>, list: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    check_writable(this, py, "writelines")?;
    if !list.is_truthy()? {
        return Ok(());
    }
    let mut pieces = Vec::new();
    for item in list.try_iter()? {
        let item = item?;
        // Anything with a buffer goes here, as with asyncio: it takes a memoryview of each.
        let data = match item.cast::<PyBytes>() {
            Ok(bytes) => Data::Bytes(bytes),
            Err(_) => Data::View(&item, View::read(&item).map_err(|error| as_memoryview_says(&item, error))?),
        };
        pieces.push(data.piece(0));
    }
    if this.is_lost(py) {
        return write_lost(slf);
    }
    let (watched, dropped) = this.body.with(py, |body| {
        let watched = !body.output.is_empty();
        let queue = body.output.stream();
        (watched, queue.map(|queue| pieces.into_iter().filter_map(|piece| queue.push(piece)).collect::<Vec<_>>()))
    });
    drop(dropped);
    if this.body.with(py, |body| body.output.is_empty()) {
        return Ok(());
    }
    send_queue(slf)?;
    if this.body.with(py, |body| !body.output.is_empty()) && !watched {
        start_writing(slf)?;
    }
    maybe_pause_protocol(slf)
}

/// The error of a piece that is no data, in the words of the memoryview that asyncio makes of it.
#[cold]
fn as_memoryview_says(item: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    PyMemoryView::from(item).err().unwrap_or(error)
}

/// Sends as much of the queue as the kernel takes.
fn send_queue(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if this.is_lost(py) {
        return Ok(());
    }
    let sent = this.body.with(py, |body| {
        body.output.send(|slices| match slices {
            [one] => net::send(borrow_fd(this.fd), one, SEND),
            all => net::sendmsg(borrow_fd(this.fd), all, &mut SendAncillaryBuffer::default(), SEND),
        })
    });
    match sent {
        Ok(done) => {
            drop::<Vec<Piece>>(done);
            after_sending(slf)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => send_failed(slf, os_error(error)),
    }
}

/// Goes on with what waits.
pub fn write_ready(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let nothing_waits = slf.get().body.with(slf.py(), |body| body.lost == 0 && body.output.is_empty());
    // Where nothing waits, `sendfile` waits for the socket.
    if nothing_waits { after_sending(slf) } else { send_queue(slf) }
}

fn after_sending(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if !is_drained(slf)? {
        return Ok(());
    }
    let (closing, eof, waiter) = this
        .body
        .with(py, |body| (body.closing, body.eof, body.empty_waiter.as_ref().map(|waiter| waiter.clone_ref(py))));
    if let Some(waiter) = waiter {
        wake_waiter(waiter.bind(py))?;
    }
    if closing {
        call_connection_lost(slf)
    } else if eof {
        shut_down(slf)
    } else {
        Ok(())
    }
}

#[cold]
fn send_failed(slf: &Bound<'_, Transport>, error: PyErr) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    this.stop_writing(py)?;
    let waiting = this.body.with(py, |body| body.output.take());
    drop(waiting);
    let again = error.clone_ref(py);
    fatal_error(slf, error, "Fatal write error on socket transport")?;
    let waiter = this.body.with(py, |body| body.empty_waiter.as_ref().map(|waiter| waiter.clone_ref(py)));
    match waiter {
        Some(waiter) => fail_waiter(waiter.bind(py), again),
        None => Ok(()),
    }
}

/// Tells the peer that nothing follows.
pub fn shut_down(slf: &Bound<'_, Transport>) -> PyResult<()> {
    net::shutdown(borrow_fd(slf.get().fd), Shutdown::Write).map_err(os_error)
}
