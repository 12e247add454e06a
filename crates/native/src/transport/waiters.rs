//! Futures that wait for a transport: for a new connection; of `sendfile`, until nothing is left to send.

use pyo3::prelude::*;

/// What was waited for is there. Of no effect on a future that is done: who waited may have been cancelled.
pub fn wake_waiter(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    if !waiter.call_method0("done")?.is_truthy()? {
        waiter.call_method1("set_result", (waiter.py().None(),))?;
    }
    Ok(())
}

/// What was waited for never comes. Of no effect on a future that is done.
pub fn fail_waiter(waiter: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    if !waiter.call_method0("done")?.is_truthy()? {
        waiter.call_method1("set_exception", (error.into_value(waiter.py()),))?;
    }
    Ok(())
}
