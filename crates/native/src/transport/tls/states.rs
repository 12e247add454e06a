//! The two states of a TLS connection: that of the records, and how much of its life the user's protocol has seen.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// The stage of a connection. It moves down the list one by one, and to `Unwrapped` from everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Unwrapped,
    Handshake,
    Wrapped,
    /// `close()` was called: what was written before still goes out.
    Flushing,
    /// Our close_notify is sent, or on its way; the peer's is waited for.
    Shutdown,
}

impl State {
    /// The name in `asyncio.sslproto.SSLProtocolState`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unwrapped => "UNWRAPPED",
            Self::Handshake => "DO_HANDSHAKE",
            Self::Wrapped => "WRAPPED",
            Self::Flushing => "FLUSHING",
            Self::Shutdown => "SHUTDOWN",
        }
    }

    /// The state after this one, if `to` may follow it.
    pub fn change(self, to: Self) -> PyResult<Self> {
        use State::{Flushing, Handshake, Shutdown, Unwrapped, Wrapped};
        match (self, to) {
            (_, Unwrapped)
            | (Unwrapped, Handshake)
            | (Handshake, Wrapped)
            | (Wrapped, Flushing)
            | (Flushing, Shutdown) => Ok(to),
            _ => Err(PyRuntimeError::new_err(format!(
                "cannot switch state from SSLProtocolState.{} to SSLProtocolState.{}",
                self.name(),
                to.name()
            ))),
        }
    }

    /// True if nothing more is taken from the user.
    pub fn is_ending(self) -> bool {
        matches!(self, Self::Flushing | Self::Shutdown | Self::Unwrapped)
    }
}

/// The last call that the user's protocol has got: connection_made, then perhaps eof_received, then connection_lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppState {
    Init,
    Made,
    Eof,
    Lost,
}
