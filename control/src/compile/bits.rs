//! Sets of small numbers.

/// A set of numbers; those that hold the same are equal.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn insert(&mut self, number: usize) {
        if self.0.len() <= number / 64 {
            self.0.resize(number / 64 + 1, 0);
        }
        self.0[number / 64] |= 1 << (number % 64);
    }

    pub(super) fn remove(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word &= !(1 << (number % 64));
        }
        // Without this, sets that hold the same would differ by what they once held.
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Adds all of `other`.
    pub(super) fn extend(&mut self, other: &Self) {
        other.iter().for_each(|number| self.insert(number));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers in it, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest.wrapping_sub(1);
                (bit < 64).then_some(at * 64 + bit)
            })
        })
    }
}

impl FromIterator<usize> for Bits {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut bits = Self::default();
        numbers.into_iter().for_each(|number| bits.insert(number));
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in_across_words() {
        let mut bits: Bits = [0, 63, 64, 129].into_iter().collect();
        bits.remove(63);
        bits.remove(500);
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 64, 129]);
        assert!(bits.contains(129) && !bits.contains(63) && !bits.contains(1000));
        bits.remove(129);
        assert_eq!(bits, [0, 64].into_iter().collect());
        bits.remove(0);
        bits.remove(64);
        assert!(bits.is_empty());
        assert_eq!(bits, Bits::default());
    }
}
