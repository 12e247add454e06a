//! Numbers of asyncio's that its tests change.

use pyo3::prelude::*;

/// A value of `asyncio.constants`, as it is now.
pub fn constant<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("asyncio.constants")?.getattr(name)
}
