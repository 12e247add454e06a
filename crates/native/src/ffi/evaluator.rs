//! The frame evaluator (PEP 523): every frame that begins passes a gate, while that is set.
//!
//! Another tool may have set an evaluator before, which ours calls; or after, which calls ours. In the second case ours
//! cannot be taken away without taking the other's, so it stays, and its gate lets everybody pass.

use super::ended::stay_when_ended;
use super::panics::panicked;
use super::private;
use everloop_core::sync::{Mutex, lock};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;

/// The gate that every new frame of the process passes while ours is the evaluator. Set once, at the first use.
static FRAME_GATE: OnceLock<fn(Python<'_>) -> PyResult<()>> = OnceLock::new();
/// The evaluator before ours, if that was not the interpreter's own. Written under the GIL, read by whoever runs a
/// frame.
static EVALUATOR: Mutex<Option<ffi::_PyFrameEvalFunction>> = Mutex::new(None);

unsafe extern "C" fn evaluate(
    thread: *mut ffi::PyThreadState,
    frame: *mut ffi::_PyInterpreterFrame,
    throw: c_int,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter evaluates frames with the GIL held, and calls us with arguments that are meant for
    // another evaluator just like it. With `throw`, an error is set that the frame begins with: a gate that fails sets
    // another.
    unsafe {
        let py = Python::assume_attached();
        stay_when_ended(); // any thread of the process may be in here, and for long
        let thrown = if throw != 0 { PyErr::take(py) } else { None };
        let outcome = catch_unwind(AssertUnwindSafe(|| FRAME_GATE.get().map_or(Ok(()), |gate| gate(py))));
        let throw = match outcome {
            Ok(Ok(())) => {
                if let Some(error) = thrown {
                    error.restore(py);
                }
                throw
            }
            Ok(Err(error)) => {
                error.restore(py);
                1
            }
            Err(_) => {
                panicked().restore(py);
                1
            }
        };
        let evaluator = *lock(&EVALUATOR);
        let default = private::for_rescue().expect("whoever set this evaluator has looked it up").evaluators.default;
        evaluator.unwrap_or(default)(thread, frame, throw)
    }
}

/// Has every frame that begins pass `gate`, or no longer. It is the same gate each time.
pub fn set_frame_gate(_py: Python<'_>, gate: fn(Python<'_>) -> PyResult<()>, on: bool) {
    let Some(&private::ForRescue { evaluators: private::Evaluators { default, current, set }, .. }) =
        private::for_rescue()
    else {
        return; // without these functions nobody is rescued
    };
    let _ = FRAME_GATE.set(gate); // an earlier call has set the same
    // SAFETY: the current interpreter, under the GIL; both functions are valid for ever. The interpreter reports its
    // own evaluator as `_PyEval_EvalFrameDefault`, and takes that as "none".
    unsafe {
        let interpreter = ffi::PyInterpreterState_Get();
        let now = current(interpreter);
        let ours: ffi::_PyFrameEvalFunction = evaluate;
        let mut before = lock(&EVALUATOR);
        if on && !ptr::fn_addr_eq(now, ours) {
            *before = (!ptr::fn_addr_eq(now, default)).then_some(now);
            set(interpreter, Some(ours));
        } else if !on && ptr::fn_addr_eq(now, ours) {
            // Otherwise another tool was set on top of us, and calls us: then our gate stays, and lets everybody pass.
            set(interpreter, Some(before.take().unwrap_or(default)));
        }
    }
}
