//! The names of CPython's C interface that are not public. They are looked up when they are needed, so that the absence
//! of one costs no more than its use.
//!
//! Only names that are documented are linked (`_PyBytes_Resize`, in spite of its name), and those that PyO3 itself
//! cannot do without. Two things that we rely on cannot be looked up, as they have no name that could be missing: the
//! place of `func_dict` in `PyFunctionObject`, which PyO3 takes from the headers of each version (`plain_code`), and
//! that the collector finds one object in a context that nobody is in, its map (`have_same_variables`). Tests check
//! both.

use super::private_name::Name;
use everloop_stacks::Symbols;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{CStr, CString, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

static RUNTIME: Name = Name::new(
    "_PyRuntime",
    "where the GIL is: a thread that waits there is not blocked; and where the stacks of all threads begin",
    "rescue cannot tell a thread that waits for the GIL from one that is blocked by what the kernel says, and comes \
     later; and no stack can be read while C code holds the GIL",
);

const ENDED: &str = "a daemon thread that is in a step when the program ends may crash it";
pub static IS_FINALIZING: Name =
    Name::new("_Py_IsFinalizing", "whether the interpreter is ending, up to CPython 3.12", ENDED).until((3, 12));
pub static CLEANUP_PUSH: Name =
    Name::new("_pthread_cleanup_push", "of glibc: a thread that the interpreter ends sleeps on instead", ENDED);
pub static CLEANUP_POP: Name = Name::new("_pthread_cleanup_pop", "of glibc: the same", ENDED);

pub static ALL: [&Name; 4] = [&RUNTIME, &IS_FINALIZING, &CLEANUP_PUSH, &CLEANUP_POP];

/// The address of a symbol that the interpreter exports; None: it does not, which is told.
fn look_up(py: Python<'_>, name: &Name) -> Option<NonNull<c_void>> {
    let symbol = CString::new(name.attribute(py).to_string()).ok()?;
    // SAFETY: looks for a name among the libraries that are loaded, the interpreter among them.
    let address = NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) });
    if address.is_none() {
        name.tell_loss(py);
    }
    address
}

/// The address of a symbol, for a thread that cannot tell anybody that there is none: see [`tell_unprotected`].
pub fn find(symbol: &CStr) -> Option<*mut c_void> {
    // SAFETY: as above.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Tells if threads of an ending interpreter cannot be protected (ended.rs).
pub fn tell_unprotected(py: Python<'_>) {
    if cfg!(all(target_os = "linux", target_env = "gnu")) && py.version_info() < (3, 14) {
        for name in [&IS_FINALIZING, &CLEANUP_PUSH, &CLEANUP_POP] {
            if name.is_expected(py) {
                look_up(py, name);
            }
        }
    }
}

/// The address of `_PyRuntime`. Looked up once, when rescue is switched on or a loop is watched for the first time.
static RUNTIME_ADDRESS: OnceLock<Option<usize>> = OnceLock::new();

/// Looks for what helps rescue. What is missing is told.
pub fn prepare_rescue(py: Python<'_>) {
    if RUNTIME_ADDRESS.get().is_none() {
        // Not inside `get_or_init`: to tell a loss runs Python code. A thread that comes second finds the same.
        _ = RUNTIME_ADDRESS.set(look_up(py, &RUNTIME).map(|runtime| runtime.addr().get()));
    }
}

/// The address of `_PyRuntime`; None: neither has happened, or nobody knows.
pub fn runtime() -> Option<usize> {
    RUNTIME_ADDRESS.get().copied().flatten()
}

/// Where reading the interpreter's memory begins. None: there is no `_PyRuntime`, which is told.
pub fn symbols(py: Python<'_>) -> Option<Symbols> {
    prepare_rescue(py);
    let debug = py.import("sys").and_then(|sys| sys.hasattr("gettotalrefcount")).unwrap_or(true);
    Some(Symbols {
        runtime: runtime()?,
        code_type: (&raw const ffi::PyCode_Type).addr(),
        // SAFETY: a constant of the interpreter's.
        version: unsafe { ffi::Py_Version as u32 },
        debug,
    })
}

/// The version of an object's class: another one after each change of it or of its bases. 0: it has none at this
/// moment, and gets one when an attribute of it is looked up.
///
/// A field of every class (`tp_version_tag`), known for CPython 3.12 to 3.15, that PyO3 has a place for too. If another
/// version stopped counting in it, a `time` that is patched on a class while its loops run would be heeded late.
#[inline]
pub fn class_version(object: &Bound<'_, PyAny>) -> u32 {
    // SAFETY: a live object has a class, and the GIL keeps others from changing it.
    unsafe { (*object.get_type_ptr()).tp_version_tag }
}
