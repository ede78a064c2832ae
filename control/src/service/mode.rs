//! Who makes a Service's address a backend's.

use serde::{Deserialize, Serialize};

/// Who makes a Service's address a backend's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceMode {
    /// The gateway, at the client's port: policy judges the backend.
    #[default]
    On,
    /// Others (kube-proxy), behind the client's port: its egress policy sees the Service's address.
    Off,
}
