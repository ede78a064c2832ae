//! What is told about single frames: every drop, every flow opened, every flow cut.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::queue::ArrayQueue;
use podgate_flowtable::{Epoch, Target, TcpFlags, Time, Tuple};

use crate::policy::EndpointId;
use crate::tag::Tag;
use crate::verdict::{Causes, Verdict};

/// Why there is an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventKind {
    /// A frame was dropped.
    Dropped,
    /// A frame opened a flow.
    FlowOpened,
    /// A frame was dropped because its flow, allowed earlier, no longer is; the flow is gone.
    FlowCut,
}

/// What happened to one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Why this is told.
    pub kind: EventKind,
    /// When.
    pub time: Time,
    /// Where the frame was taken up; `None` if it had no tag.
    pub tag: Option<Tag>,
    /// Its addressing, as far as it could be parsed; of a packet to a Service, with the backend.
    pub tuple: Option<Tuple>,
    /// The Service's address and port that the initiator asked for, if it did.
    pub called: Option<Target>,
    /// Length of the frame, the trunk's tag not counted.
    pub len_bytes: u32,
    /// What became of it.
    pub verdict: Verdict,
    /// Why policy said so, if it was asked.
    pub causes: Option<Causes>,
    /// What stands behind the source address, if it has a name. For a flow cut, the initiator.
    pub source: Option<EndpointId>,
    /// What stands behind the destination address, if it has a name.
    pub destination: Option<EndpointId>,
    /// The snapshot it was decided by.
    pub epoch: Option<Epoch>,
    /// TCP flags, if it is TCP.
    pub tcp_flags: Option<TcpFlags>,
    /// ICMP type, if it is ICMP.
    pub icmp_type: Option<u8>,
}

/// Events on their way from a worker to whoever reads them. Bounded, and it never waits: what
/// does not fit is counted as lost.
#[derive(Debug)]
pub struct EventRing {
    queue: ArrayQueue<Event>,
    lost: AtomicU64,
}

impl EventRing {
    /// Room for `capacity` events, at least one.
    pub fn new(capacity: usize) -> Self {
        Self { queue: ArrayQueue::new(capacity.max(1)), lost: AtomicU64::new(0) }
    }

    /// Adds the event, which is only made if there is room for it.
    #[inline]
    pub fn push_with(&self, event: impl FnOnce() -> Event) {
        // Two writers may both see the last room: the queue refuses one.
        if self.queue.is_full() || self.queue.push(event()).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Takes the oldest event.
    pub fn pop(&self) -> Option<Event> {
        self.queue.pop()
    }

    /// Events waiting.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Events that found no room, since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}
