//! How to wait for frames: spin briefly, then block.
//!
//! A worker that only spins starves the pods on a small machine; one that blocks at once pays a
//! wake-up for every batch.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Empty looks at the rings before blocking, at most.
const MOST_SPINS: u32 = 64;
/// Milliseconds to block: short enough for the sign of life.
const BLOCK_MS: u16 = 25;

/// Adapts: spinning that found frames is worth more of it, blocking at once less.
#[derive(Debug)]
pub(super) struct Idle {
    spun: u32,
    spins: u32,
}

impl Default for Idle {
    fn default() -> Self {
        Self { spun: 0, spins: MOST_SPINS / 4 }
    }
}

impl Idle {
    /// There were frames.
    pub(super) fn reset(&mut self) {
        if self.spun > 0 && self.spun < self.spins {
            self.spins = (self.spins * 2).min(MOST_SPINS);
        }
        self.spun = 0;
    }

    /// There were none. Returns whether the thread blocked.
    pub(super) fn wait(&mut self, sockets: [BorrowedFd<'_>; 2]) -> bool {
        self.spun += 1;
        if self.spun < self.spins {
            std::hint::spin_loop();
            return false;
        }
        self.spins = (self.spins / 2).max(1);
        self.spun = 0;
        let mut fds = sockets.map(|socket| PollFd::new(socket, PollFlags::POLLIN));
        // An interrupted or failed poll is one more look at the rings, nothing worse.
        let _ = poll(&mut fds, PollTimeout::from(BLOCK_MS));
        true
    }
}
