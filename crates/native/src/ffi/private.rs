//! The names of CPython's C interface that are not public. They are looked up when they are needed, so that the absence
//! of one costs no more than its use.
//!
//! Only names that are documented are linked (`_PyBytes_Resize`, in spite of its name), and those that PyO3 itself
//! cannot do without. Two things that we rely on cannot be looked up, as they have no name that could be missing: the
//! place of `func_dict` in `PyFunctionObject`, which PyO3 takes from the headers of each version (`plain_code`), and
//! that the collector finds one object in a context that nobody is in, its map (`have_same_variables`). Tests check
//! both.

use super::private_name::Name;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{CStr, CString, c_void};
use std::mem;
use std::ptr::NonNull;
use std::sync::OnceLock;

static RUNTIME: Name = Name::new(
    "_PyRuntime",
    "where the GIL is: a thread that waits there is not blocked",
    "rescue cannot tell a thread that waits for the GIL from one that is blocked by what the kernel says, and comes later",
);
const NO_RESCUE: &str = "blocked steps are reported, but not rescued";
static DEFAULT_EVALUATOR: Name =
    Name::new("_PyEval_EvalFrameDefault", "runs a frame that has passed the gate of rescue", NO_RESCUE);
static EVALUATOR: Name =
    Name::new("_PyInterpreterState_GetEvalFrameFunc", "who evaluates frames now (PEP 523)", NO_RESCUE);
static SET_EVALUATOR: Name = Name::new(
    "_PyInterpreterState_SetEvalFrameFunc",
    "has frames that begin pass the gate of rescue (PEP 523)",
    NO_RESCUE,
);

const ENDED: &str = "a daemon thread that is in a step when the program ends may crash it";
pub static IS_FINALIZING: Name =
    Name::new("_Py_IsFinalizing", "whether the interpreter is ending, up to CPython 3.12", ENDED).until((3, 12));
pub static CLEANUP_PUSH: Name =
    Name::new("_pthread_cleanup_push", "of glibc: a thread that the interpreter ends sleeps on instead", ENDED);
pub static CLEANUP_POP: Name = Name::new("_pthread_cleanup_pop", "of glibc: the same", ENDED);

pub static ALL: [&Name; 7] =
    [&RUNTIME, &DEFAULT_EVALUATOR, &EVALUATOR, &SET_EVALUATOR, &IS_FINALIZING, &CLEANUP_PUSH, &CLEANUP_POP];

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

/// The functions that rescue needs. Looked up once, when rescue is switched on for the first time.
pub struct ForRescue {
    pub evaluators: Evaluators,
    /// The address of `_PyRuntime`.
    pub runtime: Option<usize>,
}

/// CPython's hooks for who evaluates frames.
pub struct Evaluators {
    pub default: ffi::_PyFrameEvalFunction,
    pub current: CurrentEvaluator,
    pub set: SetEvaluator,
}

type CurrentEvaluator = unsafe extern "C" fn(*mut ffi::PyInterpreterState) -> ffi::_PyFrameEvalFunction;
type SetEvaluator = unsafe extern "C" fn(*mut ffi::PyInterpreterState, Option<ffi::_PyFrameEvalFunction>);

static FOR_RESCUE: OnceLock<Option<ForRescue>> = OnceLock::new();

/// Looks for what rescue needs. None: something is missing, which is told.
pub fn prepare_rescue(py: Python<'_>) -> Option<&'static ForRescue> {
    if FOR_RESCUE.get().is_none() {
        // We do not search inside `get_or_init`: to tell a loss runs Python code. A thread that comes second finds the
        // same.
        _ = FOR_RESCUE.set(look_up_for_rescue(py));
    }
    for_rescue()
}

/// The functions that rescue needs; None: it has not been switched on, or cannot be.
pub fn for_rescue() -> Option<&'static ForRescue> {
    FOR_RESCUE.get().and_then(Option::as_ref)
}

fn look_up_for_rescue(py: Python<'_>) -> Option<ForRescue> {
    let (default, current, set) =
        (look_up(py, &DEFAULT_EVALUATOR)?, look_up(py, &EVALUATOR)?, look_up(py, &SET_EVALUATOR)?);
    // SAFETY: functions of the interpreter that runs us, with the signatures that its headers give them.
    let evaluators = unsafe {
        Evaluators {
            default: mem::transmute::<NonNull<c_void>, ffi::_PyFrameEvalFunction>(default),
            current: mem::transmute::<NonNull<c_void>, CurrentEvaluator>(current),
            set: mem::transmute::<NonNull<c_void>, SetEvaluator>(set),
        }
    };
    Some(ForRescue { evaluators, runtime: look_up(py, &RUNTIME).map(|runtime| runtime.addr().get()) })
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
