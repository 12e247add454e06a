//! Transports: between the bytes of a file and a protocol.
//!
//! Reading order, each using only what stands before it: [`flow`] (water marks), [`address`], [`file`], [`input`] and
//! [`output`] (bytes in and out); [`base`] (the state that all transports share), [`waiters`], [`server`], [`ending`],
//! [`readiness`], [`sending`] and [`opening`] (its life, written once); [`info`] and [`methods`] (what Python sees of
//! all); [`tls`], which stands on top of any; then what is peculiar to each: [`socket`], [`datagram`], [`pipe`] with
//! its two ends [`read_pipe`] and [`write_pipe`], and [`listener`], which makes sockets.
//!
//! They behave as those of asyncio, in the order of calls, the errors and the messages, and say so to `isinstance`. All
//! data is under the GIL: a transport is used by the thread that holds its loop's baton, and looked at by others.

mod address;
mod base;
mod datagram;
mod ending;
mod file;
mod flow;
mod info;
mod input;
mod listener;
mod methods;
mod opening;
mod output;
mod pipe;
mod read_pipe;
mod readiness;
mod sending;
mod server;
mod socket;
mod tls;
mod waiters;
mod write_pipe;

use pyo3::prelude::*;

/// Adds the classes to the module.
pub fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    keep_large_blocks();
    info::warn_function(module.py())?;
    module.add_class::<base::Transport>()?;
    module.add_class::<socket::SocketTransport>()?;
    module.add_class::<datagram::DatagramTransport>()?;
    module.add_class::<read_pipe::ReadPipeTransport>()?;
    module.add_class::<write_pipe::WritePipeTransport>()?;
    module.add_class::<listener::Listener>()?;
    module.add_class::<tls::TlsProtocol>()?;
    module.add_class::<tls::TlsTransport>()?;
    socket::install(module.py())?;
    datagram::install(module.py())?;
    read_pipe::install(module.py());
    write_pipe::install(module.py());
    Ok(())
}

/// Has glibc's malloc keep the memory of large bytes objects between two reads.
///
/// It begins with giving what is over 128 KiB back to the kernel each time, and to get it again costs a page fault for
/// each 4 KiB: up to a third of the time of an echo of 256 KiB. It learns from the largest block that was freed, so it
/// is shown one. (Programs that read into 256 KiB at a time, as asyncio does, teach it that by the way.) Nothing is
/// touched, so this costs two system calls; other allocators take no notice.
fn keep_large_blocks() {
    const LARGE: usize = 1024 * 1024;
    drop(std::hint::black_box(vec![0_u8; LARGE]));
}
