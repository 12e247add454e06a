//! What all transports share: their states, and the order in which a protocol is told of them.
//!
//! open -> reading or paused -> closing (what waits is still sent) -> lost (nothing more is sent; `connection_lost` is
//! on its way) -> closed. A step never goes back.

use super::file::{Extra, File};
use super::flow::Flow;
use super::input::Expected;
use super::output::Output;
use crate::event_loop::LoopCore;
use crate::ffi::{self, GilCell, name};
use crate::handle::{Args, Native, is_fatal};
use crate::private::{self, Name};
use everloop_core::registry::Direction;
use pyo3::exceptions::{PyConnectionError, PyOSError, PyPermissionError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict, PyType};
use rustix::io::Errno;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

/// What distinguishes the classes of transports.
pub struct Kind {
    pub name: &'static str,
    /// The class of asyncio that instances claim to be of.
    pub asyncio: &'static Name,
    /// What `get_extra_info` calls the file.
    pub file: &'static str,
    pub read: fn(&Bound<'_, Transport>) -> PyResult<()>,
    pub write: fn(&Bound<'_, Transport>) -> PyResult<()>,
}

/// The state of one transport. Written by the thread that holds the loop's baton, and always under the GIL.
pub struct Body {
    /// None once `connection_lost` was called, as are the protocol and the server.
    pub loop_: Option<Py<LoopCore>>,
    pub protocol: Option<Py<PyAny>>,
    /// The protocol is a BufferedProtocol.
    pub buffered: bool,
    pub file: File,
    pub extra: Extra,
    pub server: Option<Py<PyAny>>,
    /// All that the protocol is told, it is told in this context or a copy, whoever uses the transport.
    pub context: Option<Py<PyAny>>,
    pub closing: bool,
    pub paused: bool,
    /// What the read method, and the write method, has called may be aside.
    pub reading: bool,
    pub writing: bool,
    /// 0 until `connection_lost` is on its way; from then on it also counts writes that go nowhere, as asyncio does.
    pub lost: u32,
    /// What `connection_lost` will be told.
    pub reason: Option<Py<PyAny>>,
    pub flow: Flow,
    pub output: Output,
    pub expected: Expected,
    /// `write_eof` was called.
    pub eof: bool,
    /// `sendfile` waits until nothing is left to send.
    pub empty_waiter: Option<Py<PyAny>>,
}

/// What all transports of everloop are: asyncio's transports, written in Rust.
#[pyclass(frozen, subclass, dict, weakref, module = "everloop._native")]
pub struct Transport {
    pub kind: &'static Kind,
    /// Not to be used once the body says that it is lost: the number may be another file's by then.
    pub fd: RawFd,
    pub body: GilCell<Body>,
}

impl Body {
    /// The end of every use of the descriptor: once the file is closed, the number may be that of somebody else's.
    pub fn take_file(&mut self) -> File {
        self.closing = true;
        self.lost = self.lost.max(1);
        std::mem::replace(&mut self.file, File::Closed)
    }
}

pub static START_READING: Native = Native::new("_start_reading", |slf| start_reading(of(slf)?));
static WAKE: Native = Native::new("_wake_waiter", wake_waiter);
pub static CONNECTION_LOST: Native =
    Native::new("_call_connection_lost", |slf| call_connection_lost(of(slf)?)).beside(|_| true);

/// The transport behind a handle's object.
#[inline]
pub fn of<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Transport>> {
    Ok(object.cast::<Transport>()?)
}

impl Transport {
    pub fn new(
        kind: &'static Kind,
        core: &Bound<'_, LoopCore>,
        fd: RawFd,
        file: File,
        extra: Extra,
        output: Output,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let context = context.map_or_else(|| ffi::copy_context(core.py()), Ok)?;
        Ok(Self {
            kind,
            fd,
            body: GilCell::new(Body {
                loop_: Some(core.clone().unbind()),
                protocol: None,
                buffered: false,
                file,
                extra,
                server: None,
                context: Some(context),
                closing: false,
                paused: false,
                reading: false,
                writing: false,
                lost: 0,
                reason: None,
                flow: Flow::default(),
                output,
                expected: Expected::default(),
                eof: false,
                empty_waiter: None,
            }),
        })
    }

    #[inline]
    pub fn core<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, LoopCore>> {
        self.body
            .with(py, |body| body.loop_.as_ref().map(|core| core.bind(py).clone()))
            .ok_or_else(|| PyRuntimeError::new_err("the transport is closed"))
    }

    /// The context in which the protocol is told what happens: the one in which the transport was made.
    pub fn context(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let own = self.body.with(py, |body| body.context.as_ref().map(|context| context.clone_ref(py)));
        own.map_or_else(|| ffi::copy_context(py), Ok)
    }

    pub fn is_debug(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.loop_.as_ref().is_some_and(|core| core.get().is_debug()))
    }

    #[inline]
    pub fn is_lost(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| body.lost > 0)
    }

    /// Whether the descriptor is another file's, for all we know. (One that is only lost is open until its protocol was told.)
    pub fn is_closed(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| matches!(body.file, File::Closed))
    }

    pub fn is_open_for_reading(&self, py: Python<'_>) -> bool {
        self.body.with(py, |body| !body.closing && !body.paused)
    }

    #[inline]
    pub fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.body.with(py, |body| body.protocol.as_ref().map(|protocol| protocol.bind(py).clone()))
    }

    /// The method of the protocol that a reader calls.
    #[inline]
    pub fn receiver<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyAny>, bool)> {
        self.body.with(py, |body| {
            if body.lost > 0 {
                return None;
            }
            body.protocol.as_ref().map(|protocol| (protocol.bind(py).clone(), body.buffered))
        })
    }

    /// Tells the loop how much was read.
    #[inline]
    pub fn count_intake(&self, py: Python<'_>, count: usize) {
        self.body.with(py, |body| {
            if let Some(core) = &body.loop_ {
                let intake = &core.get().shared.counters.intake;
                intake.store(intake.load(Ordering::Relaxed) + count, Ordering::Relaxed);
            }
        });
    }

    fn unwatch(&self, py: Python<'_>, direction: Direction) -> PyResult<()> {
        let core = self.body.with(py, |body| body.loop_.as_ref().map(|core| core.clone_ref(py)));
        core.map_or(Ok(()), |core| core.get().unwatch(py, self.fd, direction).map(drop))
    }

    pub fn stop_writing(&self, py: Python<'_>) -> PyResult<()> {
        self.unwatch(py, Direction::Write)
    }

    pub fn stop_reading(&self, py: Python<'_>) -> PyResult<()> {
        self.unwatch(py, Direction::Read)
    }
}

/// Watches the file until it is writable, then calls the transport's write method.
pub fn start_writing(slf: &Bound<'_, Transport>) -> PyResult<()> {
    watch(slf, Direction::Write)
}

pub fn watch(slf: &Bound<'_, Transport>, direction: Direction) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let core = this.core(py)?;
    core.get().check_open()?;
    let method = match direction {
        Direction::Read => &READ,
        Direction::Write => &WRITE,
    };
    let object = slf.clone().into_any().unbind();
    let handle = LoopCore::handle_in(&core, this.context(py)?, object, Args::Native(method))?;
    core.get().watch(py, this.fd, direction, &handle)
}

fn call_soon(slf: &Bound<'_, Transport>, callback: Py<PyAny>, args: Args) -> PyResult<()> {
    let this = slf.get();
    LoopCore::call_soon_in(&this.core(slf.py())?, this.context(slf.py())?, callback, args)
}

/// Calls the protocol in the midst of a call of the transport, whose caller's context is nothing to it: in a copy of its own,
/// since the caller may be in that already.
pub fn in_context(slf: &Bound<'_, Transport>, call: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
    let py = slf.py();
    let context = ffi::copy_of_context(py, &slf.get().context(py)?)?;
    ffi::run_in_context(py, &context, call).into_result()
}

// ---- the beginning

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
    // Neither calls the protocol, so neither needs its context, in which `connection_made` may block.
    let transport = slf.clone().into_any().unbind();
    LoopCore::call_soon_in(&core, ffi::copy_context(py)?, transport, Args::Native(&START_READING))?;
    if let Some(waiter) = waiter {
        let waiter = waiter.clone().unbind();
        LoopCore::call_soon_in(&core, ffi::copy_context(py)?, waiter, Args::Native(&WAKE))?;
    }
    Ok(())
}

pub fn set_protocol(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    static BUFFERED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = slf.py();
    let buffered = protocol.is_instance(BUFFERED.import(py, "asyncio.protocols", "BufferedProtocol")?)?;
    let new = protocol.clone().unbind();
    let before = slf.get().body.with(py, |body| {
        body.buffered = buffered;
        body.protocol.replace(new)
    });
    drop(before);
    Ok(())
}

/// Up to CPython 3.12 a server only counts its connections.
fn server_knows_clients(py: Python<'_>) -> bool {
    static ANSWER: PyOnceLock<bool> = PyOnceLock::new();
    *ANSWER.get_or_init(py, || py.version_info() >= (3, 13))
}

/// The server that accepted the connection knows of it until it is closed.
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

// ---- reading and writing: each waits until its last call has ended, which may be aside, and for nothing else

static READ: Native = Native::new("_read_ready", |slf| read(of(slf)?))
    .beside(|slf| of(slf).is_ok_and(|slf| !slf.get().body.with(slf.py(), |body| body.reading)));
static WRITE: Native = Native::new("_write_ready", |slf| write(of(slf)?))
    .beside(|slf| of(slf).is_ok_and(|slf| !slf.get().body.with(slf.py(), |body| body.writing)));

#[inline]
fn read(slf: &Bound<'_, Transport>) -> PyResult<()> {
    slf.get().body.with(slf.py(), |body| body.reading = true);
    let result = (slf.get().kind.read)(slf);
    slf.get().body.with(slf.py(), |body| body.reading = false);
    result
}

#[inline]
fn write(slf: &Bound<'_, Transport>) -> PyResult<()> {
    slf.get().body.with(slf.py(), |body| body.writing = true);
    let result = (slf.get().kind.write)(slf);
    slf.get().body.with(slf.py(), |body| body.writing = false);
    result
}

pub fn start_reading(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    if !this.is_open_for_reading(py) {
        return Ok(());
    }
    match watch(slf, Direction::Read) {
        Err(error) if error.is_instance_of::<PyOSError>(py) => cannot_watch(slf, error),
        other => other,
    }
}

/// A file that the kernel does not watch, or that somebody has closed: nothing would ever come of it.
#[cold]
pub fn cannot_watch(slf: &Bound<'_, Transport>, error: PyErr) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let error = if error.is_instance_of::<PyPermissionError>(py) {
        let text = "epoll does not watch files of this kind: use a thread for them";
        PyPermissionError::new_err((Errno::PERM.raw_os_error(), text))
    } else {
        error
    };
    if this.kind.file == "pipe" {
        tell(slf, "Fatal error on pipe transport", &error)?; // as asyncio does with errors of pipes
    }
    fatal_error(slf, error, "Fatal error on transport")
}

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
