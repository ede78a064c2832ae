//! A case as it is written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::ObjectKey;
use serde::Deserialize;

use super::{Step, Transport};

/// A cluster, and what must hold in it while it changes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name; the file is called the same.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Where the facts come from.
    pub source: Provenance,
    /// What it belongs to.
    pub tags: Vec<String>,
    /// What there is at first.
    pub cluster: ClusterSpec,
    /// Policies in force at first: Kubernetes objects as a user would write them.
    pub policies: Vec<serde_json::Value>,
    /// What happens then.
    pub steps: Vec<Step>,
}

/// Where the facts of a case come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The suite or document.
    pub suite: String,
    /// The test in it.
    pub test: Option<String>,
    /// The group of the generator it comes from.
    pub group: Option<String>,
    /// The number of the recipe.
    pub recipe: Option<String>,
    /// Its licence.
    pub licence: Option<String>,
    /// Whether the source says one thing and its own policy does another; the policy counts.
    #[serde(default)]
    pub disagreement: bool,
}

/// What there is at first.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    /// Nodes.
    pub nodes: Vec<NodeSpec>,
    /// Namespaces by name; every label is written out.
    pub namespaces: BTreeMap<String, NamespaceSpec>,
    /// Pods.
    pub pods: Vec<PodSpec>,
    /// Services.
    #[serde(default)]
    pub services: Vec<ServiceSpec>,
    /// Hosts outside the cluster.
    #[serde(default)]
    pub externals: Vec<ExternalSpec>,
}

/// A node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A namespace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceSpec {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodSpec {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its addresses, IPv4 first; none for a hostNetwork pod.
    pub ips: Vec<IpAddr>,
    /// Its node.
    pub node: Option<String>,
    /// Container ports.
    #[serde(default)]
    pub ports: Vec<PortSpec>,
    /// Its phase; Running if missing.
    pub phase: Option<String>,
    /// Whether it has its node's network.
    #[serde(default)]
    pub host_network: bool,
}

/// A container port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// Its name.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Transport,
}

/// A Service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<IpAddr>,
    /// Its backends.
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServicePort {
    /// The Service's port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Transport,
    /// The backend's port; the same number if missing.
    pub target_port: Option<TargetPort>,
}

/// A backend's port.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "targetPort is a number or the name of a container port")]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By the name it has on each backend.
    Name(String),
}

/// A host outside the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalSpec {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
}

impl PodSpec {
    /// Its namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}
