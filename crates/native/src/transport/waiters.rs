//! Futures that wait for a transport: for a new connection; of `sendfile`, until nothing is left to send.

use pyo3::prelude::*;

/// Ends a future well. Of no effect if it is done: whoever waited may have been cancelled.
pub fn wake_waiter(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    if !waiter.call_method0("done")?.is_truthy()? {
        waiter.call_method1("set_result", (waiter.py().None(),))?;
    }
    Ok(())
}

/// Ends a future with an error. Of no effect if it is done.
pub fn fail_waiter(waiter: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    if !waiter.call_method0("done")?.is_truthy()? {
        waiter.call_method1("set_exception", (error.into_value(waiter.py()),))?;
    }
    Ok(())
}
