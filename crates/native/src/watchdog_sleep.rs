//! The sleep of the watchdog, and the call that ends it. This file stands below everything that takes a baton, since
//! all of that has to call it.

use everloop_core::wait::IdleSleep;
use std::sync::LazyLock;

/// The place where the watchdog sleeps.
pub static IDLE_SLEEP: LazyLock<IdleSleep> = LazyLock::new(IdleSleep::default);

/// This thread has got a baton, perhaps from a thread that sleeps in the poll: the watchdog has to be awake.
#[inline]
pub fn wake() {
    IDLE_SLEEP.wake_if_asleep();
}
