//! The sleep of a loop that has nothing to do.

use crate::clock;
use crate::driver::state::Driver;
use crate::errors::os_error;
use crate::handoff::SIGNAL_CHECK;
use crate::watchdog_sleep;
use everloop_core::poll::{Events, Poller};
use everloop_core::turn::Wait;
use everloop_core::wait::{LastPost, SPIN, spin};
use pyo3::prelude::*;
use rustix::io::Errno;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A sleep that was shorter than this, in nanoseconds, did not last: something was ready already, and the GIL was let
/// go of at a risk and for nothing.
const SHORT_SLEEP: u64 = 5_000;

/// The time that a thread which has posted something is given to let go of the GIL. It does not always say when it has.
const LETTING_GO: Duration = Duration::from_micros(10);

impl Driver<'_> {
    /// Sleeps until there is something to do: the one place where a loop lets go of the GIL for that. Returns false if
    /// the baton was taken meanwhile and this is a relief thread: its turn is over.
    pub(super) fn sleep(&mut self, wait: Wait, timeout: Option<Duration>, now: u64) -> PyResult<bool> {
        let core = self.core.clone();
        let this = core.get();
        let deadline = if let Wait::Until(when) = wait { Some(when) } else { None };
        if !this.baton().begin_poll(&self.member.waiter, deadline) {
            // Somebody wants the baton: the next turn begins with giving way.
            return Ok(true);
        }
        this.shared.heartbeat.lie_down(now);
        let asleep = this.shared.meter.lie_down(now);
        let mut polled = Ok(());
        // A step that computes goes on only if there is nothing else to do: this looks first, whatever comes next.
        let patient = this.baton().has_patients();
        if patient {
            polled = check_poll(self.poller.wait(&mut self.events, Some(Duration::ZERO)));
        }
        // A thread that pushed before `begin_poll` saw no sleeper, and wakes nobody.
        if this.queues.inbox.is_filled() {
            // The loop does not sleep: the inbox is read next.
        } else if patient && (polled.is_err() || !self.events.is_empty()) {
            // Nor does it here.
        } else if let Some(wait) = &self.sleeper {
            let seconds = timeout.map(|timeout| timeout.as_secs_f64());
            polled = wait.call1((self.poller.as_raw_fd(), seconds)).map(drop);
            let found = check_poll(self.poller.wait(&mut self.events, Some(Duration::ZERO)));
            polled = polled.and(found);
        } else {
            let (poller, events) = (&self.poller, &mut self.events);
            if patient {
                this.baton().pass_to_patient();
            }
            let spins = timeout.is_none_or(|timeout| timeout > SPIN) && self.adaptive_spin.spins();
            let (outcome, woke) = self.member.without_gil(self.py, || {
                let outcome = if !spins {
                    poller.wait(events, timeout)
                } else if find_soon(poller, &this.shared.last_post, events) {
                    Ok(())
                } else {
                    // A signal that came meanwhile does not end this sleep: it is handled after it.
                    poller.wait(events, Some(timeout.map_or(SIGNAL_CHECK, |timeout| timeout.min(SIGNAL_CHECK))))
                };
                let woke = clock::now();
                this.shared.meter.wake_up(asleep, woke);
                // Somebody may keep the GIL for long: the watchdog is to see that.
                watchdog_sleep::wake();
                (outcome, woke)
            });
            self.adaptive_spin.learn(spins, Duration::from_nanos(woke - now), poller.is_woken());
            self.sleeps_at_once = woke - now > SHORT_SLEEP;
            self.turns_awake = 0;
            polled = check_poll(outcome);
        }
        if !this.baton().end_poll(&self.member.waiter) {
            self.events.clear();
            if !self.member.home {
                return Ok(false);
            }
            self.await_baton()?;
        }
        // It may have been another thread's meanwhile.
        this.shared.turner.store(self.member.thread, Ordering::Relaxed);
        watchdog_sleep::wake();
        polled?;
        self.py.check_signals()?;
        Ok(true)
    }
}

/// Returns the error of a poll that must end the run. A signal is none: its handler is Python code, for the main thread
/// to run. Any other error means that somebody has closed the descriptor of the poller: no file would ever be ready
/// again.
pub fn check_poll(outcome: Result<(), Errno>) -> PyResult<()> {
    match outcome {
        Ok(()) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(os_error(error)),
    }
}

/// Polls without sleeping, for a moment, since another thread will send something soon. Returns true if a file is
/// ready.
fn find_soon(poller: &Poller, last_post: &LastPost, events: &mut Events) -> bool {
    let mut woken = None;
    spin(SPIN, || {
        if poller.is_woken() {
            // The thread that woke it may still have the GIL: this one would get up only to wait for it.
            return last_post.is_over() || woken.get_or_insert_with(Instant::now).elapsed() > LETTING_GO;
        }
        poller.wait(events, Some(Duration::ZERO)).is_err() || !events.is_empty()
    });
    !events.is_empty()
}
