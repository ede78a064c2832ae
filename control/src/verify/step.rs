//! Steps of a case: changes, and what must hold after them.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::Protocol;
use podgate_flowtable::IpProtocol;
use serde::Deserialize;

use super::{Address, Family, FlowItem, Matrix, PodSpec};

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

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
        })
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl Judgement {
    /// From a verdict.
    pub fn of(allows: bool) -> Self {
        if allows { Self::Allow } else { Self::Deny }
    }
}
