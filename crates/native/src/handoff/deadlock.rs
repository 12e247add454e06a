//! The end of a deadlock: steps wait for each other for ever, and home's step gets a DeadlockError.
//!
//! A thread that waits for a lock can be interrupted only where it is the interpreter's main thread: that runs what is
//! queued for it (`Py_AddPendingCall`) once a signal ends its call, and raises what comes of it there. So home must be
//! the main thread; where it is not, or its step is not among those that wait, the report is all that is done.
//!
//! **Who may touch what.** [`raise_in_home`] is called by the watchdog, with the GIL. What it queues runs on the main
//! thread, in the middle of the step that is aside: it looks whether that is the one that was meant, and makes the error,
//! in Python code of our own that is not the step's. The error passes a gate as any that the call would raise.
//!
//! **The races.** *The step comes back meanwhile*, as a handler of a signal let go of the lock: then its release has
//! another number, or none, and nothing is raised. *The program handles SIGURG*: nothing is interrupted, and the error
//! comes once another signal does that.

use crate::ffi;
use crate::member::Member;
use crate::this_thread::own_id;
use everloop_core::sync::{Mutex, lock};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::process;
use std::sync::Arc;

/// Makes the error (`bridge/deadlocks/locks.py`).
static MAKE_ERROR: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// Registers the function that makes the error of steps that wait for each other.
#[pyfunction]
pub fn set_deadlock_error(make: Py<PyAny>) {
    let old = lock(&MAKE_ERROR).replace(make);
    drop(old);
}

/// Has the error raised in home's step, which this release has put aside. `tell` fills in the arguments of the function
/// that makes it. False: it cannot be.
pub fn raise_in_home(
    home: &Arc<Member>,
    serial: u64,
    tell: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()> + Send + 'static,
) -> bool {
    if home.thread != process::id() {
        return false; // the kernel gives the first thread of a process the number of that
    }
    let member = Arc::downgrade(home);
    let queued = ffi::call_on_main_thread(move |py| {
        let Some(member) = member.upgrade() else { return Ok(()) };
        if member.id() != own_id() || member.aside_serial() != Some(serial) {
            return Ok(());
        }
        member.ungated(|| {
            let Some(make) = lock(&MAKE_ERROR).as_ref().map(|make| make.clone_ref(py)) else { return Ok(()) };
            let arguments = PyDict::new(py);
            tell(&arguments)?;
            Err(PyErr::from_value(make.bind(py).call((), Some(&arguments))?))
        })
    });
    queued && ffi::interrupt_call(home.ident)
}
