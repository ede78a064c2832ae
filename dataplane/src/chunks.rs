//! A vector whose copies share what has not changed.
//!
//! What is published has thousands of names of which one changes at a time, and older snapshots keep
//! theirs: a copy is a pointer for every [`CHUNK`] values, and a change copies one chunk.

use std::ops::Index;
use std::sync::Arc;

/// Values that are copied together.
const CHUNK: usize = 64;

/// Values by number. Those never set are `T::default()`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunks<T> {
    chunks: Vec<Arc<[T]>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Clone + Default> Chunks<T> {
    /// Sets the value under `index`, as long as that makes it.
    pub fn set(&mut self, index: usize, value: T) {
        self.len = self.len.max(index + 1);
        while self.chunks.len() * CHUNK < self.len {
            self.chunks.push((0..CHUNK).map(|_| T::default()).collect());
        }
        Arc::make_mut(&mut self.chunks[index / CHUNK])[index % CHUNK] = value;
    }
}

impl<T> Chunks<T> {
    /// The value under `index`.
    pub fn get(&self, index: usize) -> Option<&T> {
        (index < self.len).then(|| &self.chunks[index / CHUNK][index % CHUNK])
    }

    /// One more than the highest number that was set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was ever set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values, by number.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).take(self.len)
    }

    /// Bytes held on the heap by the values themselves, as if nothing were shared.
    pub fn heap_bytes(&self) -> usize {
        self.chunks.len() * (CHUNK * size_of::<T>() + size_of::<Arc<[T]>>())
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl<T: Clone + Default> FromIterator<T> for Chunks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut chunks = Self::default();
        values.into_iter().enumerate().for_each(|(index, value)| chunks.set(index, value));
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had_and_shares_the_rest() {
        let mut chunks: Chunks<usize> = (0..130).collect();
        let before = chunks.clone();
        chunks.set(64, 7);
        chunks.set(200, 8);
        assert_eq!((before[64], before.len(), before.get(130)), (64, 130, None));
        assert_eq!((chunks[64], chunks[199], chunks[200], chunks.len()), (7, 0, 8, 201));
        let shared = before.chunks.iter().zip(&chunks.chunks).map(|(one, other)| Arc::ptr_eq(one, other));
        assert_eq!(shared.collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(before.iter().copied().collect::<Vec<_>>(), (0..130).collect::<Vec<_>>());
        assert!(Chunks::<u8>::default().is_empty());
    }
}
