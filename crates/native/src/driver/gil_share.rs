//! How a loop that always has work shares the GIL with other threads.

use crate::member::Member;
use everloop_core::sys::times_slept;
use pyo3::prelude::*;
use std::mem;
use std::time::{Duration, Instant};

/// When a loop that always has work to do lends the GIL to other threads.
///
/// The interpreter would take it away only every five milliseconds (`sys.getswitchinterval`), twice for each call that runs in
/// an executor. Letting go of it for a moment now and then is worse than nothing: each time the waiting threads are woken,
/// come too late, and begin their five milliseconds anew. So it is lent for as long as it takes to wake up; often while
/// somebody takes it, and ever more seldom while nobody does.
pub struct GilShare {
    /// When the GIL is to be lent next, in nanoseconds of the system's clock; None while it has just been free.
    due: Option<u64>,
    /// Nanoseconds between two times.
    interval: u64,
    /// Another thread has sent something since the GIL was last lent.
    pub heard: bool,
    /// Until then other threads are taken to be at work, because one was heard.
    company_until: u64,
}

impl Default for GilShare {
    fn default() -> Self {
        Self { due: None, interval: Self::LONGEST, heard: false, company_until: 0 }
    }
}

impl GilShare {
    const SHORTEST: u64 = 50_000;
    const LONGEST: u64 = 5_000_000;
    /// The longest while other threads are at work: those of steps that are aside, or of an executor.
    const LONGEST_IN_COMPANY: u64 = 400_000;
    /// How long one sign of another thread counts.
    const COMPANY: u64 = 100_000_000;
    /// How long a sleeping thread is given to wake up.
    const WAKE_UP: Duration = Duration::from_micros(25);

    /// This thread has let go of the GIL anyway.
    pub fn was_free(&mut self) {
        self.due = None;
    }

    pub fn is_due(&mut self, now: u64) -> bool {
        now >= *self.due.get_or_insert(now + self.interval)
    }

    pub fn lend(&mut self, py: Python<'_>, member: &Member, now: u64, aside: bool) {
        let before = times_slept();
        member.without_gil(py, || {
            let begin = Instant::now();
            while begin.elapsed() < Self::WAKE_UP {
                std::thread::yield_now();
            }
        });
        // Who has to sleep to get it back has lent it.
        let lent = times_slept() != before;
        if mem::take(&mut self.heard) || aside {
            self.company_until = now + Self::COMPANY;
        }
        let longest = if now < self.company_until { Self::LONGEST_IN_COMPANY } else { Self::LONGEST };
        self.interval = if lent { self.interval / 2 } else { self.interval * 2 }.clamp(Self::SHORTEST, longest);
        self.due = Some(now + self.interval);
    }
}
