//! The only crate that knows Python: the native half of everloop (module `everloop._native`).
//!
//! Reading order, each using only those before it: [`ffi`], [`errors`] and [`clock`] (CPython's C interface, the system's
//! errors and its clock), [`member`] (a thread of a loop), [`handle`], [`event_loop`] (the queues), with
//! `timing` and `create_task`, [`transport`] (sockets and pipes), [`calls`] and [`pool`] (threads for what
//! blocks), [`handoff`] (a step goes aside and comes back), [`watchdog`] (who blocks), [`driver`] (turning the
//! loop, and the threads that do). `tests/test_layers_native.py` has them all, file by file.

mod aside;
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
mod lock;
mod member;
mod outbox;
mod pool;
mod private;
mod starter;
mod statistics;
mod this_thread;
mod threadsafe_hook;
mod transport;
mod watchdog;
mod watchdog_sleep;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// The interpreter is about to end: the watchdog ends, and no step is handed over any more.
#[pyfunction]
fn begin_exit(py: Python<'_>) {
    exit::begin();
    py.detach(watchdog::stop);
}

/// Whether loops are watched that begin to run from now on.
#[pyfunction]
fn watch_loops(watches: bool) {
    watchdog::watch_loops(watches);
}

/// From here to `release_children` the kernel keeps the statuses of children, also where SIGCHLD is ignored.
#[pyfunction]
fn keep_children() {
    ffi::children::keep();
}

/// One `keep_children` is over; after the last one SIGCHLD is ignored again, if it was.
#[pyfunction]
fn release_children() {
    ffi::children::release();
}

/// A free-threaded CPython has switched the GIL on by now, as the module says that it needs it, unless it was told never to.
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

/// Declares that the module needs the GIL: see [`ffi::GilCell`].
#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    refuse_without_gil(module.py())?; // before anything that leans on it
    module.add_class::<handle::Handle>()?;
    module.add_class::<handle::TimerHandle>()?;
    module.add_class::<handoff::blocking::Blocking>()?;
    module.add_class::<handoff::block_on::StepWait>()?;
    module.add_class::<handoff::contexts::Left>()?;
    module.add_function(wrap_pyfunction!(handoff::contexts::leave_contexts, module)?)?;
    module.add_class::<pool::PoolCore>()?;
    module.add_class::<pool::Job>()?;
    module.add_class::<pool::Worker>()?;
    module.add_class::<future_waiter::FutureWaiter>()?;
    module.add_function(wrap_pyfunction!(future_waiter::is_future_done, module)?)?;
    module.add_function(wrap_pyfunction!(future_waiter::is_future_cancelled, module)?)?;
    module.add_function(wrap_pyfunction!(future_waiter::returned_by_future, module)?)?;
    module.add_function(wrap_pyfunction!(future_waiter::add_future_waiter, module)?)?;
    module.add_function(wrap_pyfunction!(pool::current_job, module)?)?;
    module.add_function(wrap_pyfunction!(calls::carry_over, module)?)?;
    module.add_function(wrap_pyfunction!(calls::is_plain_function, module)?)?;
    module.add_function(wrap_pyfunction!(calls::loop_for, module)?)?;
    module.add_function(wrap_pyfunction!(pool::lend_slot, module)?)?;
    module.add_function(wrap_pyfunction!(pool::reclaim_slot, module)?)?;
    module.add_function(wrap_pyfunction!(private::private_names, module)?)?;
    module.add_function(wrap_pyfunction!(private::set_teller, module)?)?;
    module.add_function(wrap_pyfunction!(private::rename_private, module)?)?;
    module.add_function(wrap_pyfunction!(handoff::events::prepare_rescue, module)?)?;
    module.add_function(wrap_pyfunction!(handoff::events::claim_tool, module)?)?;
    module.add_function(wrap_pyfunction!(gates::sites::forget_sites, module)?)?;
    module.add_function(wrap_pyfunction!(handoff::is_in_step, module)?)?;
    module.add_function(wrap_pyfunction!(watchdog::set_foreign_files, module)?)?;
    module.add_function(wrap_pyfunction!(outbox::set_reporter, module)?)?;
    module.add_function(wrap_pyfunction!(outbox::next_note, module)?)?;
    module.add_function(wrap_pyfunction!(outbox::write_notes, module)?)?;
    module.add_function(wrap_pyfunction!(threadsafe_hook::set_adopter, module)?)?;
    module.add_function(wrap_pyfunction!(begin_exit, module)?)?;
    module.add_function(wrap_pyfunction!(watch_loops, module)?)?;
    module.add_function(wrap_pyfunction!(keep_children, module)?)?;
    module.add_function(wrap_pyfunction!(release_children, module)?)?;
    fork::install(module)?;
    transport::install(module)?;
    event_loop::install(module)
}
