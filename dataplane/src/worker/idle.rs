//! How to wait for frames: spin briefly, then block.
//!
//! A worker that only spins starves the pods on a small machine; one that blocks at once pays two
//! wake-ups for every question and answer. So it spins only where that pays: for about as long as
//! frames have lately taken to come, if that is shorter than what a wake-up costs.
//! (KVM decides so when a guest halts: virt/kvm/kvm_main.c, `kvm_vcpu_halt`.)

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use podgate_flowtable::Time;

use super::now;

/// The longest it spins.
const MOST: Duration = Duration::from_micros(50);
/// Frames that came within this time after a block would have come sooner to one who spun: a good
/// part of it is the wake-up itself, which takes tens of microseconds on an idle virtual CPU.
const SOON: Duration = Duration::from_micros(150);
/// Where growing starts.
const LEAST: Duration = Duration::from_micros(4);
/// Milliseconds to block: short enough for the sign of life.
const BLOCK_MS: u16 = 25;

/// How long to spin before blocking, learned from how long frames took to come.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// Since when there have been no frames.
    since: Option<Time>,
    budget: Duration,
}

impl Idle {
    /// There were frames.
    pub(super) fn reset(&mut self) {
        self.since = None;
    }

    /// There were none, as of `at`. Returns whether the thread blocked.
    pub(super) fn wait(&mut self, at: Time, sockets: [BorrowedFd<'_>; 2]) -> bool {
        let since = *self.since.get_or_insert(at);
        if at.since(since) < self.budget {
            std::hint::spin_loop();
            return false;
        }
        let mut fds = sockets.map(|socket| PollFd::new(socket, PollFlags::POLLIN));
        // An interrupted or failed poll is one more look at the rings, nothing worse.
        let _ = poll(&mut fds, PollTimeout::from(BLOCK_MS));
        self.learn(now().since(since));
        self.since = None;
        true
    }

    /// Frames came `after` so long: would spinning have met them?
    fn learn(&mut self, after: Duration) {
        self.budget = if after <= SOON {
            (self.budget * 2).clamp(LEAST, MOST)
        } else if self.budget <= LEAST {
            Duration::ZERO
        } else {
            self.budget / 2
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_spins_where_that_pays_and_only_there() {
        let mut idle = Idle::default();
        for _ in 0..10 {
            idle.learn(Duration::from_micros(60));
        }
        assert_eq!(idle.budget, MOST);
        for _ in 0..10 {
            idle.learn(Duration::from_millis(25));
        }
        assert_eq!(idle.budget, Duration::ZERO);
    }
}
