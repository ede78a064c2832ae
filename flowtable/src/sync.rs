//! Atomics and the wait for a lock, so that a test can put its own in their place.
//!
//! With the feature `interleavings` the unit tests run on shuttle's, which try other orders of all
//! accesses (Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding
//! Bugs", 2010). Those are sequentially consistent: an ordering that is too weak is not found so.

#[cfg(not(all(test, feature = "interleavings")))]
mod chosen {
    pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, fence};

    pub(crate) use crossbeam::utils::Backoff;
}

#[cfg(all(test, feature = "interleavings"))]
mod chosen {
    pub(crate) use shuttle::sync::atomic::{AtomicU64, AtomicUsize, fence};

    pub(crate) struct Backoff;

    impl Backoff {
        pub(crate) fn new() -> Self {
            Self
        }

        #[allow(clippy::unused_self, reason = "as the one it stands for")]
        pub(crate) fn snooze(&self) {
            shuttle::thread::yield_now();
        }
    }
}

pub(crate) use chosen::*;
pub(crate) use std::sync::atomic::Ordering;
