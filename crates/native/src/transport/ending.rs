//! The end of a transport, after an error or without one.
//!
//! All ways lead through [`lose`]: from there on nothing is sent, and the protocol is told in a step of its own, as it
//! may be in the middle of a call now. The file is closed after that step: the protocol may still ask for it.

use super::base::{Body, Transport, call_soon, of};
use super::server::detach;
use super::waiters::fail_waiter;
use crate::errors::{self, ends_loop};
use crate::ffi::name;
use crate::handle::{Args, Native};
use pyo3::exceptions::{PyConnectionError, PyOSError};
use pyo3::prelude::*;

static CONNECTION_LOST: Native =
    Native::new("_call_connection_lost", |slf| call_connection_lost(of(slf)?)).beside(|_| true);

// ---- errors

/// Hands an error to the loop's exception handler.
pub fn report(slf: &Bound<'_, Transport>, message: &str, error: &PyErr) -> PyResult<()> {
    let py = slf.py();
    // The connection may have gone while the step that failed was aside: then the step's handle reports.
    let Ok(core) = slf.get().core(py) else { return Err(error.clone_ref(py)) };
    let protocol = slf.get().protocol(py);
    let concerned = [("transport", Some(slf.as_any())), ("protocol", protocol.as_ref())];
    errors::call_exception_handler(&core, message, error.value(py), &concerned)
}

/// Writes a line to asyncio's log, in debug mode.
pub fn debug_log(slf: &Bound<'_, Transport>, level: &str, format: &str) -> PyResult<()> {
    if slf.get().is_debug(slf.py()) { errors::log(slf.py(), level, (format, slf), None) } else { Ok(()) }
}

/// The end after an error: errors of the network concern nobody but the protocol, others are reported too.
pub fn fatal_error(slf: &Bound<'_, Transport>, error: PyErr, message: &str) -> PyResult<()> {
    let is_reported = !error.is_instance_of::<PyOSError>(slf.py());
    end_after(slf, error, message, is_reported)
}

/// The end after an error that is reported, or only logged in debug mode.
pub fn end_after(slf: &Bound<'_, Transport>, error: PyErr, message: &str, is_reported: bool) -> PyResult<()> {
    let py = slf.py();
    if ends_loop(py, &error) {
        return Err(error);
    }
    if is_reported {
        report(slf, message, &error)?;
    } else if slf.get().is_debug(py) {
        errors::log(py, "debug", (format!("%r: {message}"), slf), Some(error.value(py).as_any()))?;
    }
    force_close(slf, Some(error))
}

// ---- the end

/// Ends the connection without sending what waits.
pub fn force_close(slf: &Bound<'_, Transport>, error: Option<PyErr>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let reason = error.map(|error| error.into_value(py).into_any());
    let Some(waiting) = this.body.with(py, |body| {
        if body.lost > 0 {
            return None;
        }
        body.closing = true;
        Some((!body.output.is_empty()).then(|| body.output.take()))
    }) else {
        return Ok(());
    };
    if let Some(waiting) = waiting {
        drop(waiting);
        this.stop_writing(py)?;
    }
    this.stop_own_reading(py)?;
    lose(slf, reason)
}

/// From here on nothing is sent any more; the protocol is told in the next turn.
pub fn lose(slf: &Bound<'_, Transport>, reason: Option<Py<PyAny>>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let before = this.body.with(py, |body| {
        body.lost += 1;
        std::mem::replace(&mut body.reason, reason)
    });
    drop(before);
    call_soon(slf, slf.clone().into_any().unbind(), Args::Native(&CONNECTION_LOST))
}

/// Tells the protocol that it has lost its connection, and lets go of everything.
pub fn call_connection_lost(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let (protocol, reason) = this.body.with(py, |body| {
        body.lost = body.lost.max(1);
        (body.protocol.as_ref().map(|protocol| protocol.clone_ref(py)), body.reason.take())
    });
    let told = match protocol {
        Some(protocol) => protocol.call_method1(py, name!(py, "connection_lost"), (reason,)).map(drop),
        None => Ok(()),
    };
    let closed = let_go(slf);
    told.and(closed)
}

fn let_go(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if let Ok(core) = this.core(py) {
        core.get().disclaim(py, this.fd);
    }
    let closed = close_file(slf);
    let (gone, waiter) = this.body.with(py, |body| {
        let gone = (body.protocol.take(), body.loop_.take(), body.context.take());
        (gone, body.empty_waiter.as_ref().map(|waiter| waiter.clone_ref(py)))
    });
    drop(gone);
    let detached = detach(slf);
    if let Some(waiter) = waiter {
        fail_waiter(waiter.bind(py), PyConnectionError::new_err("Connection is closed by peer"))?;
    }
    closed.and(detached)
}

/// Closes the file, if the transport still has it.
pub fn close_file(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let file = slf.get().body.with(slf.py(), Body::take_file);
    file.close(slf.py())
}
