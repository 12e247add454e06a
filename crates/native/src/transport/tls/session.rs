//! The `ssl.SSLObject` of a connection between its two `ssl.MemoryBIO`s: bytes in, plain text out, and the reverse.
//!
//! When `ssl` waits for bytes it raises `SSLWantReadError`: here that is no error but an answer. It costs microseconds
//! to raise, so OpenSSL is not asked when it is sure to answer that way: see [`Framing`].

use crate::ffi::{GilCell, Window, name};
use crate::private;
use crate::this_thread::no_rescue;
use everloop_core::tls_framing::Framing;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView, PySlice, PyType};
use pyo3::{PyTraverseError, PyVisit};

/// The number of bytes of plain text that one record can hold.
pub const RECORD: usize = 16 * 1024;

/// The result of a read.
#[derive(Default)]
pub struct Plain {
    pub bytes: Option<Py<PyBytes>>,
    /// True if the peer has sent its close_notify: nothing will follow.
    pub closed: bool,
}

struct Calls {
    /// The `ssl.SSLObject`, which users see.
    object: Py<PyAny>,
    /// The object that reads and writes: the `_ssl._SSLSocket` within, if the class is `ssl`'s own.
    direct: Py<PyAny>,
    /// True if `direct` is the object within.
    is_direct: bool,
    /// OpenSSL writes to it, and we read from it.
    outgoing: Py<PyAny>,
    /// True if OpenSSL may hold text that did not fit in a buffer.
    holds: bool,
    framing: Framing,
}

/// One connection's cryptography.
pub struct Session {
    calls: GilCell<Calls>,
    /// We write to it, and OpenSSL reads from it.
    incoming: Py<PyAny>,
}

impl Session {
    pub fn new(context: &Bound<'_, PyAny>, server_side: bool, server_hostname: Option<&str>) -> PyResult<Self> {
        static BIO: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = context.py();
        let bio = BIO.import(py, "ssl", "MemoryBIO")?;
        let (incoming, outgoing) = (bio.call0()?, bio.call0()?);
        let options = pyo3::types::PyDict::new(py);
        options.set_item("server_side", server_side)?;
        options.set_item("server_hostname", server_hostname)?;
        let object = context.call_method("wrap_bio", (&incoming, &outgoing), Some(&options))?;
        Ok(Self { calls: GilCell::new(Calls::new(&object, outgoing)?), incoming: incoming.unbind() })
    }

    /// The `ssl.SSLObject`.
    pub fn object(&self, py: Python<'_>) -> Py<PyAny> {
        self.calls.with(py, |calls| calls.object.clone_ref(py))
    }

    pub fn outgoing(&self, py: Python<'_>) -> Py<PyAny> {
        self.calls.with(py, |calls| calls.outgoing.clone_ref(py))
    }

    /// The object for received bytes, for somebody who may put some there.
    pub fn incoming(&self, py: Python<'_>) -> Py<PyAny> {
        self.calls.with(py, |calls| calls.framing.lose());
        self.incoming.clone_ref(py)
    }

    /// Puts others in the place of the two.
    pub fn replace(&self, object: &Bound<'_, PyAny>, outgoing: Bound<'_, PyAny>) -> PyResult<()> {
        let calls = Calls::new(object, outgoing)?;
        let before = self.calls.with(object.py(), |now| std::mem::replace(now, calls));
        drop(before);
        Ok(())
    }

    /// Takes the first bytes of the window, which have arrived.
    pub fn feed(&self, py: Python<'_>, window: &Py<Window>, count: usize) -> PyResult<()> {
        let received = window.get();
        received.show(py, 0..count);
        let mut framing = self.calls.with(py, |calls| std::mem::take(&mut calls.framing));
        received.look(py, |bytes| framing.feed(bytes));
        self.calls.with(py, |calls| calls.framing = framing);
        self.incoming.bind(py).call_method1(name!(py, "write"), (window,))?;
        Ok(())
    }

    /// The number of bytes that have arrived and are not decrypted yet.
    pub fn incoming_pending(&self, py: Python<'_>) -> PyResult<usize> {
        self.incoming.bind(py).getattr(name!(py, "pending"))?.extract()
    }

    /// The number of bytes that are to be sent.
    pub fn outgoing_pending(&self, py: Python<'_>) -> PyResult<usize> {
        self.outgoing(py).bind(py).getattr(name!(py, "pending"))?.extract()
    }

    /// The bytes that are to be sent, often none.
    pub fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.outgoing(py).bind(py).call_method0(name!(py, "read"))
    }

    /// Goes on with the handshake. None: the peer's turn.
    pub fn handshake(&self, py: Python<'_>) -> PyResult<Option<()>> {
        let object = self.object(py);
        let result = no_rescue(|| object.bind(py).call_method0(name!(py, "do_handshake")));
        unless_again(py, result).map(|done| done.map(drop))
    }

    /// Says close_notify and waits for the peer's. None: the peer's turn.
    pub fn unwrap(&self, py: Python<'_>) -> PyResult<Option<()>> {
        let object = self.object(py);
        let result = no_rescue(|| object.bind(py).call_method0(name!(py, "unwrap")));
        unless_again(py, result).map(|done| done.map(drop))
    }

    /// Encrypts the beginning of `data` and says how much of it. None: not now.
    pub fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        let py = data.py();
        let direct = self.direct(py);
        let result = no_rescue(|| direct.bind(py).call_method1(name!(py, "write"), (data,)));
        unless_again(py, result)?.map(|count| count.extract()).transpose()
    }

    /// All that can be read now, as one bytes object.
    pub fn read(&self, py: Python<'_>) -> PyResult<Plain> {
        let mut pieces = Pieces::None;
        let mut closed = false;
        loop {
            let room = self.readable(py)?;
            if room == 0 {
                break;
            }
            let read = if room > 2 * RECORD { self.read_records(py, room)? } else { self.read_record(py, room)? };
            closed = read.closed;
            match read.bytes {
                Some(bytes) => pieces.push(bytes),
                None => break,
            }
            if closed {
                break;
            }
        }
        Ok(Plain { bytes: pieces.join(py)?, closed })
    }

    /// Fills a buffer of the user's as far as it goes: how many bytes, and whether the peer has closed.
    pub fn read_into(&self, buffer: &Bound<'_, PyAny>, size: usize) -> PyResult<(usize, bool)> {
        let py = buffer.py();
        let (mut count, mut closed) = self.read_once(py, size, buffer)?;
        if count == 0 || count >= size || self.readable(py)? == 0 {
            return Ok((count, closed));
        }
        let view = PyMemoryView::from(buffer)?.call_method1(name!(py, "cast"), ("B",))?;
        while count < size && self.readable(py)? > 0 {
            let rest = view.get_item(PySlice::new(py, count as isize, size as isize, 1))?;
            let (more, end) = self.read_once(py, size - count, &rest)?;
            count += more;
            closed = end;
            if more == 0 {
                break;
            }
        }
        Ok((count, closed))
    }

    /// Returns the room that a read needs to get everything. 0: there is nothing to read.
    pub fn readable(&self, py: Python<'_>) -> PyResult<usize> {
        let (text, holds) =
            self.calls.with(py, |calls| (calls.framing.text().filter(|_| calls.is_direct), calls.holds));
        let held = if holds { RECORD } else { 0 };
        match text {
            Some(text) => Ok(text + held),
            None => Ok(self.incoming_pending(py)? + RECORD),
        }
    }

    /// One record, most likely, into a bytes object that OpenSSL's caller makes.
    fn read_record(&self, py: Python<'_>, room: usize) -> PyResult<Plain> {
        let direct = self.direct(py);
        let result = no_rescue(|| direct.bind(py).call_method1(name!(py, "read"), (room,)));
        let Some(bytes) = unless_again(py, result)? else {
            self.note_empty(py);
            return Ok(Plain::default());
        };
        let bytes = bytes.cast_into::<PyBytes>()?;
        let count = bytes.as_bytes().len();
        self.note_read(py, count, room);
        Ok(Plain { closed: count == 0, bytes: (count > 0).then(|| bytes.unbind()) })
    }

    /// Many records into one bytes object.
    fn read_records(&self, py: Python<'_>, room: usize) -> PyResult<Plain> {
        let window = Py::new(py, Window::draft(py, room)?)?;
        let (mut filled, mut closed) = (0, false);
        while filled < room {
            window.get().show(py, filled..room);
            let (count, end) = self.read_once(py, room - filled, window.bind(py).as_any())?;
            filled += count;
            closed = end;
            if count == 0 || self.readable(py)? == 0 {
                break;
            }
        }
        let bytes = if filled > 0 { Some(window.get().finish(py, filled)?) } else { None };
        Ok(Plain { bytes, closed })
    }

    /// One read into a buffer: how many bytes, and whether the peer has closed.
    fn read_once(&self, py: Python<'_>, size: usize, buffer: &Bound<'_, PyAny>) -> PyResult<(usize, bool)> {
        let direct = self.direct(py);
        let result = no_rescue(|| direct.bind(py).call_method1(name!(py, "read"), (size, buffer)));
        let Some(count) = unless_again(py, result)? else {
            self.note_empty(py);
            return Ok((0, false));
        };
        let count: usize = count.extract()?;
        self.note_read(py, count, size);
        Ok((count, count == 0))
    }

    /// Notes a read of `count` bytes with room for `room`. OpenSSL reads one record at a time.
    fn note_read(&self, py: Python<'_>, count: usize, room: usize) {
        self.calls.with(py, |calls| {
            calls.holds = count >= room;
            if !calls.holds {
                calls.framing.read(count);
            }
        });
    }

    fn note_empty(&self, py: Python<'_>) {
        self.calls.with(py, |calls| {
            calls.holds = false;
            calls.framing.read_all();
        });
    }

    fn direct(&self, py: Python<'_>) -> Py<PyAny> {
        self.calls.with(py, |calls| calls.direct.clone_ref(py))
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.incoming)?;
        self.calls.traverse(|calls| {
            visit.call(&calls.object)?;
            visit.call(&calls.direct)?;
            visit.call(&calls.outgoing)
        })
    }
}

impl Calls {
    fn new(object: &Bound<'_, PyAny>, outgoing: Bound<'_, PyAny>) -> PyResult<Self> {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        // `SSLContext.sslobject_class` can be the user's, whose read and write may do more.
        let is_ssls = object.get_type().is(CLASS.import(object.py(), "ssl", "SSLObject")?);
        let direct = if is_ssls { private::SSL_OBJECT.of(object)? } else { None };
        let is_direct = direct.is_some();
        let direct = direct.unwrap_or_else(|| object.clone());
        Ok(Self {
            object: object.clone().unbind(),
            direct: direct.unbind(),
            is_direct,
            outgoing: outgoing.unbind(),
            holds: false,
            framing: Framing::default(),
        })
    }
}

/// Bytes objects that become one.
enum Pieces {
    None,
    One(Py<PyBytes>),
    Many(Vec<Py<PyBytes>>),
}

impl Pieces {
    fn push(&mut self, bytes: Py<PyBytes>) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(bytes),
            Self::One(first) => Self::Many(vec![first, bytes]),
            Self::Many(mut all) => {
                all.push(bytes);
                Self::Many(all)
            }
        };
    }

    fn join(self, py: Python<'_>) -> PyResult<Option<Py<PyBytes>>> {
        match self {
            Self::None => Ok(None),
            Self::One(bytes) => Ok(Some(bytes)),
            Self::Many(all) => {
                let joined = PyBytes::new(py, b"").call_method1(name!(py, "join"), (all,))?;
                Ok(Some(joined.cast_into::<PyBytes>()?.unbind()))
            }
        }
    }
}

/// None if the error says that bytes are missing.
fn unless_again<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            if is_again(&error, py)? {
                Ok(None)
            } else {
                Err(error)
            }
        }
    }
}

#[cold]
fn is_again(error: &PyErr, py: Python<'_>) -> PyResult<bool> {
    static WANT_READ: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SYSCALL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(error.is_instance(py, WANT_READ.import(py, "ssl", "SSLWantReadError")?)
        || error.is_instance(py, SYSCALL.import(py, "ssl", "SSLSyscallError")?))
}
