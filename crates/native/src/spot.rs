//! Where a thread waits, without the GIL, for another one that has it.
//!
//! Being woken costs more than all else of a call that crosses threads, so a thread whose last wait was short stays awake
//! for a moment before it sleeps. A thread that is told while the other one still has the GIL would fall asleep again, to
//! wait for that: as long as it is awake it waits for the GIL to be let go of as well.

use everloop_core::parker::{Parker, Wake, stay_awake};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a thread stays awake.
pub const AWAKE: Duration = Duration::from_micros(50);
/// The wait before was short: both threads woken once each, and nothing much done in between.
pub const SHORT: Duration = Duration::from_micros(200);

/// How often threads have let go of the GIL, of those that say so: the ones that wait at spots, and those that turn loops.
static LETTING_GO: AtomicU64 = AtomicU64::new(0);

/// The calling thread has just let go of the GIL.
pub fn note_free_gil() {
    LETTING_GO.fetch_add(1, Ordering::Release);
}

/// A moment, as far as letting go of the GIL is concerned.
#[derive(Default)]
pub struct Moment(AtomicU64);

impl Moment {
    /// Notes that the calling thread has the GIL now.
    pub fn note(&self) {
        self.0.store(LETTING_GO.load(Ordering::Acquire), Ordering::Release);
    }

    /// Whether the GIL has been let go of since.
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) != LETTING_GO.load(Ordering::Acquire)
    }
}

thread_local! {
    /// Whether this thread's last wait at a spot was short.
    static IS_QUICK: Cell<bool> = const { Cell::new(false) };
}

#[derive(Default)]
pub struct Spot {
    parker: Parker,
    /// Of the last `rouse`.
    roused: Moment,
}

impl Spot {
    /// Ends the wait of now, or else the next one. By a thread that has the GIL.
    pub fn rouse(&self) {
        self.roused.note();
        self.parker.unpark();
    }

    /// Waits to be roused. By a thread that has just let go of the GIL.
    pub fn wait(&self, timeout: Option<Duration>) -> Wake {
        note_free_gil();
        let begin = Instant::now();
        if IS_QUICK.get() {
            stay_awake(timeout.map_or(AWAKE, |t| t.min(AWAKE)), || self.parker.is_unparked() && self.roused.is_over());
        }
        let wake = self.parker.park(timeout.map(|t| t.saturating_sub(begin.elapsed())));
        IS_QUICK.set(begin.elapsed() < SHORT);
        wake
    }
}
