//! Finalizers: a class can warn of an instance before that goes, as `__del__` does for classes written in Python.
//!
//! PyO3 knows only `Drop`, which comes too late to hand the object to anybody.

use super::ended::stay_when_ended;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// A class with a finalizer (PEP 442): called once, when nobody refers to an instance or the collector throws it away.
pub trait Finalize: pyo3::PyClass {
    fn finalize(slf: &Bound<'_, Self>);

    /// The place in which the class keeps the deallocator that PyO3 gave it.
    fn original() -> &'static OnceLock<ffi::destructor>;
}

/// To be called once per class, before there is an instance.
pub fn install_finalizer<C: Finalize>(class: &Bound<'_, PyType>) {
    let class = class.as_type_ptr();
    // SAFETY: a live heap type with no instances and no subtypes yet; both slots get functions of the right signature.
    // PyO3's deallocator does not call finalizers by itself, so ours does before it.
    unsafe {
        if let Some(original) = (*class).tp_dealloc
            && C::original().set(original).is_ok()
        {
            (*class).tp_finalize = Some(finalizer::<C>);
            (*class).tp_dealloc = Some(deallocator::<C>);
        }
    }
}

unsafe extern "C" fn finalizer<C: Finalize>(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter finalizes a live instance of the class, with the GIL held; an error that is set must stay
    // set.
    unsafe {
        let py = Python::assume_attached();
        stay_when_ended();
        let before = PyErr::take(py);
        let object = Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<C>();
        // A panic was printed already; there is nobody to tell.
        let _ = catch_unwind(AssertUnwindSafe(|| C::finalize(&object)));
        if let Some(error) = before {
            error.restore(py);
        }
    }
}

unsafe extern "C" fn deallocator<C: Finalize>(object: *mut ffi::PyObject) {
    // SAFETY: called for an instance whose reference count has come to nought, as the original expects it. The
    // finalizer may bring it back to life, and then it must not be freed.
    unsafe {
        if ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return;
        }
        if let Some(original) = C::original().get() {
            original(object);
        }
    }
}
