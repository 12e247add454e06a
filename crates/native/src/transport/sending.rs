//! Sending: at once as far as the kernel takes it, and the rest when it takes more.
//!
//! A protocol can write faster than its peer reads. It is told to pause when more waits than the high water mark, and
//! to go on when no more waits than the low one.

use super::base::{Transport, in_context};
use super::ending::report;
use super::output::Data;
use super::readiness::start_writing;
use crate::errors::{ends_loop, log};
use pyo3::prelude::*;
use rustix::io::Errno;

/// As asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES`: so many writes to a lost connection pass without a word.
pub const QUIET_LOST_WRITES: u32 = 5;

/// Sends data now if nothing waits before it; what the kernel does not take waits. The inner error is the kernel's.
#[inline]
pub fn send_or_queue(
    slf: &Bound<'_, Transport>,
    data: Data<'_, '_>,
    send: impl FnOnce(&[u8]) -> Result<usize, Errno>,
) -> PyResult<Result<(), Errno>> {
    let (py, this) = (slf.py(), slf.get());
    let mut sent = 0;
    if this.body.with(py, |body| body.output.is_empty()) {
        match send(data.bytes()) {
            Ok(count) if count == data.bytes().len() => return Ok(Ok(())),
            Ok(count) => sent = count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Ok(Err(error)),
        }
        start_writing(slf)?;
    }
    let piece = data.piece(sent);
    let empty = this.body.with(py, |body| body.output.stream().and_then(|queue| queue.push(piece)));
    drop((empty, data));
    maybe_pause_protocol(slf)?;
    Ok(Ok(()))
}

/// Something has left. True if nothing waits any more: then the kernel is no longer asked when it takes more.
pub fn is_drained(slf: &Bound<'_, Transport>) -> PyResult<bool> {
    let (py, this) = (slf.py(), slf.get());
    maybe_resume_protocol(slf)?; // the protocol may write more meanwhile
    let is_drained = this.body.with(py, |body| body.output.is_empty());
    if is_drained {
        this.stop_writing(py)?;
    }
    Ok(is_drained)
}

/// Counts a write that goes nowhere, and warns of it after `quiet` others, as asyncio does.
#[cold]
pub fn count_lost_write(slf: &Bound<'_, Transport>, quiet: u32, warning: &str) -> PyResult<()> {
    let before = slf.get().body.with(slf.py(), |body| {
        let before = body.lost;
        // A transport that is only closing still has to be lost once: it counts no writes.
        body.lost += u32::from(before > 0);
        before
    });
    if before >= quiet { log(slf.py(), "warning", (warning,), None) } else { Ok(()) }
}

/// Tells the protocol to pause, if too much waits now. To be called when something had to wait.
pub fn maybe_pause_protocol(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let must = slf.get().body.with(slf.py(), |body| body.flow.must_pause(body.output.len()));
    if must { in_context(slf, || call_flow(slf, "pause_writing")) } else { Ok(()) }
}

fn maybe_resume_protocol(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let may = slf.get().body.with(slf.py(), |body| body.flow.may_resume(body.output.len()));
    if may { call_flow(slf, "resume_writing") } else { Ok(()) }
}

fn call_flow(slf: &Bound<'_, Transport>, method: &str) -> PyResult<()> {
    let Some(protocol) = slf.get().protocol(slf.py()) else { return Ok(()) };
    match protocol.call_method0(method) {
        Ok(_) => Ok(()),
        Err(error) if ends_loop(slf.py(), &error) => Err(error),
        Err(error) => report(slf, &format!("protocol.{method}() failed"), &error),
    }
}
