//! Args: the arguments of a handle's callback.

use super::native::Native;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};

/// Up to three arguments without a tuple: most callbacks have fewer.
#[derive(Default)]
pub enum Args {
    /// No arguments. The callback is not called: it is the object whose native method runs.
    Native(&'static Native),
    #[default]
    None,
    One(Py<PyAny>),
    Two(Py<PyAny>, Py<PyAny>),
    Three(Py<PyAny>, Py<PyAny>, Py<PyAny>),
    Many(Py<PyTuple>),
}

impl Args {
    #[inline]
    pub fn new<'a, 'py: 'a>(
        py: Python<'py>,
        mut from: impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>>,
    ) -> PyResult<Self> {
        let mut next = || from.next().map(|object| object.to_owned().unbind());
        Ok(match (next(), next(), next()) {
            (None, _, _) => Self::None,
            (Some(a), None, _) => Self::One(a),
            (Some(a), Some(b), None) => Self::Two(a, b),
            (Some(a), Some(b), Some(c)) if from.len() == 0 => Self::Three(a, b, c),
            (Some(a), Some(b), Some(c)) => {
                let rest = from.map(|object| object.to_owned().unbind());
                let all: Vec<_> = [a, b, c].into_iter().chain(rest).collect();
                Self::Many(PyTuple::new(py, all)?.unbind())
            }
        })
    }

    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Native(native) => Self::Native(native),
            Self::None => Self::None,
            Self::One(a) => Self::One(a.clone_ref(py)),
            Self::Two(a, b) => Self::Two(a.clone_ref(py), b.clone_ref(py)),
            Self::Three(a, b, c) => Self::Three(a.clone_ref(py), b.clone_ref(py), c.clone_ref(py)),
            Self::Many(all) => Self::Many(all.clone_ref(py)),
        }
    }

    /// Drops the arguments. Cheaper than to let them go, which asks whether the thread is attached.
    #[inline]
    pub fn drop_ref(self, py: Python<'_>) {
        match self {
            Self::Native(_) | Self::None => {}
            Self::One(a) => a.drop_ref(py),
            Self::Two(a, b) => {
                a.drop_ref(py);
                b.drop_ref(py);
            }
            Self::Three(a, b, c) => {
                a.drop_ref(py);
                b.drop_ref(py);
                c.drop_ref(py);
            }
            Self::Many(all) => all.drop_ref(py),
        }
    }

    /// The tuple that Python code sees.
    pub fn to_tuple<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        match self {
            Self::None | Self::Native(_) => Ok(PyTuple::empty(py)),
            Self::One(a) => PyTuple::new(py, [a]),
            Self::Two(a, b) => PyTuple::new(py, [a, b]),
            Self::Three(a, b, c) => PyTuple::new(py, [a, b, c]),
            Self::Many(all) => Ok(all.bind(py).clone()),
        }
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::None | Self::Native(_) => Ok(()),
            Self::One(a) => visit.call(a),
            Self::Two(a, b) => visit.call(a).and_then(|()| visit.call(b)),
            Self::Three(a, b, c) => visit.call(a).and_then(|()| visit.call(b)).and_then(|()| visit.call(c)),
            Self::Many(all) => visit.call(all),
        }
    }
}
