//! One cache line that says which of its 28 slots may hold a key.
//!
//! A bucket holds a 16-bit tag for each of its slots and the lock that inserts and removals take.
//! Lookups only read. Slots never move, so a reader that finds a tag finds the entry.

use wide::u16x16;

use crate::sync::{AtomicU64, Backoff, Ordering};

/// Slots of one bucket.
pub(crate) const WAYS: usize = 28;

/// Tags in a word.
const LANES: usize = 4;
const WORDS: usize = WAYS / LANES;

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
    /// The slots that may hold a key with `tag`.
    #[inline]
    pub(crate) fn matching(&self, tag: Tag) -> Ways {
        let wanted = u16x16::splat(tag.0);
        let equal = self.tags().map(|tags| tags.simd_eq(wanted).to_bitmask());
        Ways((equal[0] | equal[1] << 16) & ALL_WAYS)
    }

    /// All tags; the last four lanes are none.
    #[inline]
    fn tags(&self) -> [u16x16; 2] {
        // Acquire: whoever sees a tag sees the entry that was filled before it was set.
        let word = |index: usize| self.tags[index].load(Ordering::Acquire);
        [bytemuck::cast([word(0), word(1), word(2), word(3)]), bytemuck::cast([word(4), word(5), word(6), 0])]
    }

    /// Loads the cache line.
    #[inline]
    pub(crate) fn touch(&self) {
        std::hint::black_box(self.tags[0].load(Ordering::Relaxed));
    }

    /// The slots that are free.
    #[inline]
    pub(crate) fn vacant(&self) -> Ways {
        self.matching(Tag(0))
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
        let word = &self.bucket.tags[way / LANES];
        let shift = way % LANES * 16;
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

/// A set of ways, one bit each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ways(u32);

const ALL_WAYS: u32 = (1 << WAYS) - 1;

impl Ways {
    #[inline]
    pub(crate) fn size(&self) -> u32 {
        self.0.count_ones()
    }

    /// The lowest way, or one that is not below [`WAYS`] if there is none.
    #[inline]
    pub(crate) fn lowest(&self) -> usize {
        self.0.trailing_zeros() as usize
    }
}

impl Iterator for Ways {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let way = self.lowest();
        self.0 &= self.0 - 1;
        Some(way)
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
