//! What became of the flows, in numbers.

use crossbeam::utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};

/// Counts since the table was made. Every flow that opened is still there or ended in one way:
/// `opened == len + expired + removed + evicted + reopened` when nobody writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableStats {
    /// Flows recorded.
    pub opened: u64,
    /// Flows that were silent for too long.
    pub expired: u64,
    /// Flows taken away by `remove`.
    pub removed: u64,
    /// Flows given up for a new one when there was no room.
    pub evicted: u64,
    /// Flows, finished or cut by policy, that made way for a new connection on the same ports.
    pub reopened: u64,
    /// Flows not recorded because there was no room and nothing to give up.
    pub full: u64,
    /// Flows not recorded because their owner had as many as it may.
    pub over_flow_quota: u64,
    /// Flows not recorded because their owner had as many half-open ones as it may.
    pub over_half_open_quota: u64,
}

/// The living form of [`TableStats`]. Opening and ending flows touch it, known packets do not.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) opened: CachePadded<AtomicU64>,
    pub(crate) expired: CachePadded<AtomicU64>,
    pub(crate) removed: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) reopened: AtomicU64,
    pub(crate) full: AtomicU64,
    pub(crate) over_flow_quota: AtomicU64,
    pub(crate) over_half_open_quota: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> TableStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TableStats {
            opened: load(&self.opened),
            expired: load(&self.expired),
            removed: load(&self.removed),
            evicted: load(&self.evicted),
            reopened: load(&self.reopened),
            full: load(&self.full),
            over_flow_quota: load(&self.over_flow_quota),
            over_half_open_quota: load(&self.over_half_open_quota),
        }
    }
}

/// Counts one.
#[inline]
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
