//! The calling thread, whatever loops it turns: its number, how it waits, and whether it may be put aside.

use crate::ffi::{self, thread_ident};
use everloop_core::baton::{ThreadId, Waiter};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// `threading.get_ident()` of the thread that collects garbage, 0 for none: there is one at a time. Written by that
/// thread; read by it and by the watchdog, with the GIL.
static COLLECTOR: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static ID: Cell<u32> = const { Cell::new(0) };
    static NO_RESCUE: Arc<AtomicBool> = Arc::default();
    static WAITER: RefCell<Option<Arc<Waiter>>> = const { RefCell::new(None) };
}

/// The calling thread's number, for as long as the process lives. No other thread gets the same.
#[inline]
pub fn own_id() -> ThreadId {
    ThreadId::new(ID.get()).unwrap_or_else(new_id)
}

#[cold]
fn new_id() -> ThreadId {
    ffi::stay_when_ended();
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    ID.set(id);
    ThreadId::new(id).expect("four thousand million threads have not been started")
}

/// The calling thread's waiter: one for all loops, as a thread waits in one place at a time.
pub fn own_waiter() -> Arc<Waiter> {
    WAITER.with_borrow_mut(|waiter| Arc::clone(waiter.get_or_insert_with(|| Waiter::new(own_id()))))
}

/// True while the calling thread is in a call of [`no_rescue`]. Written by this thread; read by the watchdog, with the
/// GIL.
pub fn own_no_rescue() -> Arc<AtomicBool> {
    NO_RESCUE.with(Arc::clone)
}

/// Calls what lets go of the GIL but does not block: its step is not to be rescued there. No gate would stop our own
/// code afterwards, which would go on beside another step of the same connection.
#[inline]
pub fn no_rescue<T>(f: impl FnOnce() -> T) -> T {
    NO_RESCUE.with(|inside| {
        let before = inside.swap(true, Ordering::Relaxed);
        let result = f();
        inside.store(before, Ordering::Relaxed);
        result
    })
}

/// Notes that the calling thread begins or ends to collect garbage. One of `gc.callbacks`, once a loop may rescue:
/// it costs up to a microsecond a collection.
#[pyfunction]
pub fn note_collection(phase: &Bound<'_, PyString>, _info: &Bound<'_, PyAny>) -> PyResult<()> {
    let begins = phase.to_str()? == "start";
    COLLECTOR.store(if begins { thread_ident() } else { 0 }, Ordering::Relaxed);
    Ok(())
}

/// True while this thread collects garbage. The finalizers that it runs then may block anywhere in the code of a step,
/// which does not expect that others run there.
pub fn collects(ident: u64) -> bool {
    COLLECTOR.load(Ordering::Relaxed) == ident
}
