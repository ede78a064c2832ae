//! Which of many comes next.

/// A walk among `count` things in no order that a cache could foresee (Marsaglia, "Xorshift RNGs",
/// 2003); the same at every start.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    state: u32,
    count: u32,
}

impl Order {
    /// Among `0..count`.
    pub const fn of(count: u32) -> Self {
        Self { state: 0x9e37_79b9, count }
    }

    /// The next one.
    #[inline]
    pub fn pick(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        ((u64::from(self.state) * u64::from(self.count)) >> 32) as u32
    }
}
