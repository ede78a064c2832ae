//! The objects that a gateway decides by.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Status;
use crate::service::ServiceMode;
use crate::source::Place;

/// Everything that the policy in force was compiled from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InForce {
    /// The instance.
    pub gateway: String,
    /// Number of the snapshot in force.
    pub epoch: u32,
    /// Seconds since it was published.
    pub age_seconds: f64,
    /// Why what the manifests say now is not in force, if it is not.
    pub held_back: Vec<String>,
    /// Where policies (`namespace/name`) stood when they were read.
    pub places: BTreeMap<String, PolicyPlace>,
    /// Who translates the addresses of Services.
    pub services: ServiceMode,
    /// Namespaces, nodes, pods, Services and policies as a Kubernetes List.
    pub objects: Value,
}

/// What is to be in force before a gateway answers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wanted {
    /// This revision of the `--pod-ips` file, or a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The snapshot of this number, or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Pods (`namespace/name`, with commas between) whose ports are known for theirs.
    #[serde(default)]
    pub pods: String,
}

impl Wanted {
    /// The pods, one by one.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.pods.split(',').filter(|pod| !pod.is_empty())
    }

    /// Whether a gateway that is so has it in force.
    pub fn is_met_by(&self, status: &Status) -> bool {
        let is_bound = |pod: &str| status.ports.iter().any(|port| port.pod.as_deref() == Some(pod));
        self.revision.is_none_or(|wanted| status.revision >= Some(wanted))
            && self.epoch.is_none_or(|wanted| status.epoch >= Some(wanted))
            && self.pods().all(is_bound)
    }
}

/// One policy as it is in force.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PolicyInForce {
    /// Number of the snapshot in force; absent before the first.
    pub epoch: Option<u32>,
    /// The revision of the overlay that it was compiled with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The NetworkPolicy with every default filled in; absent if it is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Value>,
    /// Why the policy of that name cannot be applied as it is written, and what is in force instead, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Why what its source says now is not in force, if it is not.
    pub held_back: Vec<String>,
}

/// Where a policy stood.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyPlace {
    /// The file, as the gateway was told it.
    pub file: PathBuf,
    /// The line at which it starts.
    pub line: Option<u64>,
}

impl From<&Place> for PolicyPlace {
    fn from(place: &Place) -> Self {
        Self { file: place.file.clone(), line: place.line }
    }
}
