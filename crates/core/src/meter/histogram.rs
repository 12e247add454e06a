//! A histogram of durations: its buckets grow with what they hold, so that each tells a duration to a fifth.

use crate::sync::{AtomicU64, Ordering};
use std::array;

/// The power of two of the shortest duration that is told apart, in nanoseconds: about a microsecond.
const FINEST: u32 = 10;
/// Durations are told apart up to 2^36 nanoseconds, somewhat more than a minute.
const OCTAVES: u32 = 26;
/// Each power of two is divided into so many buckets.
const PARTS: usize = 4;
const BUCKETS: usize = OCTAVES as usize * PARTS;

/// Counts of durations, in nanoseconds. One thread at a time writes; any thread reads, at any moment, what may be in
/// the middle of a write: then one duration is in some of the numbers only.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    total: AtomicU64,
    least: AtomicU64,
    most: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            total: AtomicU64::new(0),
            least: AtomicU64::new(u64::MAX),
            most: AtomicU64::new(0),
        }
    }
}

/// What a histogram holds at one moment.
#[derive(Clone, Debug)]
pub struct Counts {
    buckets: [u64; BUCKETS],
    /// The sum of all durations.
    pub total: u64,
    least: u64,
    most: u64,
}

#[inline]
fn bucket_of(duration: u64) -> usize {
    let told = duration.clamp(1 << FINEST, (1 << (FINEST + OCTAVES)) - 1);
    let octave = told.ilog2() - FINEST;
    let part = (told >> (octave + FINEST - 2)) as usize % PARTS;
    octave as usize * PARTS + part
}

/// The durations in a bucket are shorter than this; in the last one they may be longer.
fn end_of(bucket: usize) -> u64 {
    ((PARTS + bucket % PARTS + 1) as u64) << (FINEST as usize - 2 + bucket / PARTS)
}

impl Histogram {
    /// Adds a duration. Only the one thread that writes calls this.
    #[inline]
    pub fn record(&self, duration: u64) {
        let add = |count: &AtomicU64, more| count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        add(&self.buckets[bucket_of(duration)], 1);
        add(&self.total, duration);
        if duration < self.least.load(Ordering::Relaxed) {
            self.least.store(duration, Ordering::Relaxed);
        }
        if duration > self.most.load(Ordering::Relaxed) {
            self.most.store(duration, Ordering::Relaxed);
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            buckets: array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
            total: self.total.load(Ordering::Relaxed),
            least: self.least.load(Ordering::Relaxed),
            most: self.most.load(Ordering::Relaxed),
        }
    }
}

impl Counts {
    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The shortest duration; 0 without any.
    pub fn least(&self) -> u64 {
        self.least.min(self.most)
    }

    /// The longest duration.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// The average duration; 0 without any.
    pub fn mean(&self) -> u64 {
        self.total.checked_div(self.count()).unwrap_or(0)
    }

    /// A duration that this share of all (0 to 1) does not exceed: up to a fifth too long, and never too short.
    pub fn percentile(&self, share: f64) -> u64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                let last = bucket == BUCKETS - 1;
                return if last { self.most } else { end_of(bucket).clamp(self.least(), self.most.max(self.least())) };
            }
        }
        0
    }

    /// Bounds that are powers of two, each with the number of durations that are shorter: the longest bound that is
    /// told apart comes last.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut seen = 0;
        self.buckets.chunks(PARTS).enumerate().map(move |(octave, counts)| {
            seen += counts.iter().sum::<u64>();
            (end_of(octave * PARTS + PARTS - 1), seen)
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(durations: &[u64]) -> Counts {
        let histogram = Histogram::default();
        durations.iter().for_each(|duration| histogram.record(*duration));
        histogram.counts()
    }

    #[test]
    fn without_durations_all_is_nothing() {
        let counts = of(&[]);
        assert_eq!([counts.count(), counts.least(), counts.most(), counts.mean(), counts.percentile(0.5)], [0; 5]);
        assert!(counts.cumulative().all(|(_, count)| count == 0));
    }

    #[test]
    fn what_is_known_exactly_is_told_exactly() {
        let counts = of(&[3_000, 1_000_000, 5]);
        assert_eq!((counts.count(), counts.least(), counts.most()), (3, 5, 1_000_000));
        assert_eq!(counts.mean(), 1_003_005 / 3);
        assert_eq!(counts.percentile(1.0), 1_000_000);
        assert_eq!(of(&[7_000]).percentile(0.5), 7_000);
    }

    #[test]
    fn one_long_duration_among_a_hundred_is_the_last_percentile() {
        let mut durations = vec![2_000; 99];
        durations.push(800_000_000);
        let counts = of(&durations);
        assert!(counts.percentile(0.99) < 3_000);
        assert_eq!(counts.percentile(0.995), 800_000_000);
    }

    #[test]
    fn what_is_too_long_to_be_told_apart_counts() {
        let counts = of(&[u64::MAX >> 1, 1]);
        assert_eq!((counts.count(), counts.percentile(1.0)), (2, u64::MAX >> 1));
        assert_eq!(counts.cumulative().last(), Some((1 << 36, 2)));
        assert_eq!(counts.cumulative().next(), Some((1 << 11, 1)));
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(end_of(bucket) - 1), bucket);
            assert_eq!(bucket_of(end_of(bucket)), bucket + 1);
        }
    }

    proptest! {
        #[test]
        fn a_percentile_is_never_too_short_nor_more_than_a_fifth_too_long(
            mut durations in proptest::collection::vec(1u64 << 11..1 << 35, 1..50), share in 0.01..1.0f64,
        ) {
            durations.sort_unstable();
            let rank = ((durations.len() as f64 * share).ceil() as usize).clamp(1, durations.len());
            let exact = durations[rank - 1];
            let told = of(&durations).percentile(share);
            prop_assert!(exact <= told && told <= exact + exact / 4, "{exact} is told as {told}");
        }
    }
}
