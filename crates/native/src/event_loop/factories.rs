//! What a loop makes tasks and futures with.

use crate::ffi::{GilCell, name};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

/// Of one loop.
#[derive(Default)]
pub struct Factories {
    /// What the program has set with `set_task_factory`, unless that is None.
    factory: GilCell<Option<Py<PyAny>>>,
    /// `{"loop": loop}`, which asyncio's classes are called with: made once, as a call would make and drop another one.
    keywords: GilCell<Option<Py<PyDict>>>,
}

impl Factories {
    pub fn factory(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.factory.with(py, |factory| factory.as_ref().map(|factory| factory.clone_ref(py)))
    }

    pub fn has_factory(&self, py: Python<'_>) -> bool {
        self.factory.with(py, |factory| factory.is_some())
    }

    pub fn set_factory(&self, factory: &Bound<'_, PyAny>) {
        let py = factory.py();
        let new = (!factory.is_none()).then(|| factory.clone().unbind());
        let old = self.factory.with(py, |factory| std::mem::replace(factory, new));
        drop(old);
    }

    /// The keywords for a class of asyncio, which must not change them: none in C does, and one in Python has a copy.
    pub fn keywords<'py>(&self, loop_: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let py = loop_.py();
        if let Some(keywords) = self.keywords.with(py, |keywords| keywords.as_ref().map(|made| made.clone_ref(py))) {
            return Ok(keywords.into_bound(py));
        }
        let made = PyDict::new(py);
        made.set_item(name!(py, "loop"), loop_)?;
        let kept = made.clone().unbind();
        let old = self.keywords.with(py, |keywords| keywords.replace(kept));
        drop(old);
        Ok(made)
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.factory.traverse(|factory| factory.as_ref().map_or(Ok(()), |factory| visit.call(factory)))?;
        self.keywords.traverse(|keywords| keywords.as_ref().map_or(Ok(()), |keywords| visit.call(keywords)))
    }

    /// The loop is closed: what holds it is let go of.
    pub fn forget_keywords(&self, py: Python<'_>) {
        let keywords = self.keywords.with(py, Option::take);
        drop(keywords);
    }
}
