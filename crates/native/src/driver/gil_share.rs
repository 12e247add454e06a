//! A loop that always has work shares the GIL with other threads: `everloop_core::lock_share` decides when.

use crate::member::Member;
use everloop_core::lock_share::LockShare;
use everloop_core::sys::times_slept;
use pyo3::prelude::*;
use std::time::Instant;

/// Lends the GIL to other threads for a moment, at `now`. `aside`: some of them are at work in steps of this loop.
pub fn lend(share: &mut LockShare, py: Python<'_>, member: &Member, now: u64, aside: bool) {
    let before = times_slept();
    member.without_gil(py, || {
        let begin = Instant::now();
        while begin.elapsed() < LockShare::WAKE_UP {
            std::thread::yield_now();
        }
    });
    // If this thread had to sleep to get the GIL back, another one has taken it.
    share.lent(now, times_slept() != before, aside);
}
