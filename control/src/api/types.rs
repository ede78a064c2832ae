//! What the gateway says, as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Attachment, FenceStatus, FlowTableStatus};
use crate::source::SourceStatus;

/// Forwarded or dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictWord {
    /// It went on.
    Forwarded,
    /// It did not.
    Dropped,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// One event: a flow that opened, or a frame that was dropped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventRecord {
    /// When, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// What became of it.
    pub verdict: VerdictWord,
    /// Why: a drop reason, or `policy`, `not-isolated`, `own-node`, `itself`.
    pub reason: String,
    /// One sentence on the reason.
    pub explanation: String,
    /// `namespace/pod`, `node:name` or the address; absent if the frame had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// Source port; 0 where the protocol has none.
    #[serde(default)]
    pub source_port: u16,
    /// As `source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_ip: Option<String>,
    /// Destination port; 0 where the protocol has none.
    #[serde(default)]
    pub destination_port: u16,
    /// `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, or the number; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The Service's address and port that the opener asked for, where it asked for one; `destination` is the backend
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<SocketAddr>,
    /// `namespace/name` of that Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The policies behind the verdict: the one that allowed, or those that isolate the pod, 16 at most.
    pub policies: Vec<String>,
    /// How many more isolate the pod.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub policies_left_out: usize,
    /// The rule that allowed, as `namespace/name ingress[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The side that decided a policy verdict: `egress` or `ingress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
    /// The device at which the frame was taken up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// `from-pod` or `to-pod`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passage: Option<String>,
    /// Bytes of the frame.
    pub len_bytes: u32,
    /// The snapshot it was decided by.
    pub epoch: u32,
}

/// One line of what is told of events.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventLine {
    /// An event.
    Event(Box<EventRecord>),
    /// Events that this reader was too slow for.
    Lost {
        /// How many, wanted or not.
        lost: u64,
    },
}

/// Which events are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EventFilter {
    /// Only these verdicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictWord>,
    /// Only events with this pod (`namespace/name`) at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Go on with what happens from now on.
    #[serde(default)]
    pub follow: bool,
    /// At most this many of the past; all that are kept where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
}

impl EventFilter {
    /// Whether `record` is wanted.
    pub fn admits(&self, record: &EventRecord) -> bool {
        self.verdict.is_none_or(|verdict| verdict == record.verdict)
            && self.pod.as_deref().is_none_or(|pod| {
                record.source.as_deref() == Some(pod) || record.destination.as_deref() == Some(pod)
            })
    }
}

/// How long new pods were closed until their policy was in force, over all pods since the start.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TimeToPolicy {
    /// How many there were.
    pub pods: u64,
    /// Milliseconds that half of them stayed within.
    pub p50_ms: f64,
    /// Milliseconds that 99 of 100 of them stayed within.
    pub p99_ms: f64,
    /// Milliseconds of the one that waited longest.
    pub max_ms: f64,
}

/// One guarded device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PortStatus {
    /// The device.
    pub device: String,
    /// Its number on the trunk.
    pub port: u16,
    /// The pod behind it; absent while none is known.
    pub pod: Option<String>,
    /// The pod's addresses.
    pub addresses: Vec<String>,
    /// Milliseconds that the pod was closed until its policy was in force: from its port having its
    /// address and its manifest being there, whichever came later. Absent for a pod that was there when
    /// the gateway started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_policy_ms: Option<f64>,
    /// What the runtime has told of it through podgate-cni; absent where it has told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<Attachment>,
    /// Frames taken up to the trunk.
    pub lifted: u64,
    /// Frames put down from it.
    pub delivered: u64,
    /// Frames that passed unfiltered because no worker lived and the fallback is open.
    pub passed_open: u64,
    /// Frames the step forwarded.
    pub forwarded: u64,
    /// Drops by reason; reasons without any are left out.
    pub drops: BTreeMap<String, u64>,
}

/// One worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: u32,
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// Whether it has shown life within the last half second.
    pub alive: bool,
    /// Frames received.
    pub received: u64,
    /// Batches.
    pub batches: u64,
    /// Times it blocked for want of frames.
    pub waits: u64,
    /// Frames the transmit ring did not take.
    pub tx_refused: u64,
    /// XDP_STATISTICS: dropped by the kernel.
    pub rx_dropped: u64,
    /// XDP_STATISTICS: receive ring full.
    pub rx_ring_full: u64,
    /// XDP_STATISTICS: fill ring empty.
    pub rx_fill_ring_empty: u64,
    /// UMEM frames in no place; always 0.
    pub leaked: u64,
}

/// What a change of policy has done to the flows that were live.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChangeReport {
    /// The snapshot that it put in force.
    pub epoch: u32,
    /// Still allowed; they live on.
    pub allowed: u64,
    /// No longer allowed; they were cut.
    pub cut: u64,
    /// No longer allowed; they live on until they end (`--live-connections keep`).
    pub kept: u64,
    /// Seconds from the change to this report; all live flows had been looked at then.
    pub seconds: f64,
}

/// The gateway, as of now.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The instance.
    pub name: String,
    /// The process.
    pub pid: u32,
    /// podgate's version.
    pub version: String,
    /// The bridge whose ports are guarded; `routed veth*` where devices of that name are that are ports of none.
    pub bridge: String,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// `closed` or `open`.
    pub fallback: String,
    /// What closes new pods until they are guarded; absent where nothing does (`--fallback open`, `--fence off`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceStatus>,
    /// `hold` or `detach`.
    pub on_exit: String,
    /// Number of the snapshot in force; absent before the first.
    pub epoch: Option<u32>,
    /// The revision of the `--pod-ips` file that it was compiled with; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Seconds since it was published.
    pub snapshot_age_seconds: Option<f64>,
    /// Milliseconds from the change being seen to the snapshot being published, the last time.
    pub last_publish_ms: Option<f64>,
    /// What 99 of 100 changes since the start stayed within, likewise.
    pub publish_p99_ms: Option<f64>,
    /// How long new pods were closed; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_policy: Option<TimeToPolicy>,
    /// Policies in force.
    pub policies: usize,
    /// Endpoints known.
    pub endpoints: usize,
    /// Distinct identities.
    pub identities: usize,
    /// Bytes of the policy table.
    pub table_bytes: usize,
    /// Flows tracked now.
    pub flows: usize,
    /// Flows that can be tracked.
    pub flow_capacity: usize,
    /// What became of flows since the start, and who is near a quota.
    #[serde(default)]
    pub flow_table: FlowTableStatus,
    /// Flows that a change of policy has left as they were, since the start; a flow counts at every
    /// change.
    #[serde(default)]
    pub flows_redecided: u64,
    /// Flows that a change of policy has cut, since the start.
    #[serde(default)]
    pub flows_cut: u64,
    /// What the last change of policy has done to live flows; absent while the first is looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<ChangeReport>,
    /// Events that were lost because nobody could take them in time.
    pub events_lost: u64,
    /// Where the objects come from, and how that is.
    #[serde(default)]
    pub source: SourceStatus,
    /// What a person should know now: bad manifests, displaced programs, ports without a pod.
    pub alarms: Vec<String>,
    /// Guarded devices.
    pub ports: Vec<PortStatus>,
    /// Workers.
    pub workers: Vec<WorkerStatus>,
    /// Drops by reason, over all ports.
    pub drops: BTreeMap<String, u64>,
}
