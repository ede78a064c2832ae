//! The objects that a gateway decides by.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Namespaces, nodes, pods and policies as a Kubernetes List.
    pub objects: Value,
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
