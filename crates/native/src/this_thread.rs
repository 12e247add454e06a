//! The calling thread, whatever loops it turns: its number, how it waits, and whether it may be put aside.

use crate::ffi;
use everloop_core::baton::{ThreadId, Waiter};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

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
