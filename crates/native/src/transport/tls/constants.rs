//! The constants of asyncio, read anew each time: asyncio's own tests change them.

use pyo3::prelude::*;

/// A value of `asyncio.constants`, as it is now.
pub fn constant<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("asyncio.constants")?.getattr(name)
}
