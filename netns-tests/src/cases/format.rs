//! A case as it is written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podgate_control::model::{ObjectKey, Protocol};
use podgate_flowtable::IpProtocol;
use serde::Deserialize;

use super::{Address, Family, FlowItem, Matrix};

/// A cluster, and what must hold in it while it changes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name; the file is called the same.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Where the facts come from.
    pub source: Origin,
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
pub struct Origin {
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
#[serde(untagged)]
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

/// A change, and what must hold after it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its number.
    pub id: u32,
    /// What it shows.
    pub note: Option<String>,
    /// What changes first.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// What must hold for every pair.
    #[serde(default)]
    pub matrices: Vec<Matrix>,
    /// What must hold for one pair each.
    #[serde(default)]
    pub probes: Vec<Probe>,
    /// Packets and changes in order, from a fresh flow table.
    #[serde(default)]
    pub sequence: Vec<FlowItem>,
}

/// A change.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// Creates or replaces a policy.
    Apply(serde_json::Value),
    /// Deletes a policy.
    Delete {
        /// Always NetworkPolicy.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Replaces all labels of a namespace.
    SetNamespaceLabels {
        /// Its name.
        name: String,
        /// All its labels.
        labels: BTreeMap<String, String>,
    },
    /// Replaces all labels of a pod.
    SetPodLabels {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// All its labels.
        labels: BTreeMap<String, String>,
    },
    /// Moves a pod on.
    SetPodPhase {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its phase.
        phase: String,
    },
    /// Creates a namespace.
    CreateNamespace {
        /// Its name.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// Deletes a namespace, and the pods and policies in it.
    DeleteNamespace {
        /// Its name.
        name: String,
    },
    /// Creates a pod.
    CreatePod(PodSpec),
    /// Deletes a pod.
    DeletePod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// One connection attempt and what must become of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Who.
    pub from: Address,
    /// To whom.
    pub to: Address,
    /// By what.
    pub protocol: Transport,
    /// To which port; of the Service, if it is to one. None for ICMP.
    pub port: Option<u16>,
    /// By which addresses; the first ones if missing.
    pub family: Option<Family>,
    /// What must become of it.
    pub expect: Expectation,
    /// What podgate does where the API leaves it open.
    pub recommended: Option<Judgement>,
    /// What must become of it at each backend, where they differ.
    #[serde(default)]
    pub backends: BTreeMap<String, Judgement>,
    /// Why.
    pub why: Option<String>,
    /// What else there is to say.
    pub note: Option<String>,
}

/// What must become of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// Policy allows it.
    Allow,
    /// Policy denies it.
    Deny,
    /// The API leaves it open.
    Undefined,
    /// The backends differ.
    Mixed,
    /// The Service has no backend.
    NoEndpoints,
}

/// Allowed or denied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
}

/// What a probe is sent by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP echo, of the addresses' family.
    Icmp,
}

impl Transport {
    /// Its protocol number in IPv4 or IPv6.
    pub fn ip_protocol(self, v6: bool) -> IpProtocol {
        match self {
            Self::Tcp => IpProtocol::TCP,
            Self::Udp => IpProtocol::UDP,
            Self::Sctp => IpProtocol::SCTP,
            Self::Icmp if v6 => IpProtocol::ICMPV6,
            Self::Icmp => IpProtocol::ICMP,
        }
    }

    /// As policy knows it; ICMP it does not know.
    pub fn policy_protocol(self) -> Option<Protocol> {
        match self {
            Self::Tcp => Some(Protocol::Tcp),
            Self::Udp => Some(Protocol::Udp),
            Self::Sctp => Some(Protocol::Sctp),
            Self::Icmp => None,
        }
    }
}

impl Probe {
    /// What is expected of podgate; `None` where it is not one verdict ([`Expectation::Mixed`],
    /// [`Expectation::NoEndpoints`]).
    pub fn judgement(&self) -> Option<Judgement> {
        match self.expect {
            Expectation::Allow => Some(Judgement::Allow),
            Expectation::Deny => Some(Judgement::Deny),
            Expectation::Undefined => self.recommended,
            Expectation::Mixed | Expectation::NoEndpoints => None,
        }
    }
}

impl PodSpec {
    /// Its namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

impl Judgement {
    /// From a verdict.
    pub fn of(allows: bool) -> Self {
        if allows { Self::Allow } else { Self::Deny }
    }
}
