//! What wakes the watchdog: below everything that takes a baton, since all of it has to call.

use everloop_core::wait::idle_sleep::Doze;
use std::sync::LazyLock;

/// Where the watchdog sleeps.
pub static DOZE: LazyLock<Doze> = LazyLock::new(Doze::default);

/// This thread has got a baton, perhaps from a thread that sleeps in the poll: the watchdog has to be awake.
#[inline]
pub fn wake() {
    DOZE.rouse();
}
