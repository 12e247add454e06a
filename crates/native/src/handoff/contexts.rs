//! A step that waits in `block_on` leaves its context meanwhile: others may have been given the same one, and what it
//! waits for may be among them.
//!
//! Its thread is in a copy of it as long as that lasts, which is what signal handlers see, and so is its handle: it
//! cannot run once more before it has ended. The contexts of transports are not left. Their callbacks keep their order
//! by it.

use super::current::current;
use crate::aside::Reason;
use crate::ffi::{self, name};
use crate::handle::Handle;
use crate::member::Member;
use everloop_core::sync::lock;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The contexts that a step has left.
#[pyclass(frozen, module = "everloop._native")]
pub struct Left {
    handle: Py<Handle>,
    /// The innermost first; the last one is the handle's. There are several where the step has called `Context.run`.
    contexts: Vec<Py<PyAny>>,
    /// The context that its thread is in meanwhile.
    copy: Py<PyAny>,
}

/// Leaves the contexts of the step that runs on this thread. None: it has none that others could need.
pub fn leave(py: Python<'_>, member: &Member) -> PyResult<Option<Left>> {
    let Some(handle) = member.current.get(py).and_then(|handle| handle.into_bound(py).cast_into::<Handle>().ok())
    else {
        return Ok(None);
    };
    let own = match handle.get().get_context(py) {
        Some(own) if !handle.get().is_native(py) => own,
        _ => return Ok(None),
    };
    let mut contexts = Vec::new();
    while ffi::leave_context(py, &own).is_err() {
        match current_context(py)? {
            Some(inner) if ffi::leave_context(py, &inner).is_ok() => contexts.push(inner),
            // The context is that of a greenlet, or of whoever called the loop's own code.
            _ => {
                enter_all(py, &contexts)?;
                return Ok(None);
            }
        }
    }
    contexts.push(own);
    let copy = ffi::copy_of_context(py, &contexts[0])?;
    ffi::enter_context(py, &copy)?;
    handle.get().set_context(py, copy.clone_ref(py));
    Ok(Some(Left { handle: handle.unbind(), contexts, copy }))
}

/// Leaves the contexts of the step that is aside on this thread, in a blocking call that waits for its own loop.
///
/// None: there is no such step, or it has none that others could need.
#[pyfunction]
pub fn leave_contexts(py: Python<'_>) -> PyResult<Option<Left>> {
    let Some((core, member)) = current(py).filter(|(_, member)| member.aside_reason() == Some(Reason::Blocking)) else {
        return Ok(None);
    };
    let left = leave(py, &member)?;
    // Steps that were held up by this context can run.
    let deferred = std::mem::take(&mut *lock(&core.get().queues.deferred));
    deferred.into_iter().for_each(|handle| core.get().schedule(handle));
    Ok(left)
}

#[pymethods]
impl Left {
    /// Enters the contexts again. False: another thread is in one of them.
    pub fn enter(&self, py: Python<'_>) -> PyResult<bool> {
        ffi::leave_context(py, &self.copy)?;
        if enter_all(py, &self.contexts).is_err() {
            ffi::enter_context(py, &self.copy)?;
            return Ok(false);
        }
        if let Some(own) = self.contexts.last() {
            self.handle.get().set_context(py, own.clone_ref(py));
        }
        Ok(true)
    }
}

/// Enters the contexts, the last one first; all, or none.
fn enter_all(py: Python<'_>, contexts: &[Py<PyAny>]) -> PyResult<()> {
    for (at, context) in contexts.iter().enumerate().rev() {
        if let Err(error) = ffi::enter_context(py, context) {
            for entered in &contexts[at + 1..] {
                ffi::leave_context(py, entered)?;
            }
            return Err(error);
        }
    }
    Ok(())
}

/// The context that this thread is in: the one that a variable which is set there refers to. `contextvars` gives copies
/// only.
fn current_context(py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let variable = VARIABLE.get_or_try_init(py, || {
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        class.call1(("everloop_here",)).map(Bound::unbind)
    })?;
    let token = variable.bind(py).call_method1(name!(py, "set"), (py.None(),))?;
    let referents = py.import("gc")?.call_method1(name!(py, "get_referents"), (&token,))?;
    variable.bind(py).call_method1(name!(py, "reset"), (&token,))?;
    for referent in referents.try_iter()? {
        let referent = referent?;
        if ffi::is_context(&referent) {
            return Ok(Some(referent.unbind()));
        }
    }
    Ok(None)
}
