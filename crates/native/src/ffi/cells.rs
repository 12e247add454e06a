//! Data that the GIL protects: cells, objects that are made at the first use, and names.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::cell::UnsafeCell;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicBool, Ordering};

/// A value that whoever is attached may touch: the GIL is its lock.
#[derive(Default)]
pub struct GilCell<T> {
    value: UnsafeCell<T>,
    /// True while `with` is running, in builds with assertions.
    #[cfg(debug_assertions)]
    busy: AtomicBool,
}

// SAFETY: `with` needs a `Python` token, and in the interpreters that load this module one thread has one at a time.
unsafe impl<T: Send> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    pub const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            #[cfg(debug_assertions)]
            busy: AtomicBool::new(false),
        }
    }

    /// Runs `f` on the value. `f` must neither run Python code (dropping a reference can) nor come back here: it moves
    /// things in and out, the caller drops and calls afterwards.
    ///
    /// # Panics
    /// If `f` comes back here, or lets another thread come: in builds with assertions.
    #[inline]
    pub fn with<R>(&self, _py: Python<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        let _busy = Busy::of(&self.busy);
        // SAFETY: the GIL is held from here to the end of `f`, since `f` runs no Python code; and the closures in this
        // crate do not nest, so no second reference exists.
        f(unsafe { &mut *self.value.get() })
    }

    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// The value, for a garbage collector's traversal: it runs with the GIL held and outside of any `with`, because
    /// closures there allocate no Python object.
    pub fn traverse<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        #[cfg(debug_assertions)]
        let _busy = Busy::of(&self.busy);
        // SAFETY: see above.
        f(unsafe { &*self.value.get() })
    }
}

/// The time in which a [`GilCell`] is in use.
#[cfg(debug_assertions)]
struct Busy<'a>(&'a AtomicBool);

#[cfg(debug_assertions)]
impl<'a> Busy<'a> {
    fn of(busy: &'a AtomicBool) -> Self {
        assert!(!busy.swap(true, Ordering::Relaxed), "what the GIL protects is in use by its own caller");
        Self(busy)
    }
}

#[cfg(debug_assertions)]
impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// An object that is made at the first use, by two threads at most, and kept.
///
/// `PyOnceLock`, and with it `pyo3::intern!`, lets go of the GIL while it makes one. If another thread forks meanwhile,
/// the object stays half made in the child, and a thread that needs it there waits for ever. This happened to a thread
/// of the pool on its way to its first job.
pub struct Made<T>(GilCell<Option<Py<T>>>);

impl<T> Made<T> {
    pub const fn new() -> Self {
        Self(GilCell::new(None))
    }

    #[inline]
    pub fn get<'py>(
        &self,
        py: Python<'py>,
        make: impl FnOnce(Python<'py>) -> PyResult<Bound<'py, T>>,
    ) -> PyResult<Bound<'py, T>> {
        if let Some(made) = self.0.with(py, |made| made.as_ref().map(|object| object.clone_ref(py))) {
            return Ok(made.into_bound(py));
        }
        let object = make(py)?;
        self.replace(py, object.clone());
        Ok(object)
    }

    /// Puts another object in its place.
    pub fn replace(&self, py: Python<'_>, object: Bound<'_, T>) {
        let old = self.0.with(py, |made| made.replace(object.unbind()));
        drop(old);
    }

    /// Drops the object, which is made anew when it is needed next.
    pub fn forget(&self, py: Python<'_>) {
        let old = self.0.with(py, Option::take);
        drop(old);
    }

    #[inline]
    /// True if it is made, and this object.
    pub fn is(&self, py: Python<'_>, object: &Bound<'_, T>) -> bool {
        self.0.with(py, |made| made.as_ref().is_some_and(|made| made.is(object)))
    }
}

impl Made<PyDict> {
    /// The object that a module has by a name now: some programs change that. None if it has none.
    pub fn named<'py>(&self, module: &str, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.get(name.py(), |py| Ok(py.import(module)?.dict()))?.get_item(name)
    }
}

/// The name of an attribute or method, made at the first use.
macro_rules! name {
    ($py:expr, $text:literal) => {{
        static NAME: $crate::ffi::cells::Made<pyo3::types::PyString> = $crate::ffi::cells::Made::new();
        NAME.get($py, |py| Ok(pyo3::types::PyString::intern(py, $text))).expect("a name can always be made")
    }};
}
pub(crate) use name;
