//! The compiled policy in numbers.

use std::time::Duration;

use podgate_dataplane::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

use crate::compile::{Limits, Sizes, Work};

/// How large a compiled policy is, and how long it took.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PolicyStats {
    /// Number of the snapshot; absent before the first, and where no gateway runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Policies that isolate some pod of the node: those that are in force.
    pub policies: usize,
    /// Rules of these.
    pub rules: usize,
    /// Pods with a network of their own, and nodes.
    pub endpoints: usize,
    /// Their addresses.
    pub addresses: usize,
    /// Kinds of endpoints that every policy treats alike.
    pub identities: usize,
    /// What isolates some pod of the node in one direction.
    pub rows: usize,
    /// Pairs of a row and an identity.
    pub pairs: usize,
    /// Distinct lists of allowed ports.
    pub lists: usize,
    /// Ranges of ports in these.
    pub ranges: usize,
    /// Bytes of the pairs, lists and ranges.
    pub table_bytes: usize,
    /// Bytes of the map from addresses to identities.
    pub endpoint_map_bytes: usize,
    /// Bytes of the names of endpoints, policies and rules.
    pub names_bytes: usize,
    /// What there may be of what.
    pub limits: Vec<LimitUse>,
    /// The last compilation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compilation: Option<Compilation>,
    /// How long changes took to be enforced; absent where no gateway runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced: Option<EnforceTimes>,
}

/// A limit, and how near it is. What would be more is not put in force: the snapshot before stays.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LimitUse {
    /// Of what.
    pub name: String,
    /// How many there are.
    pub used: usize,
    /// How many there may be.
    pub limit: usize,
}

/// A compilation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Compilation {
    /// Milliseconds that it took.
    pub milliseconds: f64,
    /// Whether only what had changed was compiled.
    pub incremental: bool,
    /// Pods that came, went or changed.
    pub pods: usize,
    /// Policies that came, went or changed.
    pub policies: usize,
    /// Namespaces that came, went or changed.
    pub namespaces: usize,
    /// Endpoints that were looked up anew.
    pub endpoints: usize,
    /// Rows that were worked out.
    pub rows: usize,
    /// Pairs that were worked out.
    pub cells: usize,
}

/// Milliseconds from a change being seen to its snapshot being published.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EnforceTimes {
    /// The last time.
    pub last_ms: f64,
    /// What half of all changes since the start stayed within.
    pub p50_ms: Option<f64>,
    /// What 99 of 100 stayed within.
    pub p99_ms: Option<f64>,
}

impl PolicyStats {
    /// Of a snapshot that was just compiled.
    pub fn new(snapshot: &Snapshot, sizes: Sizes, limits: Limits) -> Self {
        let limit = |name: &str, used, limit| LimitUse { name: name.to_owned(), used, limit };
        Self {
            epoch: None,
            policies: sizes.policies,
            rules: sizes.rules,
            endpoints: sizes.endpoints,
            addresses: sizes.addresses,
            identities: sizes.identities,
            rows: sizes.rows,
            pairs: sizes.pairs,
            lists: snapshot.policy.lists(),
            ranges: snapshot.policy.ranges(),
            table_bytes: snapshot.policy.heap_bytes(),
            endpoint_map_bytes: snapshot.endpoints.heap_bytes(),
            names_bytes: snapshot.names.heap_bytes(),
            limits: vec![
                limit("identities", sizes.identities, limits.identities),
                limit("pairs", sizes.pairs, limits.cells),
            ],
            compilation: None,
            enforced: None,
        }
    }
}

impl Compilation {
    /// What `work` was done in the time it took.
    pub fn new(work: Work, took: Duration) -> Self {
        let Work { incremental, pods, policies, namespaces, endpoints, rows, cells } = work;
        let milliseconds = took.as_secs_f64() * 1e3;
        Self { milliseconds, incremental, pods, policies, namespaces, endpoints, rows, cells }
    }
}
