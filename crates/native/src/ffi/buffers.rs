//! Memory that Python and the kernel share: bytes that are received and sent without a copy.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use rustix::net::SocketAddrAny;
use rustix::net::addr::SocketAddrStorage;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, RawFd};
use std::{ptr, slice};

unsafe extern "C" {
    /// CPython exports this function, but it is private in pyo3-ffi.
    pub(super) fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

/// A descriptor that somebody else owns. Whoever calls keeps that owner, or else asks the kernel about a number that
/// names no open file, which answers EBADF.
pub fn borrow_fd(fd: RawFd) -> BorrowedFd<'static> {
    let fd = if fd < 0 { RawFd::MAX } else { fd };
    // SAFETY: not -1 (see above); it is used for system calls only, which check it.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// An address as the kernel wrote it: the family, and what the family has.
pub fn address_bytes(address: &SocketAddrAny) -> &[u8] {
    let written = (address.addr_len() as usize).min(size_of::<SocketAddrStorage>());
    // SAFETY: it points to the storage inside `address`, of which so many bytes are written.
    unsafe { slice::from_raw_parts(address.as_ptr().cast(), written) }
}

/// New bytes of at most `capacity`, written by `fill`, which says how many there are. `fill` must run no Python code.
pub fn fill_bytes<'py, E>(
    py: Python<'py>,
    capacity: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, E>,
) -> PyResult<Result<Bound<'py, PyBytes>, E>> {
    // SAFETY: a new bytes object of `capacity` uninitialised bytes, which nobody else knows; `fill` sees them as such,
    // and exactly those that it has written are kept. `_PyBytes_Resize` takes the only reference and gives another, or
    // none with an error set.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(ptr::null(), capacity as ffi::Py_ssize_t);
        let bytes = Bound::from_owned_ptr_or_err(py, object)?;
        let memory = slice::from_raw_parts_mut(ffi::PyBytes_AsString(object).cast::<MaybeUninit<u8>>(), capacity);
        let filled = match fill(memory) {
            Ok(filled) => filled.min(capacity),
            Err(error) => return Ok(Err(error)),
        };
        if filled == capacity {
            return Ok(Ok(bytes.cast_into_unchecked()));
        }
        let mut object = bytes.into_ptr();
        if _PyBytes_Resize(&raw mut object, filled as ffi::Py_ssize_t) != 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Ok(Bound::from_owned_ptr(py, object).cast_into_unchecked()))
    }
}

/// The contiguous memory of a bytes-like object, whatever its items are. The object cannot resize while this exists.
pub struct View<'py> {
    py: Python<'py>,
    raw: Box<ffi::Py_buffer>,
}

impl<'py> View<'py> {
    /// To be read.
    ///
    /// # Errors
    /// TypeError: not bytes-like. BufferError: not contiguous.
    pub fn read(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::new(object, ffi::PyBUF_SIMPLE)
    }

    /// To be written to.
    ///
    /// # Errors
    /// TypeError: not bytes-like. BufferError: not contiguous, or read-only.
    pub fn write(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::new(object, ffi::PyBUF_WRITABLE)
    }

    fn new(object: &Bound<'py, PyAny>, flags: c_int) -> PyResult<Self> {
        let mut raw = Box::new(ffi::Py_buffer::new());
        // SAFETY: a live object and a place for the result, which does not move until it is released.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *raw, flags) } != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(Self { py: object.py(), raw })
    }

    /// The memory. No Python code may run while it is looked at: that could change it.
    pub fn bytes(&self) -> &[u8] {
        if self.raw.len == 0 {
            return &[];
        }
        // SAFETY: a simple buffer is `len` contiguous bytes, exported until we release it.
        unsafe { slice::from_raw_parts(self.raw.buf.cast(), self.raw.len as usize) }
    }

    /// The memory, for the kernel to write to. As [`bytes`](Self::bytes).
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if self.raw.len == 0 || self.raw.readonly != 0 {
            return &mut [];
        }
        // SAFETY: as above, and writable. No Python code runs while it is used, so nobody else looks.
        unsafe { slice::from_raw_parts_mut(self.raw.buf.cast(), self.raw.len as usize) }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let _attached = self.py;
        // SAFETY: obtained in `new`, released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.raw) };
    }
}

/// Immutable memory of a bytes object that is kept alive.
pub struct Pinned {
    owner: Py<PyBytes>,
    memory: *const [u8],
}

// SAFETY: bytes do not change, and `owner` may be dropped anywhere, as every `Py`.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// The bytes from `from` on.
    pub fn bytes(bytes: &Bound<'_, PyBytes>, from: usize) -> Self {
        Self { memory: &raw const bytes.as_bytes()[from..], owner: bytes.clone().unbind() }
    }

    /// The bytes that a view shows from `from` on. None unless it shows a bytes object: the memory of others may
    /// change.
    pub fn view(object: &Bound<'_, PyMemoryView>, view: &View<'_>, from: usize) -> Option<Self> {
        let owner = object.getattr("obj").ok()?.cast_into_exact::<PyBytes>().ok()?;
        Some(Self { owner: owner.unbind(), memory: &raw const view.bytes()[from..] })
    }
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        let _alive = &self.owner;
        // SAFETY: it points into the memory of `owner`, which is alive and immutable.
        unsafe { &*self.memory }
    }
}
