//! How long until something that failed is tried again.

use std::time::Duration;

/// The first pause, at most.
const FIRST: Duration = Duration::from_millis(400);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(15);

/// Pauses that double, each cut by up to a half at random: nodes that have lost the server at the same
/// moment do not come back at the same moment.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure; `random` is 0 to 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }

    /// How many failures there were in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// All is well again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A random number, 0 to 1; in the middle where the system gives none.
pub(super) fn random() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.next(0.0).as_millis()).collect();
        assert_eq!(pauses, [400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000]);
        assert_eq!(backoff.next(1.0).as_millis(), 7500, "cut by a half at most");
        for _ in 0..100 {
            assert!(backoff.next(random()) <= LONGEST);
        }
        backoff.reset();
        assert_eq!(backoff.next(0.0), FIRST);
    }
}
