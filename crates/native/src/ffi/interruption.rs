//! Ends the system call that another thread sleeps in, as a signal does (EINTR), without running anything; or to have
//! the main thread run something.

use super::panics::panicked;
use super::sigaction::{action, empty_action, set_action};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whoever has not asked for it ignores SIGURG, which the kernel sends for urgent data on a socket, if asked to. So one
/// too many does no harm. (The Go runtime interrupts its threads by it, for these reasons:
/// go.dev/design/24543-non-cooperative-preemption.)
const SIGNAL: c_int = libc::SIGURG;

/// Interrupts the system call of the thread with this `threading.get_ident()`, which must exist. False: the
/// program has a handler for SIGURG, which is not ours to call.
pub fn interrupt_call(ident: u64) -> bool {
    let ours = empty_action();
    let present = action(SIGNAL).sa_sigaction;
    if [libc::SIG_DFL, libc::SIG_IGN].contains(&present) {
        set_action(SIGNAL, &ours);
    } else if present != ours.sa_sigaction {
        return false;
    }
    // SAFETY: the thread exists, says the caller.
    unsafe { libc::pthread_kill(ident as libc::pthread_t, SIGNAL) == 0 }
}

type Call = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send>;

/// Has the interpreter's main thread call this, once it runs Python or its call is interrupted; its error is raised
/// there. False: too many such calls wait.
pub fn call_on_main_thread(call: impl FnOnce(Python<'_>) -> PyResult<()> + Send + 'static) -> bool {
    let call: *mut Call = Box::into_raw(Box::new(Box::new(call)));
    // SAFETY: the function gets the pointer that it expects, once; or nobody does, and it is still ours.
    unsafe {
        let queued = ffi::Py_AddPendingCall(Some(run), call.cast()) == 0;
        if !queued {
            drop(Box::from_raw(call));
        }
        queued
    }
}

/// Called by the interpreter, with the GIL.
extern "C" fn run(call: *mut c_void) -> c_int {
    // SAFETY: made by `call_on_main_thread`, and handed over once.
    let call = unsafe { Box::from_raw(call.cast::<Call>()) };
    let called = Python::try_attach(|py| match catch_unwind(AssertUnwindSafe(|| call(py))) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            error.restore(py);
            -1
        }
        Err(_panic) => {
            panicked().restore(py);
            -1
        }
    });
    called.unwrap_or(0) // the interpreter ends
}
