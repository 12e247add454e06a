//! The beginning of a transport: its protocol is told of the connection, then bytes are read.

use super::base::{Transport, call_soon, of, set_protocol};
use super::readiness::start_reading;
use super::waiters::wake_waiter;
use crate::event_loop::LoopCore;
use crate::ffi::{self, name};
use crate::handle::{Args, Native};
use pyo3::prelude::*;

static START_READING: Native = Native::new("_start_reading", |slf| start_reading(of(slf)?));
static WAKE: Native = Native::new("_wake_waiter", wake_waiter);

/// Tells the protocol of its connection in the next turn, and reads from then on.
pub fn open(
    slf: &Bound<'_, Transport>,
    protocol: &Bound<'_, PyAny>,
    waiter: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    set_protocol(slf, protocol)?;
    let core = this.core(py)?;
    core.get().claim(this.fd, slf)?;
    let made = protocol.getattr(name!(py, "connection_made"))?;
    call_soon(slf, made.unbind(), Args::One(slf.clone().into_any().unbind()))?;
    // Reading begins in another context than the protocol's: `connection_made` may block in that one.
    let transport = slf.clone().into_any().unbind();
    LoopCore::call_soon_in(&core, ffi::copy_context(py)?, transport, Args::Native(&START_READING))?;
    if let Some(waiter) = waiter {
        let waiter = waiter.clone().unbind();
        LoopCore::call_soon_in(&core, ffi::copy_context(py)?, waiter, Args::Native(&WAKE))?;
    }
    Ok(())
}
