//! A hook where the interpreter asks for the hash of an object: of a loop, by which it looks up the loop's current
//! task.

use super::ended::stay_when_ended;
use super::panics::panicked;
use pyo3::ffi;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

type Hook = fn(&Bound<'_, PyAny>) -> PyResult<()>;

/// The hook of all classes. Set once, at the first use.
static HOOK: OnceLock<Hook> = OnceLock::new();

/// The hash of an object whose class has none of its own.
fn hash_of_any() -> Option<ffi::hashfunc> {
    // SAFETY: a static type of the interpreter, whose slots do not change.
    unsafe { ffi::PyBaseObject_Type.tp_hash }
}

/// Has `hook` called from now on whenever an instance of this object's class is hashed. It is the same hook each time.
/// A class with a hash of its own is left as it is.
///
/// A method `__hash__` would do the same, and cost each step of each task a tenth of a microsecond: this costs nothing
/// until it is called, and a few nanoseconds then.
pub fn hook_hashes(object: &Bound<'_, PyAny>, hook: Hook) {
    let class = object.get_type_ptr();
    // SAFETY: the class of a live object, and the GIL is held, so nobody else looks at its slots. The function that is
    // put there has the right signature, and gives the same hash as the one that it takes the place of.
    unsafe {
        let is_plain = match ((*class).tp_hash, hash_of_any()) {
            (Some(own), Some(plain)) => own as usize == plain as usize,
            _ => false,
        };
        if is_plain {
            HOOK.get_or_init(|| hook);
            (*class).tp_hash = Some(hooked_hash);
        }
    }
}

unsafe extern "C" fn hooked_hash(object: *mut ffi::PyObject) -> ffi::Py_hash_t {
    // SAFETY: the interpreter hashes a live object, with the GIL held. -1 says that an error is set.
    unsafe {
        let py = Python::assume_attached();
        stay_when_ended();
        let passed = catch_unwind(AssertUnwindSafe(|| {
            let object = Borrowed::from_ptr(py, object);
            HOOK.get().map_or(Ok(()), |hook| hook(&object))
        }));
        match passed {
            Ok(Ok(())) => hash_of_any().map_or(0, |hash| hash(object)),
            Ok(Err(error)) => {
                error.restore(py);
                -1
            }
            Err(_) => {
                panicked().restore(py);
                -1
            }
        }
    }
}
