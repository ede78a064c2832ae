//! The one place where the frame path reads the time.

use nix::time::{ClockId, clock_gettime};
use podgate_flowtable::Time;

/// CLOCK_MONOTONIC, the clock that `bpf_ktime_get_ns` reads too.
#[inline]
pub fn now() -> Time {
    // The clock exists on every Linux; there is no other way for this call to fail.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC");
    Time::from_nanos(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
