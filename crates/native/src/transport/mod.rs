//! Transports: between the bytes of a file and a protocol.
//!
//! Reading order: [`flow`] (water marks), [`address`], [`file`], [`input`] and [`output`] (bytes in and out), [`base`] (the
//! states that all transports share, written once), [`info`] and [`methods`] (what Python sees of all), then what is
//! peculiar to each: [`socket`], [`datagram`], [`pipe`]; [`listener`], which makes the first of them; and [`tls`], which stands
//! on top of any.
//!
//! They behave as those of asyncio, in the order of calls, the errors and the messages, and say so to `isinstance`. All
//! data is under the GIL: a transport is used by the thread that holds its loop's baton, and looked at by others.

mod address;
mod base;
mod datagram;
mod file;
mod flow;
mod info;
mod input;
mod listener;
mod methods;
mod output;
mod pipe;
mod socket;
mod tls;

use pyo3::prelude::*;

/// Adds the classes to the module.
pub fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<base::Transport>()?;
    module.add_class::<socket::SocketTransport>()?;
    module.add_class::<datagram::DatagramTransport>()?;
    module.add_class::<pipe::ReadPipeTransport>()?;
    module.add_class::<pipe::WritePipeTransport>()?;
    module.add_class::<listener::Listener>()?;
    module.add_class::<tls::protocol::TlsProtocol>()?;
    module.add_class::<tls::transport::TlsTransport>()?;
    socket::install(module.py())?;
    datagram::install(module.py())?;
    pipe::install(module.py())
}
