//! One cache line that says which of its 28 slots may hold a key.
//!
//! A bucket holds a 16-bit tag for each of its slots and the lock that inserts and removals take.
//! Lookups only read. Slots never move, so a reader that finds a tag finds the entry.

use crate::sync::{AtomicU64, Backoff, Ordering};

/// Slots of one bucket.
pub(crate) const WAYS: usize = 28;

const WORDS: usize = WAYS / 4;
const LANES: u64 = 0x0001_0001_0001_0001;
const LANE_HIGH_BITS: u64 = LANES << 15;

/// Tags of one bucket's slots, four to a word, 0 for a free slot; then the lock.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    tags: [AtomicU64; WORDS],
    lock: AtomicU64,
}

#[cfg(not(all(test, feature = "interleavings")))]
const _: () = assert!(size_of::<Bucket>() == 64);

/// What a lookup compares before it touches an entry. Never 0, which marks a free slot.
#[derive(Clone, Copy)]
pub(crate) struct Tag(u16);

impl Tag {
    #[inline]
    pub(crate) fn of(hash: u64) -> Self {
        Self((hash as u16).max(1))
    }
}

impl Bucket {
    /// The slots that may hold a key with `tag`: all that do, and rarely another one behind such a
    /// slot, which comparing the key tells apart.
    #[inline]
    pub(crate) fn matching(&self, tag: Tag) -> Ways {
        let pattern = u64::from(tag.0) * LANES;
        let mut found = 0;
        for (index, word) in self.tags.iter().enumerate() {
            // Acquire: whoever sees a tag sees the entry that was filled before it was set.
            let differences = word.load(Ordering::Acquire) ^ pattern;
            // Borrows out of a lane that is zero reach the next one (Mycroft, 1987).
            let zero_lanes = differences.wrapping_sub(LANES) & !differences & LANE_HIGH_BITS;
            found |= (zero_lanes >> 15) << index;
        }
        Ways(found)
    }

    /// The slots that are free, exactly.
    #[inline]
    pub(crate) fn vacant(&self) -> Ways {
        let low_bits = !LANE_HIGH_BITS;
        let mut found = 0;
        for (index, word) in self.tags.iter().enumerate() {
            let tags = word.load(Ordering::Acquire);
            let zero_lanes = !(((tags & low_bits) + low_bits) | tags) & LANE_HIGH_BITS;
            found |= (zero_lanes >> 15) << index;
        }
        Ways(found)
    }

    /// The slots that are in use.
    #[inline]
    pub(crate) fn occupied(&self) -> Ways {
        Ways(!self.vacant().0 & ALL_WAYS)
    }

    /// Takes the bucket's lock for a bounded section.
    #[inline]
    pub(crate) fn lock(&self) -> BucketLock<'_> {
        let backoff = Backoff::new();
        while self.lock.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            backoff.snooze();
        }
        BucketLock { bucket: self }
    }
}

/// A locked bucket: the right to change its tags.
pub(crate) struct BucketLock<'a> {
    bucket: &'a Bucket,
}

impl BucketLock<'_> {
    /// Says that the slot at `way`, whose entry is complete, holds a key with `tag`.
    #[inline]
    pub(crate) fn occupy(&self, way: usize, tag: Tag) {
        self.set(way, tag.0);
    }

    /// Says that the slot at `way` is free.
    #[inline]
    pub(crate) fn vacate(&self, way: usize) {
        self.set(way, 0);
    }

    #[inline]
    fn set(&self, way: usize, tag: u16) {
        let word = &self.bucket.tags[way % WORDS];
        let shift = way / WORDS * 16;
        let others = word.load(Ordering::Relaxed) & !(0xffff << shift);
        word.store(others | u64::from(tag) << shift, Ordering::Release);
    }
}

impl Drop for BucketLock<'_> {
    #[inline]
    fn drop(&mut self) {
        self.bucket.lock.store(0, Ordering::Release);
    }
}

/// A set of ways: bit `lane * 16 + word`, as the comparison yields it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ways(u64);

const ALL_WAYS: u64 = ((1 << WORDS) - 1) * LANES;

impl Ways {
    #[inline]
    pub(crate) fn size(&self) -> u32 {
        self.0.count_ones()
    }
}

impl Ways {
    /// The lowest way, or [`WAYS`] if there is none.
    #[inline]
    pub(crate) fn lowest(&self) -> usize {
        // A bit beyond all lanes' bits makes the empty set scan to a number that maps to WAYS.
        let bit = (self.0 | 1 << NONE_BIT).trailing_zeros() as usize;
        bit / 16 * WORDS + bit % 16
    }
}

/// Lane 3, word 7: one past the last way.
const NONE_BIT: u32 = 3 * 16 + WORDS as u32;
const _: () = assert!(3 * WORDS + WORDS == WAYS);

impl Iterator for Ways {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit / 16 * WORDS + bit % 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_found_by_its_own_tag_only() {
        let bucket = Bucket::default();
        assert_eq!(bucket.vacant().size() as usize, WAYS);
        for way in 0..WAYS {
            bucket.lock().occupy(way, Tag::of(0x8000 + way as u64));
        }
        assert_eq!(bucket.vacant().size(), 0);
        assert_eq!(bucket.occupied().collect::<std::collections::BTreeSet<_>>(), (0..WAYS).collect());
        for way in 0..WAYS {
            assert_eq!(bucket.matching(Tag::of(0x8000 + way as u64)).collect::<Vec<_>>(), [way]);
        }
        assert_eq!(bucket.matching(Tag::of(0x7fff)).size(), 0);
        bucket.lock().vacate(13);
        assert_eq!(bucket.vacant().collect::<Vec<_>>(), [13]);
    }

    #[test]
    fn neighbouring_tags_do_not_disturb_each_other() {
        let bucket = Bucket::default();
        for (way, tag) in [0x0001u64, 0xffff, 0x0001, 0x8000, 0x7fff].into_iter().enumerate() {
            bucket.lock().occupy(way, Tag::of(tag));
        }
        let found = |tag| bucket.matching(Tag::of(tag)).collect::<Vec<_>>();
        assert!(found(1).starts_with(&[0, 2]) && found(0xffff).contains(&1) && found(0x8000).contains(&3));
        // One that is close to another, a lane further on in the same word, is all that may come with it.
        assert!(found(0xffff).len() <= 2 && found(0x7ffe).is_empty());
        assert_eq!(bucket.vacant().size() as usize, WAYS - 5);
    }
}
