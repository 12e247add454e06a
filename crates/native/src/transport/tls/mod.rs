//! TLS over any transport: what `asyncio.sslproto` does, with the work per record done here.
//!
//! ```text
//! transport below  --bytes-->  TlsProtocol  --plain text-->  the user's protocol
//!                  <--bytes--               <--plain text--  TlsTransport
//! ```
//!
//! The cryptography is Python's own `ssl` module, so the user's `SSLContext` counts to the letter: [`session`] drives
//! an `ssl.SSLObject` between two `ssl.MemoryBIO`s. The transport below is spoken to through Python calls: it can be
//! another TLS transport, or somebody else's. (A native socket hands over what it has received without one.) Semantics,
//! messages and order are those of asyncio in the running interpreter.
//!
//! Reading order, each using only what stands before it: [`states`] and [`constants`]; [`session`];
//! [`connection`] (the data); one file for each stage of its life: [`failure`], [`writing`], [`reading`], [`shutdown`],
//! [`handshake`]; then its faces: [`transport`], which the user sees, [`protocol`], which the transport below sees, and
//! [`names`], which keeps asyncio's private names alive. Where a stage needs one that stands above it (the end of
//! reading begins the shutdown, the end of the handshake makes the user's transport), it is given a function.

mod connection;
mod constants;
mod failure;
mod handshake;
mod names;
mod protocol;
mod reading;
mod session;
mod shutdown;
mod states;
mod transport;
mod writing;

pub use connection::TlsProtocol;
pub use transport::TlsTransport;
