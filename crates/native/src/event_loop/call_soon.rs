//! `call_soon` and `call_soon_threadsafe`: raw methods of CPython, since no call is made as often.

use crate::event_loop::new_handle::{check_debug, new_handle, note_source};
use crate::event_loop::state::LoopCore;
use crate::ffi::{self, Arguments, FastMethod};
use crate::threadsafe_hook;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::ffi::CStr;

/// True if this interpreter's asyncio makes a thread wait that cancels a callback which runs: see handle/running.rs.
fn waits_for_callbacks(py: Python<'_>) -> bool {
    static ANSWER: PyOnceLock<bool> = PyOnceLock::new();
    *ANSWER.get_or_init(py, || py.version_info() >= (3, 14))
}

macro_rules! schedule_method {
    ($type:ident, $name:literal, $cname:literal, $doc:literal, thread_check: $check:literal) => {
        pub struct $type;
        impl FastMethod for $type {
            const NAME: &'static CStr = $cname;
            const DOC: &'static CStr = $doc;
            const BY_NAME: &'static [&'static str] = &["callback"];
            type Class = LoopCore;

            #[inline]
            fn call<'py>(slf: Borrowed<'_, 'py, LoopCore>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
                let py = slf.py();
                let core = slf.get();
                core.check_open()?;
                let debug = core.is_debug();
                if debug {
                    check_debug(slf, &arguments, $name, 0, $check)?;
                }
                let handle = new_handle(slf, &arguments, $name, 0)?.into_object(py)?;
                if !$check {
                    if let Some(other) = threadsafe_hook::look_at(arguments.get(0))? {
                        handle.get().replace_callback(py, other);
                    }
                    if waits_for_callbacks(py) {
                        handle.get().set_thread_safe(py);
                    }
                }
                if debug {
                    note_source(py, &handle)?;
                }
                core.schedule(handle.clone_ref(py));
                Ok(handle.into_any())
            }
        }
    };
}

schedule_method!(CallSoon, "call_soon", c"call_soon",
    c"call_soon($self, callback, *args, context=None)\n--\n\nRun callback(*args) in the next turn of the loop.\n\nArgs:\n    callback: Any callable. Callbacks run in the order of the calls.\n    context: The contextvars.Context to run it in; None for a copy of the current one.\n\nReturns:\n    Handle: to cancel it with.\n\nRaises:\n    RuntimeError: the loop is closed; in debug mode also a call from another thread.\n    TypeError: no callback, or a context that is none.\n\nThe trap: from a thread that does not run the loop it wakes the loop, as\ncall_soon_threadsafe does; other loops wait for their next wake-up.\n\nExample:\n    >>> loop = everloop.new_event_loop()\n    >>> handle = loop.call_soon(loop.stop)\n    >>> loop.run_forever()\n    >>> loop.close()\n",
    thread_check: true);
schedule_method!(CallSoonThreadsafe, "call_soon_threadsafe", c"call_soon_threadsafe",
    c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nRun callback(*args) in the next turn of the loop, from any thread.\n\nArgs:\n    callback: Any callable.\n    context: The contextvars.Context to run it in; None for a copy of the current one.\n\nReturns:\n    Handle: to cancel it with.\n\nRaises:\n    RuntimeError: the loop is closed.\n    TypeError: no callback, or a context that is none.\n",
    thread_check: false);

/// Adds the methods that need no trampoline.
pub fn install(py: Python<'_>) -> PyResult<()> {
    ffi::install::<CallSoon>(py)?;
    ffi::install::<CallSoonThreadsafe>(py)
}
