//! The grant: a thread waits for the baton, and the one that lets go of it hands it over.

use crate::event_loop::LoopCore;
use crate::member::Member;
use everloop_core::wait::Wake;
use pyo3::prelude::*;
use std::time::Duration;

/// The time that home sleeps at a stretch: a signal that arrives just before it falls asleep does not wake it.
pub const SIGNAL_CHECK: Duration = Duration::from_millis(200);

/// Waits until the baton comes, or the loop is closed (false). `queue` is called first, and tells whether it came at
/// once.
///
/// The step that has it may take long. Home, which may be the interpreter's main thread, runs signal handlers
/// meanwhile; what the first of them raised comes back too, for the baton must be here before anything is raised.
pub fn wait_granted(
    py: Python<'_>,
    this: &LoopCore,
    member: &Member,
    queue: impl FnOnce() -> bool + Send,
) -> (bool, Option<PyErr>) {
    let mut raised = None;
    let mut outcome = member.without_gil(py, || if queue() { Some(true) } else { sleep(this, member) });
    loop {
        if let Some(granted) = outcome {
            return (granted, raised);
        }
        if let Err(error) = member.ungated(|| py.check_signals()) {
            raised.get_or_insert(error);
        }
        outcome = member.without_gil(py, || sleep(this, member));
    }
}

/// Sleeps until the baton comes (true) or the loop is closed (false). None: look whether there was a signal. Without
/// the GIL.
fn sleep(this: &LoopCore, member: &Member) -> Option<bool> {
    while !this.baton().is_granted(&member.waiter) {
        if this.is_closed() && this.baton().cancel_resume(&member.waiter) {
            return Some(false);
        }
        let woken = member.waiter.parker().park_briefly(member.home.then_some(SIGNAL_CHECK));
        if member.home && woken != Wake::Unparked && !this.baton().is_granted(&member.waiter) {
            return None;
        }
    }
    Some(true)
}
