//! Bytes that go out: the data that a protocol may write, and the queues of what could not be sent at once.

use crate::ffi::{Pinned, View};
use everloop_core::write_queue::WriteQueue;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketAddrAny};
use std::collections::VecDeque;
use std::io::IoSlice;

/// A write sends no signal where the connection is gone, and never blocks, also on a socket that somebody has made
/// blocking again: the GIL is held.
pub const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// Bytes that wait: those that cannot change stay where they are, others are copied.
pub enum Piece {
    Pinned(Pinned),
    Copied(Box<[u8]>),
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Pinned(pinned) => pinned.as_ref(),
            Self::Copied(bytes) => bytes,
        }
    }
}

/// A datagram that waits, with the address it goes to: for the kernel if it could be translated, else for Python.
pub struct Datagram {
    pub data: Py<PyBytes>,
    pub address: Py<PyAny>,
    pub translated: Option<SocketAddrAny>,
}

/// Datagrams that wait.
#[derive(Default)]
pub struct DatagramQueue {
    queue: VecDeque<Datagram>,
    /// Its size as asyncio counts it.
    size: usize,
}

impl DatagramQueue {
    /// The bytes that asyncio adds to the size of each datagram.
    const HEADER: usize = 8;

    pub fn push(&mut self, py: Python<'_>, datagram: Datagram) {
        self.size += datagram.data.bind(py).as_bytes().len() + Self::HEADER;
        self.queue.push_back(datagram);
    }

    /// The next one to send.
    pub fn pop(&mut self, py: Python<'_>) -> Option<Datagram> {
        let next = self.queue.pop_front()?;
        self.size -= next.data.bind(py).as_bytes().len() + Self::HEADER;
        Some(next)
    }

    /// Takes back one that was popped, and could not be sent yet.
    pub fn restore(&mut self, py: Python<'_>, datagram: Datagram) {
        self.size += datagram.data.bind(py).as_bytes().len() + Self::HEADER;
        self.queue.push_front(datagram);
    }
}

/// The data that waits in a transport.
pub enum Output {
    /// It does not write.
    None,
    Stream(WriteQueue<Piece>),
    Datagrams(DatagramQueue),
}

impl Output {
    /// The number of bytes that wait.
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Stream(queue) => queue.len(),
            Self::Datagrams(datagrams) => datagrams.size,
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::Stream(queue) => queue.is_empty(),
            Self::Datagrams(datagrams) => datagrams.queue.is_empty(),
        }
    }

    /// Gives up on what waits; dropping it is up to the caller.
    pub fn take(&mut self) -> Self {
        let empty = match self {
            Self::None => Self::None,
            Self::Stream(_) => Self::Stream(WriteQueue::default()),
            Self::Datagrams(_) => Self::Datagrams(DatagramQueue::default()),
        };
        std::mem::replace(self, empty)
    }

    /// The queue of a stream; None for the others.
    pub fn stream(&mut self) -> Option<&mut WriteQueue<Piece>> {
        match self {
            Self::Stream(queue) => Some(queue),
            _ => None,
        }
    }

    /// The queue of a datagram socket; None for the others.
    pub fn datagrams(&mut self) -> Option<&mut DatagramQueue> {
        match self {
            Self::Datagrams(queue) => Some(queue),
            _ => None,
        }
    }

    /// Sends as much of a stream's queue as `send` takes. The pieces that are sent are for the caller to drop.
    pub fn send(&mut self, send: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, Errno>) -> Result<Vec<Piece>, Errno> {
        let Some(queue) = self.stream() else { return Ok(Vec::new()) };
        let slices = queue.slices();
        let sent = send(&slices)?;
        drop(slices);
        Ok(queue.advance(sent))
    }
}

/// True for what asyncio takes as data: bytes, bytearray and memoryview.
pub fn is_bytes_like(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyBytes>()
        || object.is_instance_of::<PyByteArray>()
        || object.is_instance_of::<PyMemoryView>()
}

/// The data of one call of `write`.
pub enum Data<'a, 'py> {
    Bytes(&'a Bound<'py, PyBytes>),
    View(&'a Bound<'py, PyAny>, View<'py>),
}

impl<'a, 'py> Data<'a, 'py> {
    /// # Errors
    /// TypeError in asyncio's words: neither bytes nor bytearray nor memoryview. BufferError: a view that is not
    /// contiguous.
    pub fn new(object: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes));
        }
        Self::check(object)?;
        Ok(Self::View(object, View::read(object)?))
    }

    /// # Errors
    /// TypeError in asyncio's words: neither bytes nor bytearray nor memoryview.
    pub fn check(object: &Bound<'_, PyAny>) -> PyResult<()> {
        if is_bytes_like(object) {
            return Ok(());
        }
        let name = object.get_type().name()?.repr()?;
        Err(PyTypeError::new_err(format!("data argument must be a bytes-like object, not {name}")))
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::View(_, view) => view.bytes(),
        }
    }

    /// The piece that is to wait, from `from` on. The small rest of something large is copied: it must not keep all of
    /// that in memory.
    pub fn piece(&self, from: usize) -> Piece {
        let rest = &self.bytes()[from..];
        if rest.len() <= from / 3 {
            return Piece::Copied(rest.into());
        }
        match self {
            Self::Bytes(bytes) => Piece::Pinned(Pinned::bytes(bytes, from)),
            Self::View(object, view) => object
                .cast::<PyMemoryView>()
                .ok()
                .and_then(|memory| Pinned::view(memory, view, from))
                .map_or_else(|| Piece::Copied(view.bytes()[from..].into()), Piece::Pinned),
        }
    }
}
