//! A place where a thread waits, without the global lock, for another thread that has that lock.
//!
//! A thread whose last wait was short spins before it sleeps ([`AdaptiveSpin`]). One that goes on while the other still
//! has the global lock would fall asleep again at once, to wait for that: so, as long as it spins, it waits for the
//! lock to be let go of as well. (A round trip that took 90 microseconds, since the thread was woken too early, takes
//! 23.)

use super::adaptive_spin::{AdaptiveSpin, SPIN, spin};
use super::parker::Parker;
use crate::sys::{self, Wake};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The number of times that threads have let go of the global lock. Counted are the threads that say so: those that
/// wait here, and those that turn loops. Release when it is written and Acquire when it is read: a thread that sees a
/// new number sees what came before it.
static RELEASES: AtomicU64 = AtomicU64::new(0);

/// The calling thread has just let go of the global lock.
pub fn note_release() {
    RELEASES.fetch_add(1, Ordering::Release);
}

/// The time of the last post to a thread that waits, counted in releases of the global lock. Written by the thread that
/// posts, read by the one that waits.
#[derive(Default)]
pub struct LastPost(AtomicU64);

impl LastPost {
    /// The calling thread, which has the global lock, posts something.
    pub fn note(&self) {
        self.0.store(RELEASES.load(Ordering::Acquire), Ordering::Release);
    }

    /// True if the global lock has been let go of since the post: most likely by the thread that posted.
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) != RELEASES.load(Ordering::Acquire)
    }
}

thread_local! {
    /// The adaptive spin that this thread has learned from its waits here.
    static LEARNED: Cell<AdaptiveSpin> = const { Cell::new(AdaptiveSpin::new()) };
}

#[derive(Default)]
pub struct SpinThenPark {
    parker: Parker,
    /// The time of the last `unpark`.
    last_post: LastPost,
}

impl SpinThenPark {
    /// Ends the present wait, or else the next one. Called by a thread that has the global lock.
    pub fn unpark(&self) {
        self.last_post.note();
        self.parker.unpark();
    }

    /// Waits for [`unpark`](Self::unpark), a signal, or the end of `timeout`. Called by a thread that has just let go
    /// of the global lock.
    pub fn park(&self, timeout: Option<Duration>) -> Wake {
        note_release();
        let begin = sys::now();
        let waited = || Duration::from_nanos(sys::now() - begin);
        let mut learned = LEARNED.get();
        let spins = learned.spins();
        if spins {
            let limit = timeout.map_or(SPIN, |timeout| timeout.min(SPIN));
            spin(limit, || self.parker.is_unparked() && self.last_post.is_over());
        }
        let wake = self.parker.park(timeout.map(|timeout| timeout.saturating_sub(waited())));
        learned.learn(spins, waited(), wake == Wake::Unparked);
        LEARNED.set(learned);
        wake
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_post_is_over_once_somebody_lets_go() {
        let post = LastPost::default();
        post.note();
        note_release();
        assert!(post.is_over());
    }

    #[test]
    fn a_wait_ends_when_it_is_told_whether_the_thread_is_awake_or_asleep() {
        let places: [Arc<SpinThenPark>; 2] = Default::default();
        let other = places.clone();
        let thread = std::thread::spawn(move || {
            for _ in 0..1000 {
                while other[0].park(None) != Wake::Unparked {}
                other[1].unpark();
            }
        });
        for _ in 0..1000 {
            places[0].unpark();
            while places[1].park(None) != Wake::Unparked {}
        }
        thread.join().expect("it only waits");
        assert_eq!(places[0].park(Some(Duration::ZERO)), Wake::TimedOut);
    }
}
