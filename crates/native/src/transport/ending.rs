//! The end of a transport, after an error or without one.

use super::base::{Body, Transport, call_soon, of};
use super::server::detach;
use crate::ffi::name;
use crate::handle::{Args, Native, is_fatal};
use pyo3::exceptions::{PyConnectionError, PyOSError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

pub static CONNECTION_LOST: Native =
    Native::new("_call_connection_lost", |slf| call_connection_lost(of(slf)?)).beside(|_| true);

// ---- errors

/// Hands an error to the loop's exception handler.
pub fn tell(slf: &Bound<'_, Transport>, message: &str, error: &PyErr) -> PyResult<()> {
    let py = slf.py();
    // The connection may have gone while the step that failed was aside: then its handle tells.
    let Ok(core) = slf.get().core(py) else { return Err(error.clone_ref(py)) };
    let context = PyDict::new(py);
    context.set_item("message", message)?;
    context.set_item("exception", error.value(py))?;
    context.set_item("transport", slf)?;
    context.set_item("protocol", slf.get().protocol(py))?;
    core.call_method1("call_exception_handler", (context,))?;
    Ok(())
}

/// Debug mode only: asyncio's words.
#[cold]
pub fn log(slf: &Bound<'_, Transport>, level: &str, format: &str, error: Option<&PyErr>) -> PyResult<()> {
    let py = slf.py();
    let logger = py.import("asyncio.log")?.getattr("logger")?;
    let kwargs = match error {
        Some(error) => Some([("exc_info", error.value(py))].into_py_dict(py)?),
        None => None,
    };
    logger.call_method(level, (format, slf), kwargs.as_ref())?;
    Ok(())
}

/// The end after an error: errors of the network concern nobody but the protocol, others are reported too.
pub fn fatal_error(slf: &Bound<'_, Transport>, error: PyErr, message: &str) -> PyResult<()> {
    let py = slf.py();
    if is_fatal(py, &error) {
        return Err(error);
    }
    if !error.is_instance_of::<PyOSError>(py) {
        tell(slf, message, &error)?;
    } else if slf.get().is_debug(py) {
        log(slf, "debug", &format!("%r: {message}"), Some(&error))?;
    }
    force_close(slf, Some(error))
}

// ---- the end

/// Ends the connection without sending what waits.
pub fn force_close(slf: &Bound<'_, Transport>, error: Option<PyErr>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let reason = error.map(|error| error.into_value(py).into_any());
    let Some((waiting, was_closing)) = this.body.with(py, |body| {
        if body.lost > 0 {
            return None;
        }
        let waiting = (!body.output.is_empty()).then(|| body.output.take());
        Some((waiting, std::mem::replace(&mut body.closing, true)))
    }) else {
        return Ok(());
    };
    if let Some(waiting) = waiting {
        drop(waiting);
        this.stop_writing(py)?;
    }
    if !was_closing {
        this.stop_reading(py)?;
    }
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

/// What was waited for is there, if anybody still waits: a new connection; for `sendfile`, that nothing is left to send.
pub fn wake_waiter(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    if !waiter.call_method0("done")?.is_truthy()? {
        waiter.call_method1("set_result", (waiter.py().None(),))?;
    }
    Ok(())
}

/// `sendfile` waits in vain.
pub fn fail_waiter(waiter: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    if !waiter.call_method0("done")?.is_truthy()? {
        waiter.call_method1("set_exception", (error.into_value(waiter.py()),))?;
    }
    Ok(())
}

pub fn close_file(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let file = slf.get().body.with(slf.py(), Body::take_file);
    file.close(slf.py())
}
