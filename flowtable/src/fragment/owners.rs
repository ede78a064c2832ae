//! How many datagrams each owner has under way.

use crate::sync::{AtomicU64, Ordering};

/// An owner's share of the table.
const SHARE: usize = 16;

/// But so many, even in the smallest table.
const MIN_UNDER_WAY: u64 = 8;

/// Every owner that a `u16` can name.
const OWNERS: usize = 1 << 16;

/// The owner has its share.
pub(super) struct AtShare;

/// A datagram counts from its first fragment until all of it was seen, or it is forgotten. One that has
/// expired counts until its bucket is next asked for room.
pub(super) struct Owners {
    max: u64,
    under_way: Box<[AtomicU64]>,
}

impl Owners {
    pub(super) fn new(slots: usize) -> Self {
        let max = ((slots / SHARE) as u64).max(MIN_UNDER_WAY);
        Self { max, under_way: (0..OWNERS).map(|_| AtomicU64::default()).collect() }
    }

    /// Counts one more, unless the owner has its share.
    pub(super) fn charge(&self, owner: u16) -> Result<(), AtShare> {
        let admit = |count| (count < self.max).then(|| count + 1);
        let charged = self.owner(owner).fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit);
        charged.map(drop).map_err(|_| AtShare)
    }

    /// Counts one more, whatever the share: it is there.
    pub(super) fn readmit(&self, owner: u16) {
        self.owner(owner).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less. Whoever completes or forgets a datagram calls this once, under its bucket's lock.
    pub(super) fn release(&self, owner: u16) {
        self.owner(owner).fetch_sub(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn under_way(&self, owner: u16) -> u64 {
        self.owner(owner).load(Ordering::Relaxed)
    }

    fn owner(&self, owner: u16) -> &AtomicU64 {
        &self.under_way[usize::from(owner)]
    }
}
