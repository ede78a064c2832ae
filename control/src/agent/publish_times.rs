//! How long changes took to be in force.

use std::time::Duration;

use hdrhistogram::Histogram;

/// What takes longer counts as this long: a histogram that grows by itself does not do so for what
/// is recorded saturating, and would take everything for its smallest value.
const LONGEST_MICROS: u64 = 60_000_000;

/// Times from a change being seen to its policy being published, in microseconds, to three digits.
#[derive(Debug)]
pub(super) struct PublishTimes(Option<Histogram<u64>>);

impl Default for PublishTimes {
    fn default() -> Self {
        // A size it takes; without a histogram nothing is told.
        Self(Histogram::new_with_max(LONGEST_MICROS, 3).ok())
    }
}

impl PublishTimes {
    pub(super) fn record(&mut self, took: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(took.as_micros() as u64);
        }
    }

    /// How many were recorded.
    pub(super) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The time that so much of a hundred changes stayed within, in milliseconds.
    pub(super) fn percentile_ms(&self, percentile: f64) -> Option<f64> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(histogram.value_at_percentile(percentile) as f64 / 1e3)
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
}
