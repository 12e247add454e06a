//! The only crate that knows Python: the native half of everloop (module `everloop._native`).
//!
//! Reading order, each using only those before it:
//!
//! - [`ffi`], [`private`], [`errors`], [`clock`]: CPython's C interface, what of others is not public, the system's
//!   errors, its clock;
//! - [`lock`], [`this_thread`], [`generation`], [`exit`]: what each thread asks for before it does anything;
//! - [`aside`], [`gates`], [`member`]: a step that is aside, what it waits at, and a thread of a loop;
//! - [`handle`], [`event_loop`]: what runs, and the queues that it waits in;
//! - [`transport`]; [`calls`] and [`pool`]: sockets and pipes; threads for calls that block;
//! - [`handoff`], [`watchdog`]: a step goes aside and comes back; who finds out that it is blocked;
//! - [`listen`]: how to look into the process from outside;
//! - [`driver`]: turning the loop, and the threads that do;
//! - [`fork`]: what a forked child keeps, and the order of all locks; [`statistics`]: what a loop tells of itself.
//!
//! `tests/test_layers_native.py` has them all, file by file.

mod aside;
mod bases;
mod blocked_lines;
mod calls;
mod clock;
mod driver;
mod errors;
mod event_loop;
mod exit;
mod ffi;
mod fork;
mod future_waiter;
mod gates;
mod generation;
mod handle;
mod handoff;
mod json;
mod listen;
mod member;
mod origin;
mod outbox;
mod own_threads;
mod pool;
mod private;
mod reader;
mod starter;
mod statistics;
mod this_thread;
mod threadsafe_hook;
mod transport;
mod watchdog;
mod watchdog_sleep;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// The native half of everloop. It leans on the GIL and says so: see `ffi`.
#[pymodule(gil_used = true)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::blocked_lines::note_blocked_line;
    #[pymodule_export]
    use crate::calls::{carry_over, is_plain_function, loop_for};
    #[pymodule_export]
    use crate::event_loop::limit_steps;
    #[pymodule_export]
    use crate::ffi::children::{keep_children, release_children};
    #[pymodule_export]
    use crate::fork::after_fork_in_child;
    #[pymodule_export]
    use crate::future_waiter::{
        FutureWaiter, add_future_waiter, is_future_cancelled, is_future_done, returned_by_future,
    };
    #[pymodule_export]
    use crate::gates::sites::forget_sites;
    #[pymodule_export]
    use crate::handle::{Handle, TimerHandle};
    #[pymodule_export]
    use crate::handoff::block_on::StepWait;
    #[pymodule_export]
    use crate::handoff::blocking::Blocking;
    #[pymodule_export]
    use crate::handoff::contexts::{Left, leave_contexts};
    #[pymodule_export]
    use crate::handoff::deadlock::set_deadlock_error;
    #[pymodule_export]
    use crate::handoff::events::claim_tool;
    #[pymodule_export]
    use crate::handoff::is_in_step;
    #[pymodule_export]
    use crate::handoff::whole::Whole;
    #[pymodule_export]
    use crate::listen::{check_addresses, listen, listens_at, stop_listening};
    #[pymodule_export]
    use crate::origin::set_library_files;
    #[pymodule_export]
    use crate::outbox::{next_note, report_mode, set_report_mode, set_report_writer, write_notes};
    #[pymodule_export]
    use crate::pool::{Job, PoolCore, Worker, current_job, lend_slot, reclaim_slot};
    #[pymodule_export]
    use crate::private::{private_names, rename_private, set_teller};
    #[pymodule_export]
    use crate::reader::{read_holder, read_process, read_stack};
    #[pymodule_export]
    use crate::statistics::process_statistics;
    #[pymodule_export]
    use crate::this_thread::note_collection;
    #[pymodule_export]
    use crate::threadsafe_hook::set_threadsafe_hook;
    #[pymodule_export]
    use crate::watchdog::{begin_exit, set_aside_clock_ahead, set_foreign_files, watch_loops};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::refuse_without_gil(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::transport::install(module)?;
        crate::handle::install(module.py());
        crate::event_loop::install(module)
    }
}

/// A free-threaded CPython has switched the GIL on by now, as the module says that it needs it, unless it was told
/// never to.
fn refuse_without_gil(py: Python<'_>) -> PyResult<()> {
    let sys = py.import("sys")?;
    // From CPython 3.13 on.
    let is_enabled = sys.getattr_opt("_is_gil_enabled")?.map_or(Ok(true), |ask| ask.call0()?.is_truthy())?;
    if is_enabled {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "everloop needs the GIL, and this free-threaded Python was started without it, by PYTHON_GIL=0 or -X gil=0. \
         Start it without that, and the GIL is switched on when everloop is imported; or use a Python that has it",
    ))
}
