//! The reading end of a pipe.

use super::base::{Kind, Transport};
use super::ending::{debug_log, force_close, lose};
use super::info::{file_names, finalize_as_transport};
use super::input;
use super::opening;
use super::output::Output;
use super::pipe::{check_ready, create, fail};
use crate::errors::os_error;
use crate::event_loop::LoopCore;
use crate::ffi::{self, borrow_fd, name};
use crate::private;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::event::PollFlags;
use rustix::io::{self, Errno};

static KIND: Kind = Kind {
    name: "ReadPipeTransport",
    asyncio: &private::READ_PIPE_TRANSPORT,
    file: "pipe",
    read: read_ready,
    write: |_| Ok(()),
};

/// The reading end of a pipe: what `connect_read_pipe` gives.
#[pyclass(frozen, extends = Transport, module = "everloop._native")]
pub struct ReadPipeTransport;

finalize_as_transport!(ReadPipeTransport);
file_names!(ReadPipeTransport, _pipe, _fileno);

pub fn install(py: Python<'_>) {
    ffi::install_finalizer::<ReadPipeTransport>(&py.get_type::<ReadPipeTransport>());
}

#[pymethods]
impl ReadPipeTransport {
    /// For the loop: makes the transport of a file object, and tells the protocol in the next turn.
    #[staticmethod]
    #[pyo3(signature = (r#loop, pipe, protocol, waiter=None, extra=None))]
    fn _open<'py>(
        r#loop: &Bound<'py, LoopCore>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        let (base, _) = create(&KIND, r#loop, pipe, extra, Output::None, "Pipe transport is for pipes/sockets only.")?;
        let transport = Bound::new(pipe.py(), PyClassInitializer::from(base).add_subclass(Self))?;
        opening::open(transport.as_super(), protocol, waiter)?;
        Ok(transport)
    }

    /// Closes the pipe at once.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let transport = slf.as_super();
        if transport.get().body.with(slf.py(), |body| body.closing) { Ok(()) } else { force_close(transport, None) }
    }

    #[classattr]
    fn max_size() -> usize {
        input::LARGE
    }
}

fn read_ready(slf: &Bound<'_, Transport>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    let Some((protocol, _)) = this.receiver(py) else { return Ok(()) };
    let mut expected = this.body.with(py, |body| body.expected);
    let received = input::receive(py, &mut expected, |memory| {
        check_ready(this.fd, PollFlags::IN)?;
        io::read(borrow_fd(this.fd), memory).map(|(filled, _)| filled.len())
    })?;
    this.body.with(py, |body| body.expected = expected);
    match received {
        Ok(data) if data.as_bytes().is_empty() => read_end_of_file(slf, &protocol),
        Ok(data) => {
            this.count_intake(py, data.as_bytes().len());
            protocol.call_method1(name!(py, "data_received"), (data,)).map(drop)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        // A pseudo-terminal, and its other side is closed.
        Err(Errno::IO) => fail(slf, os_error(Errno::IO), "Fatal read error on pipe transport", true),
        Err(error) => fail(slf, os_error(error), "Fatal read error on pipe transport", false),
    }
}

fn read_end_of_file(slf: &Bound<'_, Transport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    debug_log(slf, "info", "%r was closed by peer")?;
    this.body.with(py, |body| body.closing = true);
    this.stop_reading(py)?;
    this.core(py)?.call_method1("call_soon", (protocol.getattr("eof_received")?,))?;
    lose(slf, None)
}
