//! Native: a method of a native object, as the callback of a handle.

use crate::ffi::{self, Called};
use pyo3::prelude::*;

/// A method of a native object, which handles call without a detour through Python.
pub struct Native {
    /// Its name in Python, for those who look at the handle.
    pub name: &'static str,
    pub run: fn(&Bound<'_, PyAny>) -> PyResult<()>,
    /// Asked when a step that is aside is in the handle's context. True: the method runs in a copy of the context.
    /// False: it waits for the step.
    pub runs_beside: fn(&Bound<'_, PyAny>) -> bool,
}

impl Native {
    pub const fn new(name: &'static str, run: fn(&Bound<'_, PyAny>) -> PyResult<()>) -> Self {
        Self { name, run, runs_beside: |_| false }
    }

    /// The same method, with the answer to the question whether it may run while its context is busy.
    pub const fn beside(self, runs_beside: fn(&Bound<'_, PyAny>) -> bool) -> Self {
        Self { runs_beside, ..self }
    }

    #[inline]
    pub fn run_in(&self, object: &Bound<'_, PyAny>, context: &Py<PyAny>) -> Called {
        match ffi::run_in_context(object.py(), context, || (self.run)(object)) {
            Called::ContextBusy(_) if (self.runs_beside)(object) => self.run_in_copy(object, context),
            called => called,
        }
    }

    #[cold]
    fn run_in_copy(&self, object: &Bound<'_, PyAny>, context: &Py<PyAny>) -> Called {
        match ffi::copy_of_context(object.py(), context) {
            Ok(copy) => ffi::run_in_context(object.py(), &copy, || (self.run)(object)),
            Err(error) => Called::Raised(error),
        }
    }
}
