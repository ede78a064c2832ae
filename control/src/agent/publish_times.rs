//! How long changes took to be in force.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::api::Distribution;

/// What takes longer counts as this long: a histogram that grows by itself does not do so for what
/// is recorded saturating, and would take everything for its smallest value.
const LONGEST_MICROS: u64 = 60_000_000;

/// Times from a change being seen to its policy being published, in microseconds, to three digits.
#[derive(Debug)]
pub(super) struct PublishTimes {
    histogram: Option<Histogram<u64>>,
    sum: Duration,
}

impl Default for PublishTimes {
    fn default() -> Self {
        // A size it takes; without a histogram nothing is told.
        Self { histogram: Histogram::new_with_max(LONGEST_MICROS, 3).ok(), sum: Duration::ZERO }
    }
}

impl PublishTimes {
    pub(super) fn record(&mut self, took: Duration) {
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(took.as_micros() as u64);
            self.sum += took;
        }
    }

    /// How many were recorded.
    pub(super) fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// The time that so much of a hundred changes stayed within, in milliseconds.
    pub(super) fn percentile_ms(&self, percentile: f64) -> Option<f64> {
        let histogram = self.histogram.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(histogram.value_at_percentile(percentile) as f64 / 1e3)
    }

    /// The same in buckets: what is over the bound before and up to each of `bounds`, which ascend, and what
    /// is over the last. To three digits too: what is hardly over a bound counts as up to it.
    pub(super) fn distribution(&self, bounds: &[Duration]) -> Distribution {
        let upper = bounds.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let mut buckets: Vec<(f64, u64)> = upper.map(|bound| (bound, 0)).collect();
        if let Some(histogram) = &self.histogram {
            for step in histogram.iter_recorded() {
                let micros = histogram.lowest_equivalent(step.value_iterated_to());
                let bucket = bounds.partition_point(|bound| (bound.as_micros() as u64) < micros);
                buckets[bucket].1 += step.count_at_value();
            }
        }
        Distribution { buckets, sum_seconds: self.sum.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_recorded() {
        let mut times = PublishTimes::default();
        assert_eq!(times.percentile_ms(99.0), None);
        for milliseconds in 1..=100 {
            times.record(Duration::from_millis(milliseconds));
        }
        let within = |percentile: f64, expected: f64| {
            let found = times.percentile_ms(percentile).unwrap();
            assert!((found - expected).abs() < 0.1, "{found}");
        };
        within(50.0, 50.0);
        within(99.0, 99.0);
    }

    #[test]
    fn every_time_is_in_one_bucket() {
        let mut times = PublishTimes::default();
        let bounds = [1, 10, 100].map(Duration::from_millis);
        for micros in [0, 1_000, 1_001, 5_000, 10_000, 50_000, 100_500, 90_000_000] {
            times.record(Duration::from_micros(micros));
        }
        let found = times.distribution(&bounds);
        assert_eq!(found.buckets, [(0.001, 2), (0.01, 3), (0.1, 1), (f64::INFINITY, 2)]);
        assert!((found.sum_seconds - 90.1675).abs() < 1e-3, "{found:?}");
        assert_eq!(
            PublishTimes::default().distribution(&bounds).buckets.iter().map(|(_, n)| n).sum::<u64>(),
            0
        );
    }
}
