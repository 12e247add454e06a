//! Memory that C code of other modules fills and reads, through the buffer protocol.

use super::buffers::_PyBytes_Resize;
use super::cells::GilCell;
use super::objects::is_unshared;
use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::ffi::c_int;
use std::ptr;

/// A piece of memory with the buffer protocol. Others see the part that was last shown, and they may write to it.
#[pyclass(frozen, module = "everloop._native")]
pub struct Window(GilCell<Pane>);

struct Pane {
    memory: Memory,
    /// The part that the next to ask for the buffer sees.
    shown: std::ops::Range<usize>,
    /// The number of buffers that are given out now.
    exports: usize,
}

enum Memory {
    Own(Box<[u8]>),
    /// A bytes object in the making: nobody else knows it.
    Bytes(Py<PyBytes>),
    /// Finished, and handed out.
    Gone,
}

impl Memory {
    fn parts(&mut self) -> (*mut u8, usize) {
        match self {
            Self::Own(memory) => (memory.as_mut_ptr(), memory.len()),
            Self::Bytes(bytes) => {
                // SAFETY: a live bytes object, reached under the GIL (through `GilCell::with`).
                unsafe {
                    let bytes = bytes.as_ptr();
                    (ffi::PyBytes_AS_STRING(bytes).cast_mut().cast(), ffi::Py_SIZE(bytes) as usize)
                }
            }
            Self::Gone => (ptr::NonNull::dangling().as_ptr(), 0),
        }
    }
}

impl Window {
    /// Memory of its own, all zeros and all shown. Pages that nobody writes to cost nothing.
    pub fn new(size: usize) -> Self {
        Self(GilCell::new(Pane { memory: Memory::Own(vec![0; size].into_boxed_slice()), shown: 0..size, exports: 0 }))
    }

    /// A bytes object of up to `size` bytes, to be filled through the buffer protocol: see [`finish`](Self::finish).
    pub fn draft(py: Python<'_>, size: usize) -> PyResult<Self> {
        // SAFETY: a new bytes object that nobody else knows, or NULL with an error set (also of a size out of range).
        // What it holds is what malloc left there; nothing here looks at it, C code fills it, and the rest is cut off.
        let bytes = unsafe {
            let length = ffi::Py_ssize_t::try_from(size).unwrap_or(-1);
            let bytes = Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(ptr::null(), length))?;
            bytes.cast_into_unchecked::<PyBytes>().unbind()
        };
        Ok(Self(GilCell::new(Pane { memory: Memory::Bytes(bytes), shown: 0..size, exports: 0 })))
    }

    /// Shows a part to those who ask for the buffer from now on.
    pub fn show(&self, py: Python<'_>, part: std::ops::Range<usize>) {
        self.0.with(py, |pane| {
            let size = pane.memory.parts().1;
            let end = part.end.min(size);
            pane.shown = part.start.min(end)..end;
        });
    }

    /// Looks at the part that is shown. `f` must run no Python code.
    pub fn look<R>(&self, py: Python<'_>, f: impl FnOnce(&[u8]) -> R) -> R {
        self.0.with(py, |pane| match &pane.memory {
            Memory::Own(memory) => f(&memory[pane.shown.clone()]),
            // A draft is not all written yet.
            Memory::Bytes(_) | Memory::Gone => f(&[]),
        })
    }

    /// Has the whole of it written to, from the start. `f` must run no Python code.
    pub fn fill<R>(&self, py: Python<'_>, f: impl FnOnce(&mut [u8]) -> R) -> R {
        self.0.with(py, |pane| match &mut pane.memory {
            Memory::Own(memory) => f(memory),
            Memory::Bytes(_) | Memory::Gone => f(&mut []),
        })
    }

    /// The first `filled` bytes of a draft. Once.
    pub fn finish(&self, py: Python<'_>, filled: usize) -> PyResult<Py<PyBytes>> {
        let drafted = self.0.with(py, |pane| match &pane.memory {
            Memory::Bytes(_) if pane.exports == 0 => {
                pane.shown = 0..0;
                std::mem::replace(&mut pane.memory, Memory::Gone)
            }
            // Somebody kept the buffer: the bytes must not change under whoever gets them.
            Memory::Bytes(bytes) => Memory::Bytes(bytes.clone_ref(py)),
            Memory::Own(_) | Memory::Gone => Memory::Gone,
        });
        let Memory::Bytes(bytes) = drafted else {
            return Err(PySystemError::new_err("no bytes object is in the making here"));
        };
        if filled > bytes.bind(py).len()? {
            return Err(PySystemError::new_err("more was filled than there was room for"));
        }
        if !is_unshared(bytes.bind(py)) {
            return Ok(PyBytes::new(py, &bytes.as_bytes(py)[..filled]).unbind());
        }
        let mut object = bytes.into_ptr();
        // SAFETY: the only reference to a bytes object that was never handed out, nor hashed. On failure it is freed,
        // `object` is NULL and an error is set.
        unsafe {
            if _PyBytes_Resize(&raw mut object, filled as ffi::Py_ssize_t) != 0 {
                return Err(PyErr::fetch(py));
            }
            Ok(Bound::from_owned_ptr(py, object).cast_into_unchecked::<PyBytes>().unbind())
        }
    }
}

#[pymethods]
impl Window {
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let py = slf.py();
        let (start, length) = slf.get().0.with(py, |pane| {
            pane.exports += 1;
            let (memory, _) = pane.memory.parts();
            // SAFETY: `shown` lies within the memory.
            (unsafe { memory.add(pane.shown.start) }, pane.shown.len())
        });
        // SAFETY: the interpreter hands us a buffer to be filled in. The memory neither moves nor goes while it is
        // exported: own memory lives as long as this object, which the view keeps alive, and a draft is not handed out
        // before all buffers are given back. This cannot fail, as the memory is writable.
        let failed = unsafe {
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start.cast(), length as ffi::Py_ssize_t, 0, flags) != 0
        };
        if failed {
            slf.get().0.with(py, |pane| pane.exports -= 1);
            return Err(PyErr::fetch(py));
        }
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, py: Python<'_>, _view: *mut ffi::Py_buffer) {
        self.0.with(py, |pane| pane.exports -= 1);
    }
}
