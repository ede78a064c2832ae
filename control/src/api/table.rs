//! The flow table in numbers.

use serde::{Deserialize, Serialize};

/// What became of the flows since the start. Every flow that opened is still there or ended in one
/// way: expired, removed, evicted or reopened.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlowTableStatus {
    /// Flows recorded, those included that were carried over a restart.
    pub opened: u64,
    /// Flows that were silent for too long.
    pub expired: u64,
    /// Flows cut by a change of policy, or forgotten on request.
    pub removed: u64,
    /// Flows given up for a new one when there was no room.
    pub evicted: u64,
    /// Flows that were over and made way for a new connection on the same ports.
    pub reopened: u64,
    /// Flows that did not open for want of room (`flow-table-full`).
    pub full: u64,
    /// Flows that did not open for `--flows-per-pod`.
    pub over_flow_quota: u64,
    /// Flows that did not open for `--half-open-per-pod`.
    pub over_half_open_quota: u64,
    /// Flows that a pod may open, and as many that may come to it.
    pub flows_per_pod: u32,
    /// Of these, half-open and unanswered ones.
    pub half_open_per_pod: u32,
    /// Who uses four fifths of a quota or more, the closest first; not more than five.
    pub near_quota: Vec<QuotaUse>,
    /// Fragmented datagrams.
    pub fragments: FragmentCounts,
}

/// Flows of one pod, of those that it opened or of those that came to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QuotaUse {
    /// The pod; absent while none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its device.
    pub device: String,
    /// `from-pod`: those that it opened; `to-pod`: those that came to it.
    pub passage: String,
    /// Flows in any state.
    pub flows: u32,
    /// Of these, half-open and unanswered ones.
    pub half_open: u32,
}

/// What became of fragmented datagrams since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FragmentCounts {
    /// Datagrams whose first fragment passed.
    pub recorded: u64,
    /// Datagrams of which every fragment passed.
    pub completed: u64,
    /// Datagrams refused because fragments overlapped.
    pub overlapping: u64,
    /// Datagrams forgotten before their time to make room.
    pub evicted: u64,
    /// Datagrams refused because their pod had its share under way.
    pub over_quota: u64,
}
