//! From the user's writes to the transport below, and the flow control on that way.

use super::connection::TlsProtocol;
use super::constants::constant;
use super::states::State;
use crate::errors::{ends_loop, log};
use crate::ffi::{name, type_name};
use crate::transport::output::is_bytes_like;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PySlice};

impl TlsProtocol {
    /// Takes what the user writes, and encrypts and sends it if the handshake is over.
    pub fn write<'py>(slf: &Bound<'py, Self>, data: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if this.state(py).is_ending() {
            return this.refuse_write(py);
        }
        for data in data {
            let data = data?;
            this.append(&data)?;
        }
        if this.state(py) == State::Wrapped
            && let Err(error) = Self::do_write(slf)
        {
            return Self::fatal_exception(slf, error, "Fatal error on SSL protocol");
        }
        Ok(())
    }

    pub fn append(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let size = data.len()?;
        self.connection.with(data.py(), |c| {
            c.backlog.push_back((data.clone().unbind(), size));
            c.backlog_size += size;
        });
        Ok(())
    }

    #[cold]
    fn refuse_write(&self, py: Python<'_>) -> PyResult<()> {
        let lost_writes = self.connection.with(py, |c| c.lost_writes);
        if lost_writes >= constant(py, "LOG_THRESHOLD_FOR_CONNLOST_WRITES")?.extract()? {
            log(py, "warning", ("SSL connection is closed",), None)?;
        }
        self.connection.with(py, |c| c.lost_writes += 1);
        Ok(())
    }

    /// Encrypts what is written, then sends all of its records at once.
    pub fn do_write(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().encrypt(slf.py())?;
        Self::process_outgoing(slf)
    }

    fn encrypt(&self, py: Python<'_>) -> PyResult<()> {
        while let Some((data, size)) =
            self.connection.with(py, |c| c.backlog.front().map(|(d, n)| (d.clone_ref(py), *n)))
        {
            let data = data.into_bound(py);
            let Some(count) = self.session.write(&data)? else { break };
            // OpenSSL makes one record at a time.
            let rest = if count < size {
                let view = PyMemoryView::from(&data)?;
                Some(view.get_item(PySlice::new(py, count as isize, size as isize, 1))?)
            } else {
                None
            };
            let gone = self.connection.with(py, |c| {
                c.backlog_size = c.backlog_size.saturating_sub(count.min(size));
                let before = c.backlog.pop_front();
                if let Some(rest) = rest {
                    c.backlog.push_front((rest.unbind(), size - count));
                }
                before
            });
            drop(gone);
        }
        Ok(())
    }

    /// Hands the records to the transport below, unless that wants no more.
    pub fn process_outgoing(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let (is_paused, size) = this.connection.with(py, |c| (c.is_writing_paused, c.backlog_size));
        if is_paused {
            return Self::control_app_writing(slf, this.write_buffer_size(py)?);
        }
        let records = this.session.drain(py)?;
        if records.len()? > 0
            && let Some(transport) = this.transport(py)
        {
            transport.call_method1(name!(py, "write"), (records,))?;
        }
        Self::control_app_writing(slf, size)
    }

    /// The number of bytes that are written and not handed to the transport below.
    pub fn write_buffer_size(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.session.outgoing_pending(py)? + self.connection.with(py, |c| c.backlog_size))
    }

    /// Tells the user's protocol to stop writing, or to go on, when so much waits.
    pub fn control_app_writing(slf: &Bound<'_, Self>, size: usize) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let Some(pause) = this.connection.with(py, |c| c.outgoing.change(size)) else { return Ok(()) };
        let Some(app) = this.app_protocol(py) else { return Ok(()) };
        let method = if pause { "pause_writing" } else { "resume_writing" };
        match this.in_context(py, || app.call_method0(method).map(drop)) {
            Ok(()) => Ok(()),
            Err(error) if ends_loop(py, &error) => Err(error),
            Err(error) => {
                let transport = Self::app_transport(slf)?.map(|transport| transport.into_bound(py));
                Self::report(slf, &format!("protocol.{method}() failed"), error.value(py).as_any(), transport.as_ref())
            }
        }
    }
}

/// # Errors
/// TypeError in the words of asyncio's TLS: the data is not bytes-like.
pub fn check_data(data: &Bound<'_, PyAny>) -> PyResult<()> {
    if is_bytes_like(data) {
        return Ok(());
    }
    let name = type_name(&data.get_type());
    Err(PyTypeError::new_err(format!("data: expecting a bytes-like instance, got {name}")))
}
