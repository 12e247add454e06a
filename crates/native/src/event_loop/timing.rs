//! The time of a loop, and the handles that run at a time: `call_later` and `call_at`.

use crate::clock;
use crate::event_loop::new_handle::{check_debug, new_handle, note_source};
use crate::event_loop::state::LoopCore;
use crate::ffi::{self, Arguments, FastMethod, name};
use crate::handle::{Handle, TimerHandle};
use crate::this_thread::own_id;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyFloat;
use std::ffi::CStr;

#[pymethods]
impl LoopCore {
    /// The time of the loop's clock, in seconds.
    pub fn time(&self) -> f64 {
        clock::to_seconds(clock::now())
    }

    /// As any object has it; a program may replace `time` on a loop, and timers go by that.
    fn __setattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let set = ffi::set_attribute(slf, name, Some(value));
        slf.get().clock.forget();
        set
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        let set = ffi::set_attribute(slf, name, None);
        slf.get().clock.forget();
        set
    }
}

/// Returns `loop.time()`: any number, if the program has replaced that method.
fn time<'py>(slf: &Bound<'py, LoopCore>) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    if slf.get().clock.is_ours(slf)? {
        return Ok(PyFloat::new(py, slf.get().time()).into_any());
    }
    slf.call_method0(name!(py, "time"))
}

/// Returns `loop.time()` in seconds.
pub fn seconds(slf: &Bound<'_, LoopCore>) -> PyResult<f64> {
    if slf.get().clock.is_ours(slf)? { Ok(slf.get().time()) } else { time(slf)?.extract() }
}

/// The resolution of CLOCK_MONOTONIC, in seconds.
const RESOLUTION: f64 = 1e-9;

/// Returns the latest time whose timers are due, at `now` of the system's clock.
///
/// With a clock of the program's own, timers are due as in asyncio: differences below the clock's resolution, or below
/// what floats of that size can have, do not count. Tests that move a clock by tenths rely on it.
pub fn due_by(slf: &Bound<'_, LoopCore>, now: u64) -> PyResult<f64> {
    if slf.get().clock.is_ours(slf)? {
        return Ok(clock::to_seconds(now));
    }
    let now = seconds(slf)?;
    Ok((now + RESOLUTION).max(now.next_up()).next_down())
}

/// Returns `loop.time() + delay` in seconds; and that sum itself, as Python makes it, where it may be no float.
#[inline]
fn after<'py>(
    slf: &Bound<'py, LoopCore>,
    delay: Borrowed<'_, 'py, PyAny>,
) -> PyResult<(f64, Option<Bound<'py, PyAny>>)> {
    if ffi::is_plain_number(&delay) && slf.get().clock.is_ours(slf)? {
        return Ok((slf.get().time() + delay.extract::<f64>()?, None));
    }
    let when = time(slf)?.add(delay)?;
    Ok((when.extract()?, Some(when)))
}

/// The common part of `call_later` and `call_at`. `when` is the time as the program sees it; None: the float `seconds`.
#[inline]
fn call_when<'py>(
    slf: Borrowed<'_, 'py, LoopCore>,
    arguments: Arguments<'_, 'py>,
    method: &str,
    seconds: f64,
    when: Option<Bound<'py, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let py = slf.py();
    let core = slf.get();
    core.check_open()?;
    if seconds.is_nan() {
        return Err(PyValueError::new_err(format!("{method}() needs a time, not NaN")));
    }
    let debug = core.is_debug();
    if debug {
        check_debug(slf, &arguments, method, 1, true)?;
    }
    let handle = new_handle(slf, &arguments, method, 1)?;
    let handle = TimerHandle::create(py, seconds, when, handle)?;
    if debug {
        note_source(py, &handle)?;
    }
    core.schedule_at(seconds, handle.clone_ref(py));
    Ok(handle.into_any())
}

/// Returns the first argument, which is a time. `none` is the error if it is None.
fn time_argument<'a, 'py>(
    arguments: &Arguments<'a, 'py>,
    method: &str,
    name: &str,
    none: &'static str,
) -> PyResult<Borrowed<'a, 'py, PyAny>> {
    match arguments.get(0) {
        Some(value) if value.is_none() => Err(PyTypeError::new_err(none)),
        Some(value) => Ok(value),
        None => Err(PyTypeError::new_err(format!(
            "{method}() missing required positional arguments: '{name}' and 'callback'"
        ))),
    }
}

pub struct CallLater;
impl FastMethod for CallLater {
    const NAME: &'static CStr = c"call_later";
    const DOC: &'static CStr = c"call_later($self, delay, callback, *args, context=None)\n--\n\nRun callback(*args) after a delay.\n\nArgs:\n    delay: In seconds; never early, and not rounded to milliseconds.\n    callback: Any callable. Callbacks due at the same time run in the order of the calls.\n    context: The contextvars.Context to run it in; None for a copy of the current one.\n\nReturns:\n    TimerHandle: to cancel it with.\n\nRaises:\n    RuntimeError: the loop is closed; in debug mode also a call from another thread.\n    TypeError: no callback, or a context that is none.\n    ValueError: the delay is NaN.\n";
    const BY_NAME: &'static [&'static str] = &["delay", "callback"];
    type Class = LoopCore;

    #[inline]
    fn call<'py>(slf: Borrowed<'_, 'py, LoopCore>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
        let delay = time_argument(&arguments, "call_later", "delay", "delay must not be None")?;
        let (seconds, when) = after(&slf, delay)?;
        call_when(slf, arguments, "call_later", seconds, when)
    }
}

pub struct CallAt;
impl FastMethod for CallAt {
    const NAME: &'static CStr = c"call_at";
    const DOC: &'static CStr = c"call_at($self, when, callback, *args, context=None)\n--\n\nRun callback(*args) when loop.time() has reached a time.\n\nArgs:\n    when: In seconds of loop.time().\n    callback: Any callable. Callbacks due at the same time run in the order of the calls.\n    context: The contextvars.Context to run it in; None for a copy of the current one.\n\nReturns:\n    TimerHandle: to cancel it with.\n\nRaises:\n    RuntimeError: the loop is closed; in debug mode also a call from another thread.\n    TypeError: no callback, or a context that is none.\n    ValueError: the time is NaN.\n";
    const BY_NAME: &'static [&'static str] = &["when", "callback"];
    type Class = LoopCore;

    #[inline]
    fn call<'py>(slf: Borrowed<'_, 'py, LoopCore>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
        let when = time_argument(&arguments, "call_at", "when", "when cannot be None")?;
        call_when(slf, arguments, "call_at", when.extract()?, Some(when.to_owned()))
    }
}

/// `TimerHandle.cancel`: here, since a loop forgets its own timer at once if that costs nothing.
pub struct CancelTimer;
impl FastMethod for CancelTimer {
    const NAME: &'static CStr = c"cancel";
    const DOC: &'static CStr =
        c"cancel($self)\n--\n\nCancels the callback; of no effect if it was cancelled or run before.";
    type Class = TimerHandle;

    #[inline]
    fn call<'py>(slf: Borrowed<'_, 'py, TimerHandle>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
        arguments.named([], "cancel")?;
        let timer = slf.as_super();
        let is_debug = |loop_: &Bound<'_, PyAny>| Ok(loop_.cast::<LoopCore>().is_ok_and(|core| core.get().is_debug()));
        Handle::cancel_noting(timer, is_debug, || forget(timer))?;
        Ok(slf.py().None())
    }
}

/// A timer is dead. The loop forgets it at once if it is the last in the heap, as one is that was made a moment ago;
/// any other stays there until it is due, or until there are many of its kind.
fn forget(timer: &Bound<'_, Handle>) {
    let py = timer.py();
    let Some(loop_) = timer.get()._loop(py).map(|loop_| loop_.into_bound(py)) else { return };
    let Ok(core) = loop_.cast::<LoopCore>().map(Bound::get) else { return };
    let last = core
        .queues
        .turn
        .with(core.baton(), own_id(), |turn| turn.timers.take_last_if(|handle| handle.is(timer)))
        .flatten();
    match last {
        Some(handle) => handle.drop_ref(py),
        None => core.queues.cancelled.add(),
    }
}

pub fn install(py: Python<'_>) -> PyResult<()> {
    ffi::install::<CallLater>(py)?;
    ffi::install::<CallAt>(py)?;
    ffi::install::<CancelTimer>(py)?;
    clock::install(&py.get_type::<LoopCore>())
}
