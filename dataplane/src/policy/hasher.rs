//! A hash of addresses and what goes with them.

/// A multiply-fold hash of one address; keyed, so that a client cannot choose what collides.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddrHasher {
    seed: u64,
}

impl AddrHasher {
    /// Keyed by `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl std::hash::BuildHasher for AddrHasher {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold(self.seed)
    }
}

/// See [`AddrHasher`].
#[derive(Debug)]
pub struct Fold(u64);

impl Fold {
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl std::hash::Hasher for Fold {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    #[inline]
    fn write_u16(&mut self, word: u16) {
        self.mix(word.into());
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    #[inline]
    fn write_u128(&mut self, bits: u128) {
        self.mix(bits as u64);
        self.mix((bits >> 64) as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
