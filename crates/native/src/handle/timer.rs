//! TimerHandle: a callback that is to be run at a time.

use super::Handle;
use crate::ffi::{self, Free, GilCell, Reuse};
use pyo3::basic::CompareOp::{self, Eq, Ge, Gt, Le, Lt, Ne};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyList, PyString, PyType};
use pyo3::{PyTraverseError, PyVisit};

/// A callback scheduled for a time: what `loop.call_later` and `loop.call_at` return.
#[pyclass(frozen, extends = Handle, module = "everloop._native")]
pub struct TimerHandle(GilCell<Time>);

/// The time at which a timer is due.
struct Time {
    /// Of the loop's clock.
    seconds: f64,
    /// The same as the program has written it: an int stays an int. None until somebody asks for a float that only the
    /// loop knows.
    when: Option<Py<PyAny>>,
}

impl TimerHandle {
    #[inline]
    pub fn create(
        py: Python<'_>,
        seconds: f64,
        when: Option<Bound<'_, PyAny>>,
        handle: Handle,
    ) -> PyResult<Py<Handle>> {
        let time = Time { seconds, when: when.map(Bound::unbind) };
        let timer = ffi::reuse(py, (handle, time), |timer: &Bound<'_, Self>, (handle, time)| {
            handle.move_into(timer.as_super());
            timer.get().0.with(py, |old| *old = time); // it has no `when` to drop
        });
        let timer = timer.or_else(|(handle, time)| {
            Py::new(py, PyClassInitializer::from(handle).add_subclass(Self(GilCell::new(time))))
        })?;
        Ok(timer.into_bound(py).into_super().unbind())
    }

    fn is_equal(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<bool> {
        let py = slf.py();
        if slf.is(other) {
            return Ok(true);
        }
        let (a, b) = (slf.as_super().get(), other.as_super().get());
        Ok(slf.get().when(py).bind(py).eq(other.get().when(py))?
            && a._callback(py).into_pyobject(py)?.eq(b._callback(py))?
            && a._args(py)?.into_pyobject(py)?.eq(b._args(py)?)?
            && a.is_cancelled(py) == b.is_cancelled(py))
    }
}

impl Reuse for TimerHandle {
    fn free() -> &'static Free<Self> {
        static FREE: Free<TimerHandle> = Free::new();
        &FREE
    }

    fn strip(slf: &Bound<'_, Self>) {
        let when = slf.get().0.with(slf.py(), |time| time.when.take());
        drop(when);
        slf.as_super().get().empty(slf.py());
    }
}

#[pymethods]
impl TimerHandle {
    /// `isinstance(handle, asyncio.TimerHandle)` holds.
    #[getter]
    fn __class__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static TIMER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        Ok(TIMER.import(slf.py(), "asyncio", "TimerHandle")?.clone().into_any())
    }

    /// The time of `loop.time()` at which the callback is due: what `call_at` was given, as it was given.
    fn when(&self, py: Python<'_>) -> Py<PyAny> {
        let (seconds, when) = self.0.with(py, |time| (time.seconds, time.when.as_ref().map(|when| when.clone_ref(py))));
        if let Some(when) = when {
            return when;
        }
        let made = PyFloat::new(py, seconds).into_any().unbind();
        let kept = made.clone_ref(py);
        let before = self.0.with(py, |time| time.when.replace(kept));
        drop(before);
        made
    }

    #[getter]
    fn _when(&self, py: Python<'_>) -> Py<PyAny> {
        self.when(py)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.when(py).bind(py).hash()
    }

    fn __richcmp__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let Ok(other) = other.cast::<Self>() else { return Ok(py.NotImplemented()) };
        let (a, b) = (slf.get().when(py).into_bound(py), other.get().when(py));
        let answer = match op {
            Lt => a.lt(b)?,
            Gt => a.gt(b)?,
            Le => a.lt(b)? || Self::is_equal(slf, other)?,
            Ge => a.gt(b)? || Self::is_equal(slf, other)?,
            Eq => Self::is_equal(slf, other)?,
            Ne => !Self::is_equal(slf, other)?,
        };
        Ok(PyBool::new(py, answer).to_owned().into_any().unbind())
    }

    fn _repr_info<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let info = Handle::_repr_info(slf.as_super())?;
        let at = usize::from(slf.as_super().get().is_cancelled(py)) + 1;
        info.insert(at, PyString::new(py, &format!("when={}", slf.get().when(py).bind(py).str()?)))?;
        Ok(info)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.traverse(|time| time.when.as_ref().map_or(Ok(()), |when| visit.call(when)))
    }
}
