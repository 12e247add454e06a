//! Flow control.

use super::base::{Transport, in_context};
use super::ending::tell;
use crate::handle::is_fatal;
use pyo3::prelude::*;

// ---- flow control

/// To be called when something had to wait.
pub fn maybe_pause_protocol(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let must = slf.get().body.with(slf.py(), |body| body.flow.must_pause(body.output.len()));
    if must { in_context(slf, || call_flow(slf, "pause_writing")) } else { Ok(()) }
}

/// To be called when something has left.
pub fn maybe_resume_protocol(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let may = slf.get().body.with(slf.py(), |body| body.flow.may_resume(body.output.len()));
    if may { call_flow(slf, "resume_writing") } else { Ok(()) }
}

fn call_flow(slf: &Bound<'_, Transport>, method: &str) -> PyResult<()> {
    let Some(protocol) = slf.get().protocol(slf.py()) else { return Ok(()) };
    match protocol.call_method0(method) {
        Ok(_) => Ok(()),
        Err(error) if is_fatal(slf.py(), &error) => Err(error),
        Err(error) => tell(slf, &format!("protocol.{method}() failed"), &error),
    }
}
