//! What a loop's time goes into: it is busy, it sleeps, or it waits for the global lock after a sleep.
//!
//! The loop reads no clock for this: it looks at one before it polls files, and after a sleep, and tells the meter what
//! it saw. Between two polls it runs one turn, or up to 32 short ones.
//!
//! **Who may touch what.** The holder of the baton writes, with plain stores; any thread reads. A thread that sleeps in
//! the poll is the holder in name only: another one may take the baton from it, and go on with the meter. So a sleep is
//! known by the time at which it began, and whoever wakes up says which one it was ([`Meter::wake_up`]): one that is no
//! longer the loop's counts for nothing.
//!
//! A step that takes the baton from a sleeper is counted as sleep until the loop looks at the clock next: to read one
//! there would cost each `block_on` more than it is worth.

mod histogram;

pub use histogram::{Counts, Histogram};

use crate::sync::{AtomicU64, Ordering};

/// Set in the time at which a sleep began, once its thread has woken up.
const WOKEN: u64 = 1;

/// Times are in nanoseconds.
#[derive(Debug, Default)]
pub struct Meter {
    /// The time up to which all is counted.
    counted: AtomicU64,
    /// The time at which the loop lay down to sleep, an even number, with `WOKEN` added when that is over; 0: it is
    /// awake.
    asleep: AtomicU64,
    /// The time at which the thread that slept woke up. Written by it, without the global lock.
    woke: AtomicU64,
    busy: AtomicU64,
    idle: AtomicU64,
    lock_wait: AtomicU64,
    /// How long the loop is busy from one look at files and the clock to the next.
    pub turns: Histogram,
    /// How late it comes to what is due: from the time of a timer, or the end of a sleep, to when it is seen.
    pub delays: Histogram,
}

/// What a loop's time went into, up to its last look at the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub busy: u64,
    pub idle: u64,
    pub lock_wait: u64,
}

impl Times {
    /// The share of its time in which the loop did not sleep, from 0 to 1.
    pub fn utilization(self) -> f64 {
        let awake = self.busy + self.lock_wait;
        if awake == 0 { 0.0 } else { awake as f64 / (awake + self.idle) as f64 }
    }
}

#[inline]
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Meter {
    /// A run begins. What has passed since the last one is not counted.
    pub fn begin(&self, now: u64) {
        self.asleep.store(0, Ordering::Relaxed);
        self.counted.store(now, Ordering::Relaxed);
    }

    /// The time up to which all is counted: that of the loop's last look at the clock, when it polled.
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// A timer is seen at `now` which was due so long ago. It has not waited for longer than since the last look at
    /// timers, at `last` or later: one that was set for a time that was past has waited since then at the most.
    #[inline]
    pub fn note_due(&self, ago: u64, last: u64, now: u64) {
        self.delays.record(ago.min(now.saturating_sub(last)));
    }

    /// The loop looks at the clock, before it polls, or at the end of a run.
    #[inline]
    pub fn look(&self, now: u64) {
        let asleep = self.asleep.load(Ordering::Relaxed);
        if asleep != 0 {
            return self.get_up(now); // the baton was taken from a thread in the poll
        }
        let passed = now.saturating_sub(self.counted.load(Ordering::Relaxed));
        add(&self.busy, passed);
        self.turns.record(passed);
        self.counted.store(now, Ordering::Relaxed);
    }

    /// The loop lies down to sleep: it has just looked at the clock. Returns what its thread tells when it wakes up.
    pub fn lie_down(&self, now: u64) -> u64 {
        let asleep = now & !WOKEN;
        self.asleep.store(asleep, Ordering::Relaxed);
        asleep
    }

    /// The thread that lay down has woken up, and asks for the global lock.
    pub fn wake_up(&self, asleep: u64, now: u64) {
        self.woke.store(now, Ordering::Relaxed);
        // Pairs with the load in `waits_for_lock`: who sees the mark sees the time.
        let _other_goes_on = self.asleep.compare_exchange(asleep, asleep | WOKEN, Ordering::Release, Ordering::Relaxed);
    }

    /// The loop is awake, and has the global lock.
    pub fn get_up(&self, now: u64) {
        let asleep = self.asleep.load(Ordering::Relaxed);
        if asleep == 0 {
            return self.look(now); // others have turned the loop meanwhile
        }
        let counted = self.counted.load(Ordering::Relaxed);
        let woke = if asleep & WOKEN == 0 { now } else { self.woke.load(Ordering::Relaxed).clamp(counted, now) };
        add(&self.idle, woke.saturating_sub(counted));
        if asleep & WOKEN != 0 {
            add(&self.lock_wait, now - woke);
            self.delays.record(now - woke);
        }
        self.asleep.store(0, Ordering::Relaxed);
        self.counted.store(now, Ordering::Relaxed);
    }

    /// The time since which the loop, no longer asleep, waits for the global lock; None: it does not.
    pub fn waits_for_lock(&self) -> Option<u64> {
        (self.asleep.load(Ordering::Acquire) & WOKEN != 0).then(|| self.woke.load(Ordering::Relaxed))
    }

    pub fn times(&self) -> Times {
        Times {
            busy: self.busy.load(Ordering::Relaxed),
            idle: self.idle.load(Ordering::Relaxed),
            lock_wait: self.lock_wait.load(Ordering::Relaxed),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn begun(now: u64) -> Meter {
        let meter = Meter::default();
        meter.begin(now * MS);
        meter
    }

    fn times(meter: &Meter) -> [u64; 3] {
        let Times { busy, idle, lock_wait } = meter.times();
        [busy / MS, idle / MS, lock_wait / MS]
    }

    #[test]
    fn all_that_passes_in_a_run_is_counted_once() {
        let meter = begun(100);
        meter.look(103 * MS);
        let sleep = meter.lie_down(103 * MS);
        assert_eq!(meter.waits_for_lock(), None);
        meter.wake_up(sleep, 110 * MS);
        assert_eq!(meter.waits_for_lock(), Some(110 * MS));
        meter.get_up(112 * MS);
        assert_eq!(meter.waits_for_lock(), None);
        meter.look(120 * MS);
        assert_eq!(times(&meter), [3 + 8, 7, 2]);
        assert_eq!((meter.turns.counts().count(), meter.turns.counts().most()), (2, 8 * MS));
        assert_eq!((meter.delays.counts().count(), meter.delays.counts().most()), (1, 2 * MS));
        assert!((meter.times().utilization() - 13.0 / 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_timer_that_was_set_for_the_past_has_waited_since_the_last_look() {
        let meter = begun(0);
        meter.note_due(2 * MS, MS, 9 * MS);
        meter.note_due(u64::MAX, 4 * MS, 9 * MS);
        assert_eq!((meter.delays.counts().total, meter.delays.counts().most()), (7 * MS, 5 * MS));
    }

    #[test]
    fn what_passes_between_two_runs_is_not() {
        let meter = begun(0);
        meter.look(MS);
        meter.begin(500 * MS);
        meter.look(502 * MS);
        assert_eq!(times(&meter), [3, 0, 0]);
    }

    #[test]
    fn a_sleep_that_was_none_is_idle_and_waits_for_nothing() {
        let meter = begun(0);
        meter.look(MS);
        meter.lie_down(MS);
        meter.get_up(2 * MS);
        assert_eq!(times(&meter), [1, 1, 0]);
        assert_eq!(meter.delays.counts().count(), 0);
    }

    #[test]
    fn a_sleeper_whose_baton_was_taken_counts_for_nothing() {
        let meter = begun(1);
        let first = meter.lie_down(MS);
        meter.look(5 * MS); // of the thread that took it
        assert_eq!(times(&meter), [0, 4, 0]);
        meter.wake_up(first, 6 * MS);
        assert_eq!(meter.waits_for_lock(), None);
        let second = meter.lie_down(8 * MS);
        meter.wake_up(first, 9 * MS);
        assert_eq!(meter.waits_for_lock(), None);
        meter.wake_up(second, 10 * MS);
        assert_eq!(meter.waits_for_lock(), Some(10 * MS));
    }

    #[test]
    fn home_that_waited_for_the_baton_goes_on_where_the_others_are() {
        let meter = begun(1);
        meter.lie_down(MS);
        meter.look(2 * MS); // another thread, which turns the loop
        meter.look(4 * MS);
        meter.get_up(5 * MS); // home
        assert_eq!(times(&meter), [3, 1, 0]);
    }

    #[test]
    fn without_time_nothing_is_busy() {
        assert!(Times::default().utilization().abs() < 1e-9);
    }
}
