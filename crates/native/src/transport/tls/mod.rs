//! TLS over any transport: what `asyncio.sslproto` does, with the work per record done here.
//!
//! ```text
//! transport below  --bytes-->  TlsProtocol  --plain text-->  the user's protocol
//!                  <--bytes--               <--plain text--  TlsTransport
//! ```
//!
//! The cryptography is Python's own `ssl` module, so the user's `SSLContext` counts to the letter: [`session`] drives an
//! `ssl.SSLObject` between two `ssl.MemoryBIO`s. The transport below is spoken to through Python calls: it can be
//! another TLS transport, or somebody else's. (A native socket hands over what it has received without one.) Semantics, messages and order are asyncio's of the running interpreter.
//!
//! Reading order: [`states`], [`limits`], [`framing`], [`session`], [`protocol`] (the data, and the face that the transport
//! below sees), then one file for each stage of its life: [`handshake`], [`reading`], [`writing`], [`shutdown`],
//! [`failure`]. [`transport`] is the face that the user sees; [`names`] keeps asyncio's private names alive.

mod failure;
mod framing;
mod handshake;
mod limits;
mod names;
pub mod protocol;
mod reading;
mod session;
mod shutdown;
mod states;
pub mod transport;
mod writing;

use pyo3::prelude::*;

/// A value of `asyncio.constants`, as it is now: tests change them.
fn constant<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("asyncio.constants")?.getattr(name)
}
