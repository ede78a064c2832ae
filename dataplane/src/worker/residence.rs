//! How long frames stay with a worker.
//!
//! From the start of the worker's turn, when it takes the batch out of its ring, to the end of it, when
//! what goes on has been handed to the kernel. What a frame waited in the ring before that is not in it.
//! One batch in [`EVERY`] is timed, all its frames alike: a look at the clock for some hundred frames.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One batch in so many is timed.
pub const EVERY: u32 = 16;

/// Upper bounds of the buckets, in nanoseconds; the last bucket has none.
pub const BOUNDS_NANOS: [u64; 13] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000,
    20_000_000,
];

/// A histogram with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Residence {
    buckets: [AtomicU64; BOUNDS_NANOS.len() + 1],
    sum_nanos: AtomicU64,
}

/// What was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ResidenceCounts {
    /// Frames by bucket, each only in its own.
    pub buckets: [u64; BOUNDS_NANOS.len() + 1],
    /// Nanoseconds of all of them together.
    pub sum_nanos: u64,
}

impl Residence {
    /// `frames` stayed for `took`.
    pub(super) fn record(&self, took: Duration, frames: usize) {
        let nanos = took.as_nanos() as u64;
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        super::add(&self.buckets[bucket], frames as u64);
        super::add(&self.sum_nanos, nanos.saturating_mul(frames as u64));
    }

    /// What was recorded so far.
    pub fn counts(&self) -> ResidenceCounts {
        let buckets = self.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
        ResidenceCounts { buckets, sum_nanos: self.sum_nanos.load(Relaxed) }
    }
}

impl ResidenceCounts {
    /// Both together, as of two workers.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket] + other.buckets[bucket]),
            sum_nanos: self.sum_nanos + other.sum_nanos,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_in_the_first_bucket_that_holds_them() {
        let residence = Residence::default();
        residence.record(Duration::from_micros(1), 3);
        residence.record(Duration::from_nanos(1_001), 2);
        residence.record(Duration::from_secs(1), 1);
        let counts = residence.counts();
        let mut expected = [0; BOUNDS_NANOS.len() + 1];
        (expected[0], expected[1], expected[BOUNDS_NANOS.len()]) = (3, 2, 1);
        assert_eq!(counts.buckets, expected);
        assert_eq!(counts.sum_nanos, 3 * 1_000 + 2 * 1_001 + 1_000_000_000);
        assert_eq!(counts.plus(&counts).buckets[0], 6);
    }
}
