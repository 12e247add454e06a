//! From received bytes to the user's protocol, and the flow control on that way.

use super::connection::TlsProtocol;
use super::session::RECORD;
use super::states::{AppState, State};
use crate::errors::{ends_loop, log};
use crate::ffi::name;
use pyo3::prelude::*;

/// The answer to the peer's close_notify, which belongs to the shutdown: a function of a file that uses this one.
pub type EndOfText = fn(&Bound<'_, TlsProtocol>) -> PyResult<()>;

impl TlsProtocol {
    /// Hands over what can be decrypted, and sends what that has led to. `end` is called after the peer's last byte.
    pub fn do_read(slf: &Bound<'_, Self>, end: EndOfText) -> PyResult<()> {
        if !matches!(slf.get().state(slf.py()), State::Wrapped | State::Flushing) {
            return Ok(());
        }
        match Self::read_and_answer(slf, end) {
            Err(error) => Self::fatal_exception(slf, error, "Fatal error on SSL protocol"),
            Ok(()) => Ok(()),
        }
    }

    fn read_and_answer(slf: &Bound<'_, Self>, end: EndOfText) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let (is_paused, is_buffered) = this.connection.with(py, |c| (c.is_app_reading_paused, c.app.is_buffered));
        if !is_paused {
            if is_buffered {
                Self::read_into_app(slf, end)?;
            } else {
                Self::read_for_app(slf, end)?;
            }
            if this.connection.with(py, |c| c.backlog.is_empty()) {
                Self::process_outgoing(slf)?;
            } else {
                Self::do_write(slf)?;
            }
        }
        this.control_reading(py)
    }

    /// `asyncio.Protocol`: all that there is, as one bytes object.
    fn read_for_app(slf: &Bound<'_, Self>, end: EndOfText) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let plain = this.session.read(py)?;
        if let Some(bytes) = plain.bytes
            && let Some(app) = this.app_protocol(py)
        {
            app.call_method1(name!(py, "data_received"), (bytes,))?;
        }
        if plain.closed { end(slf) } else { Ok(()) }
    }

    /// `asyncio.BufferedProtocol`: one buffer of the user's. If it is full the rest comes in the next turn.
    fn read_into_app(slf: &Bound<'_, Self>, end: EndOfText) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let Some(app) = this.app_protocol(py) else { return Ok(()) };
        if this.session.readable(py)? == 0 {
            return Ok(());
        }
        let hint = this.session.incoming_pending(py)?;
        let buffer = app.call_method1(name!(py, "get_buffer"), (hint,))?;
        let size = buffer.len()?;
        let (count, closed) = this.session.read_into(&buffer, size)?;
        if count > 0 {
            if count == size {
                Self::call_soon(slf, "_do_read")?;
            }
            app.call_method1(name!(py, "buffer_updated"), (count,))?;
        }
        if closed { end(slf) } else { Ok(()) }
    }

    /// Tells the user's protocol that nothing more comes, once.
    pub fn call_eof_received(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let tells = this.connection.with(py, |c| {
            let tells = c.app_state == AppState::Made;
            if tells {
                c.app_state = AppState::Eof;
            }
            tells
        });
        let Some(app) = this.app_protocol(py).filter(|_| tells) else { return Ok(()) };
        let told = app.call_method0("eof_received").and_then(|keep_open| {
            if keep_open.is_truthy()? {
                let warning = "returning true from eof_received() has no effect when using ssl";
                log(py, "warning", (warning,), None)?;
            }
            Ok(())
        });
        match told {
            Err(error) if ends_loop(py, &error) => Err(error),
            Err(error) => Self::fatal_error(slf, error.value(py).as_any(), "Error calling eof_received()"),
            Ok(()) => Ok(()),
        }
    }

    /// Has the transport below stop reading while too much waits to be decrypted: the user has paused.
    pub fn control_reading(&self, py: Python<'_>) -> PyResult<()> {
        let flow = self.connection.with(py, |c| c.incoming);
        // If no whole record has arrived, so little waits that OpenSSL need not be asked.
        if !flow.is_paused && flow.marks.high > 2 * RECORD && self.session.readable(py)? == 0 {
            return Ok(());
        }
        let size = self.session.incoming_pending(py)?;
        let Some(pause) = self.connection.with(py, |c| c.incoming.change(size)) else { return Ok(()) };
        if let Some(transport) = self.transport(py) {
            transport.call_method0(if pause { "pause_reading" } else { "resume_reading" })?;
        }
        Ok(())
    }

    /// The user wants no more for now.
    pub fn pause_app_reading(&self, py: Python<'_>) {
        self.connection.with(py, |c| c.is_app_reading_paused = true);
    }

    /// The user wants more again.
    pub fn resume_app_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let was_paused =
            slf.get().connection.with(slf.py(), |c| std::mem::replace(&mut c.is_app_reading_paused, false));
        if was_paused { Self::call_soon(slf, "_resume") } else { Ok(()) }
    }
}
