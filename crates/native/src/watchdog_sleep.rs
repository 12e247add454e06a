//! What wakes the watchdog: below everything that takes a baton, since all of it has to call.

use everloop_core::wait::IdleSleep;
use std::sync::LazyLock;

/// Where the watchdog sleeps.
pub static IDLE_SLEEP: LazyLock<IdleSleep> = LazyLock::new(IdleSleep::default);

/// This thread has got a baton, perhaps from a thread that sleeps in the poll: the watchdog has to be awake.
#[inline]
pub fn wake() {
    IDLE_SLEEP.wake_if_asleep();
}
