//! Transport: the state that all transports share.
//!
//! open -> reading or paused -> closing (what waits is still sent) -> lost (nothing more is sent; `connection_lost` is
//! on its way) -> closed. A step never goes back.

use super::file::{Extra, File};
use super::flow::HIGH_WATER;
use super::input::Expected;
use super::output::Output;
use crate::event_loop::LoopCore;
use crate::ffi::Name;
use crate::ffi::{self, GilCell};
use crate::handle::Args;
use everloop_core::flow::{Flow, Pauses};
use everloop_core::registry::Direction;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

/// One of the classes of transports.
pub struct Kind {
    pub name: &'static str,
    /// The class of asyncio that instances claim to be of.
    pub asyncio: &'static Name,
    /// The name of the file in `get_extra_info`.
    pub file: &'static str,
    pub read: fn(&Bound<'_, Transport>) -> PyResult<()>,
    pub write: fn(&Bound<'_, Transport>) -> PyResult<()>,
}

/// The state of one transport. Written by the thread that holds the loop's baton, and always under the GIL.
pub struct Body {
    /// None once `connection_lost` was called, as are the protocol and the server.
    pub loop_: Option<Py<LoopCore>>,
    pub protocol: Option<Py<PyAny>>,
    /// True if the protocol is a BufferedProtocol.
    pub buffered: bool,
    pub file: File,
    pub extra: Extra,
    pub server: Option<Py<PyAny>>,
    /// The protocol's methods are called in this context or a copy of it, whoever uses the transport.
    pub context: Option<Py<PyAny>>,
    pub closing: bool,
    pub paused: bool,
    /// True while the read method, or the write method, has not returned: the protocol's method that it has called may
    /// have blocked, and be aside.
    pub reading: bool,
    pub writing: bool,
    /// 0 until `connection_lost` is on its way; from then on it also counts writes that go nowhere, as asyncio does.
    pub lost: u32,
    /// The error that `connection_lost` will be told, if any.
    pub reason: Option<Py<PyAny>>,
    pub flow: Flow,
    pub output: Output,
    pub expected: Expected,
    /// True once `write_eof` was called.
    pub eof: bool,
    /// The future of `sendfile`, which waits until nothing is left to send.
    pub empty_waiter: Option<Py<PyAny>>,
}

/// The base class of all transports of everloop: asyncio's transports, written in Rust.
#[pyclass(frozen, subclass, dict, weakref, module = "everloop._native")]
pub struct Transport {
    pub kind: &'static Kind,
    /// Not to be used once the body says that it is lost: the number may be another file's by then.
    pub fd: RawFd,
    pub body: GilCell<Body>,
}

impl Body {
    /// Takes the file out, to be closed. The descriptor is not used after that: its number may be another file's.
    pub fn take_file(&mut self) -> File {
        self.closing = true;
        self.lost = self.lost.max(1);
        std::mem::replace(&mut self.file, File::Closed)
    }
}

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
                flow: Flow::new(HIGH_WATER, Pauses::AboveHigh),
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

    /// True if the descriptor may be another file's by now. (A transport that is only lost keeps its file until its
    /// protocol was told.)
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

    /// The protocol, and whether it is a BufferedProtocol; None once the connection is lost.
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

    /// As `stop_reading`, but not of a transport that is paused: somebody else may read from the same pipe meanwhile.
    pub fn stop_own_reading(&self, py: Python<'_>) -> PyResult<()> {
        if self.body.with(py, |body| body.paused) { Ok(()) } else { self.stop_reading(py) }
    }
}

/// Schedules a call of the protocol, in its context.
pub fn call_soon(slf: &Bound<'_, Transport>, callback: Py<PyAny>, args: Args) -> PyResult<()> {
    let this = slf.get();
    LoopCore::call_soon_in(&this.core(slf.py())?, this.context(slf.py())?, callback, args)
}

/// Calls the protocol in the midst of a call of the transport: in a copy of the protocol's context, not in the
/// caller's. (A copy, since the caller may be in that context already.)
pub fn in_context(slf: &Bound<'_, Transport>, call: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
    let py = slf.py();
    let context = ffi::copy_of_context(py, &slf.get().context(py)?)?;
    ffi::run_in_context(py, &context, call).into_result()
}

/// Has another protocol told from now on.
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
