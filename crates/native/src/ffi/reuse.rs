//! Objects that are used again: those of classes of which programs make and drop millions a second.
//!
//! What PyO3 does for one (find the class, call its base's `__new__`, allocate, enter the object into the collector's
//! list; and the same backwards) takes longer than the rest of a `call_soon`. PyO3's own `freelist` is of no use: the
//! collector does not know objects that come from it (PyO3 0.30).

use super::cells::GilCell;
use pyo3::ffi;
use pyo3::prelude::*;
use std::sync::OnceLock;

/// A class whose objects are used again.
pub trait Reuse: pyo3::PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync {
    /// The objects that are free.
    fn free() -> &'static Free<Self>;

    /// Drops all that the object refers to. What is dropped may run any code; the object itself must not be referred to
    /// any more.
    fn strip(slf: &Bound<'_, Self>);
}

/// So many objects are kept at most: as many as another thread posts while it has the GIL, which it is asked for after
/// five milliseconds. They take four megabytes; to have the system give the memory anew each time costs a third more.
const MOST: usize = 32_768;

/// The objects of one class that are free: alive, stripped, and not known to the collector.
pub struct Free<T: 'static> {
    objects: GilCell<Vec<Py<T>>>,
    /// The deallocator that PyO3 gave the class.
    original: OnceLock<ffi::destructor>,
}

impl<T: Reuse> Free<T> {
    pub const fn new() -> Self {
        Self { objects: GilCell::new(Vec::new()), original: OnceLock::new() }
    }
}

/// An object that was used before, with new contents, which `fill` puts there and runs no Python code. Without such an
/// object it gives the contents back.
#[inline]
pub fn reuse<T: Reuse, C>(py: Python<'_>, contents: C, fill: impl FnOnce(&Bound<'_, T>, C)) -> Result<Py<T>, C> {
    let Some(object) = T::free().objects.with(py, Vec::pop) else { return Err(contents) };
    fill(object.bind(py), contents);
    // SAFETY: a live object of a class that the collector knows, with its contents in place; `deallocator` has taken it
    // out of the collector's list.
    unsafe { ffi::PyObject_GC_Track(object.as_ptr().cast()) };
    Ok(object)
}

/// To be called once per class, before there is an instance.
pub fn install_reuse<T: Reuse>(py: Python<'_>) {
    let class = T::type_object_raw(py);
    // SAFETY: a live heap type with no instances yet; the slot gets a function of the right signature, which uses what
    // it takes the place of.
    unsafe {
        if let Some(original) = (*class).tp_dealloc
            && T::free().original.set(original).is_ok()
        {
            (*class).tp_dealloc = Some(deallocator::<T>);
        }
    }
}

unsafe extern "C" fn deallocator<T: Reuse>(object: *mut ffi::PyObject) {
    // SAFETY: called with the GIL held for an instance whose reference count has come to nought. One of a subclass, or
    // one too many, goes the way that PyO3 knows. Any other one is taken out of the collector's list, loses its weak
    // references while its count is still nought, as those must, and then what it refers to. Then it is a new object,
    // with one reference; `PyObject_Init` takes a reference to the class, which the object has already.
    unsafe {
        let py = Python::assume_attached();
        let class = ffi::Py_TYPE(object);
        let free = T::free();
        if class != T::type_object_raw(py) || free.objects.with(py, |objects| objects.len() >= MOST) {
            if let Some(original) = free.original.get() {
                original(object);
            }
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        let weak = object.byte_offset((*class).tp_weaklistoffset).cast::<*mut ffi::PyObject>();
        if (*class).tp_weaklistoffset > 0 && !(*weak).is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        T::strip(&Borrowed::from_ptr(py, object).cast_unchecked::<T>());
        ffi::PyObject_Init(object, class);
        ffi::Py_DECREF(class.cast());
        let object = Bound::from_owned_ptr(py, object).cast_into_unchecked::<T>().unbind();
        free.objects.with(py, |objects| objects.push(object));
    }
}
