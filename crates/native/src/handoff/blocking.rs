//! `everloop.blocking()`: the step says itself that it is going to block.
//!
//! A release and its return, and nothing in between: no gate is open, as the block's end takes the baton back. A step
//! that awaits inside the block comes to its end first, which takes the baton back for it: so each `with` remembers the
//! number of its release, and does not take back what another one has let go of.

use super::current::current;
use super::{release, resume};
use crate::aside::Reason;
use crate::ffi::GilCell;
use crate::gates::Gates;
use crate::this_thread::own_id;
use everloop_core::baton::ThreadId;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// The native half of `everloop.blocking`.
#[pyclass(frozen, subclass, module = "everloop._native")]
pub struct Blocking {
    /// For each `with` that is entered: by which thread, and the number of its release, or None where there was nothing
    /// to release. One object may serve many threads, each of which writes and reads what is its own.
    entered: GilCell<Vec<(ThreadId, Option<u64>)>>,
}

#[pymethods]
impl Blocking {
    #[new]
    fn new() -> Self {
        Self { entered: GilCell::new(Vec::new()) }
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let serial = match current(slf.py()) {
            // Inside another blocking() the baton is gone already: `release` says None.
            Some((core, member)) => release(&core, &member, Reason::Blocking, 0, Gates::none())?,
            None => None,
        };
        slf.get().entered.with(slf.py(), |entered| entered.push((own_id(), serial)));
        Ok(slf)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        exception_type: &Bound<'_, PyAny>,
        _exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let own = slf.get().entered.with(slf.py(), |entered| {
            let at = entered.iter().rposition(|(thread, _)| *thread == own_id());
            at.map(|at| entered.remove(at).1)
        });
        let serial = match own {
            Some(None) => return Ok(false),
            Some(Some(serial)) => serial,
            None => 0, // entered on another thread: no release has this number
        };
        match current(slf.py()) {
            Some((core, member)) if member.aside_serial() == Some(serial) => resume(&core, &member)?,
            // The end of the step, at an await, has taken the baton back.
            _ if exception_type.is_none() => {
                return Err(PyRuntimeError::new_err(
                    "there was an await inside `with everloop.blocking():`, which is for calls that block; \
                     leave the block before you await",
                ));
            }
            _ => {}
        }
        Ok(false)
    }
}
