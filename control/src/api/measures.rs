//! The gateway in numbers, for monitoring: what a scrape is made from.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{FenceStatus, FlowTableStatus, SourceState};

/// Upper bounds for how long changes took to be in force.
pub const PUBLISH_BOUNDS: &[Duration] = &millis([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 30_000]);
/// Upper bounds for how long new pods were closed.
pub const POD_START_BOUNDS: &[Duration] = &millis([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 30_000]);

const fn millis<const N: usize>(bounds: [u64; N]) -> [Duration; N] {
    let mut durations = [Duration::ZERO; N];
    let mut at = 0;
    while at < N {
        durations[at] = Duration::from_millis(bounds[at]);
        at += 1;
    }
    durations
}

/// Seconds in buckets.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Distribution {
    /// Upper bounds in seconds, the last one infinite, and what each bucket holds over the one before.
    pub buckets: Vec<(f64, u64)>,
    /// Of everything recorded.
    pub sum_seconds: f64,
}

/// Which way a frame was going when it was taken up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// Out of a pod.
    FromPod,
    /// Into one.
    ToPod,
    /// It could not be told, or the counter does not tell.
    Unknown,
}

impl Direction {
    /// The word, as in events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FromPod => "from-pod",
            Self::ToPod => "to-pod",
            Self::Unknown => "unknown",
        }
    }
}

/// Everything that is exported.
#[derive(Clone, PartialEq, Debug)]
pub struct Measures {
    /// When the process started, in seconds since 1970.
    pub start_time_seconds: f64,
    /// Whether it answers that it is ready.
    pub ready: bool,
    /// Drops, by reason; every reason in every direction that it can have.
    pub drops: BTreeMap<(&'static str, Direction), u64>,
    /// Packets and bytes that the step forwarded.
    pub forwarded: BTreeMap<Direction, (u64, u64)>,
    /// Frames taken up to the trunk.
    pub lifted: u64,
    /// Frames put down from it.
    pub delivered: u64,
    /// Frames that passed unfiltered.
    pub passed_open: u64,
    /// Guarded devices with a known pod, and without.
    pub ports: [u64; 2],
    /// Number of the snapshot in force, and its age in seconds.
    pub snapshot: Option<(u32, f64)>,
    /// Policies in force.
    pub policies: usize,
    /// Endpoints known.
    pub endpoints: usize,
    /// Distinct identities.
    pub identities: usize,
    /// Bytes of the policy table.
    pub table_bytes: usize,
    /// From a change being seen to its snapshot being published.
    pub publish: Distribution,
    /// How long new pods were closed until their policy was in force.
    pub pod_starts: Distribution,
    /// How long frames stayed with a worker.
    pub residence: Distribution,
    /// Flows tracked now.
    pub flows: usize,
    /// Flows that can be tracked.
    pub flow_capacity: usize,
    /// What became of flows.
    pub flow_table: FlowTableStatus,
    /// Flows that changes of policy left as they were, and cut.
    pub rejudged: [u64; 2],
    /// What closes new pods until they are guarded, if something does.
    pub fence: Option<FenceStatus>,
    /// Events that nobody took in time.
    pub events_lost: u64,
    /// Workers, in order.
    pub workers: Vec<WorkerMeasures>,
    /// Standing alarms, by what they are about.
    pub alarms: BTreeMap<&'static str, usize>,
    /// Where policy comes from.
    pub source: SourceState,
    /// Of the process; absent where `/proc` does not tell.
    pub process: Option<ProcessMeasures>,
}

/// One worker.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WorkerMeasures {
    /// Whether it has shown life lately.
    pub alive: bool,
    /// Seconds since it has.
    pub heartbeat_age_seconds: f64,
    /// Frames received.
    pub received: u64,
    /// Batches.
    pub batches: u64,
    /// Times it blocked for want of frames.
    pub waits: u64,
    /// Frames that rings lost, by how.
    pub ring_drops: [(&'static str, u64); 4],
    /// UMEM frames in no place.
    pub leaked: u64,
}

/// The process.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProcessMeasures {
    /// Seconds of CPU, user and system.
    pub cpu_seconds: f64,
    /// Bytes that are in memory, UMEM and flow table included.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
}
