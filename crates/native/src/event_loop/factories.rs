//! The task factory of a loop, and the arguments with which it makes tasks and futures.

use crate::ffi::{GilCell, name};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

/// The factories of one loop.
#[derive(Default)]
pub struct Factories {
    /// The factory that the program has set with `set_task_factory`, unless that is None. Written by the program, under
    /// the GIL.
    factory: GilCell<Option<Py<PyAny>>>,
    /// `{"loop": loop}`, with which asyncio's classes are called. Made once and kept: each call would make another one.
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

    /// The keywords for a class of asyncio. It must not change them: those in C do not, and those in Python get a copy.
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

    /// The loop is closed: the keywords, which refer to it, are dropped.
    pub fn forget_keywords(&self, py: Python<'_>) {
        let keywords = self.keywords.with(py, Option::take);
        drop(keywords);
    }
}
