//! Numbers of endpoints.

/// Numbers of endpoints. One that is given back is not given out before the next settling.
#[derive(Default)]
pub(super) struct Numbers {
    bound: u32,
    free: Vec<u32>,
    left: Vec<u32>,
}

impl Numbers {
    /// One that nobody has.
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.bound += 1;
            self.bound - 1
        })
    }

    /// It is no longer in use.
    pub(super) fn give_back(&mut self, number: u32) {
        self.left.push(number);
    }

    /// How many are given out.
    pub(super) fn used(&self) -> usize {
        self.bound() - self.free.len() - self.left.len()
    }

    /// One more than the highest number that was ever given out.
    pub(super) fn bound(&self) -> usize {
        self.bound as usize
    }

    /// What was given back may be given out again.
    pub(super) fn settle(&mut self) {
        self.free.append(&mut self.left);
    }
}
