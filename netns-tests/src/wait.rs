//! Conditions, awaited: no test sleeps for a time it hopes is enough.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `condition` yields something, and returns it with how long that took. Panics, saying
/// `what` did not happen, after `at_most`.
#[track_caller]
pub fn eventually<T>(
    what: &str,
    at_most: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return (found, start.elapsed());
        }
        assert!(start.elapsed() < at_most, "within {at_most:?} this did not happen: {what}");
        sleep(LOOK_EVERY);
    }
}

/// Looks until `condition` holds; returns how long that took.
#[track_caller]
pub fn wait_until(what: &str, at_most: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    eventually(what, at_most, || condition().then_some(())).1
}
