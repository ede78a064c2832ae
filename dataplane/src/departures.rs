//! When each local pod last put an IP packet into the bridge.
//!
//! A frame on its way to a pod with the source address of a *local* pod is believed only if that
//! pod's own frame went into the bridge just before: host translation (kube-proxy) rewrites its
//! destination and sends it back. Anyone else can write that source too, in a tunnel for instance.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use podgate_flowtable::Time;

use crate::tag::{MAX_PORTS, PortId};

/// Shared by all workers: the frame that comes back may be another worker's.
#[derive(Debug)]
pub struct Departures {
    /// Nanoseconds plus one; 0 is never.
    latest: Box<[AtomicU64]>,
}

impl Departures {
    /// For so long a departure vouches for what comes back. The host's translation takes
    /// microseconds; a queue in it (a NFQUEUE, a busy CPU) takes no second.
    pub const BELIEVED: Duration = Duration::from_secs(1);

    /// A time is written only when the one there is this old, so that the workers mostly share the
    /// cache line for reading. Kept short of [`Self::BELIEVED`], which it blurs.
    const RESOLUTION: Duration = Duration::from_millis(10);

    /// No pod has sent anything.
    pub fn new() -> Self {
        Self { latest: (0..MAX_PORTS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// A frame of the pod at `port` goes into the bridge.
    #[inline]
    pub fn note(&self, port: PortId, now: Time) {
        let slot = &self.latest[port.index()];
        let latest = slot.load(Relaxed);
        if latest == 0 || now.since(Time::from_nanos(latest - 1)) >= Self::RESOLUTION {
            slot.store(now.nanos().saturating_add(1), Relaxed);
        }
    }

    /// Whether the pod at `port` has put a frame into the bridge just before `now`.
    pub fn is_recent(&self, port: PortId, now: Time) -> bool {
        let latest = self.latest[port.index()].load(Relaxed);
        latest != 0 && now.since(Time::from_nanos(latest - 1)) <= Self::BELIEVED
    }
}

impl Default for Departures {
    fn default() -> Self {
        Self::new()
    }
}
