//! Work that is timed in slices, with the clearing up between them left out.

use std::time::{Duration, Instant};

/// Does `work` `times` times, `slice` at most at a stretch, and `clear_up` before every stretch;
/// how long the work took.
pub fn in_slices(times: u64, slice: u64, mut clear_up: impl FnMut(), mut work: impl FnMut()) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = times;
    while left > 0 {
        clear_up();
        let stretch = left.min(slice);
        let begun = Instant::now();
        for _ in 0..stretch {
            work();
        }
        spent += begun.elapsed();
        left -= stretch;
    }
    spent
}
