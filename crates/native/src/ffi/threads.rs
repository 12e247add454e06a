//! Threads of the interpreter, as others see them, and the handle that each runs.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyFrame;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// `threading.get_ident()` of this thread.
pub fn thread_ident() -> u64 {
    // SAFETY: no preconditions.
    unsafe { ffi::PyThread_get_thread_ident() as u64 }
}

/// The interpreter's state of one thread, for others to look at.
#[derive(Debug)]
pub struct ThreadState(*mut ffi::PyThreadState);

// SAFETY: the pointer is followed only by `top_frame`, which has its own conditions.
unsafe impl Send for ThreadState {}
// SAFETY: as above.
unsafe impl Sync for ThreadState {}

impl ThreadState {
    /// The state of the calling thread.
    pub fn current(_py: Python<'_>) -> Self {
        // SAFETY: attached, so there is one.
        Self(unsafe { ffi::PyThreadState_Get() })
    }

    /// The frame that the thread runs or is blocked in. Only for a thread that still exists: a `Member` is taken off
    /// its loop's list by its own thread, under the GIL, before that thread ends.
    pub fn top_frame<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyFrame>> {
        // SAFETY: the thread exists (see above), so its state does; the GIL keeps it from changing its frames. The
        // result is a new reference or NULL without an error.
        unsafe {
            let frame = ffi::PyThreadState_GetFrame(self.0);
            Bound::from_owned_ptr_or_opt(py, frame.cast()).map(|frame| frame.cast_into_unchecked())
        }
    }
}

/// The handle that a thread runs: written by the thread that runs it, read by others under the GIL.
#[derive(Debug, Default)]
pub struct CurrentHandle(AtomicPtr<ffi::PyObject>);

impl CurrentHandle {
    /// Until what is returned is dropped, this handle is being run.
    #[inline]
    pub fn hold<'a, T>(&'a self, handle: &'a Py<T>) -> HeldHandle<'a> {
        self.0.store(handle.as_ptr(), Ordering::Relaxed);
        HeldHandle(self)
    }

    /// The handle, if one is being run.
    pub fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let object = self.0.load(Ordering::Relaxed);
        // SAFETY: `hold` is called with the GIL held, and what it returns borrows the handle until it clears this, also
        // under the GIL: as we hold it now, a pointer that is set is alive.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, object).map(Bound::unbind) }
    }
}

/// A handle that is being run.
pub struct HeldHandle<'a>(&'a CurrentHandle);

impl Drop for HeldHandle<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.0.store(ptr::null_mut(), Ordering::Relaxed);
    }
}
