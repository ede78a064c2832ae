//! Pods and their ports.

use std::fmt;
use std::net::IpAddr;

use podgate_flowtable::IpProtocol;

use super::{Labels, ObjectKey};

/// A transport protocol that NetworkPolicy knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Protocol {
    /// TCP, also where the field is missing (API defaulting).
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All of them, in the order the API lists them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As the API writes it; case matters there.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// From [`Protocol::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// As IP numbers it.
    pub const fn number(self) -> IpProtocol {
        match self {
            Self::Tcp => IpProtocol::TCP,
            Self::Udp => IpProtocol::UDP,
            Self::Sctp => IpProtocol::SCTP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port that a container of the pod declares.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ContainerPort {
    /// Its name; only named ports matter to policy.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Phase {
    /// Accepted, not all containers run yet; also a manifest without status.
    #[default]
    Pending,
    /// At least one container runs or starts.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly.
    Failed,
    /// Its node has not been heard of.
    Unknown,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Succeeded, Self::Failed, Self::Unknown];

    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }

    /// From [`Phase::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// A pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// The UID by which its node's runtime knows it; `None` where nobody says one. Of a static pod, that is not
    /// the UID of the mirror object that the API server has.
    pub uid: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// The node it was bound to.
    pub node: Option<String>,
    /// Its addresses, `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// Whether it runs in its node's network namespace.
    pub host_network: bool,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether Services may send it new connections: unless its condition `Ready` says no.
    pub ready: bool,
    /// Whether it has been asked to end (`metadata.deletionTimestamp`).
    pub terminating: bool,
    /// What it calls itself, `spec.hostname`; a StatefulSet's pods their own names.
    pub hostname: Option<String>,
    /// The headless Service under which that name is known, `spec.subdomain`.
    pub subdomain: Option<String>,
    /// Ports of all containers that stay (init containers with `restartPolicy: Always` included).
    pub ports: Vec<ContainerPort>,
}

/// One of the pods that have a name, one after another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PodRef {
    /// The name.
    pub key: ObjectKey,
    /// The UID, where it is known.
    pub uid: Option<String>,
}

impl PodRef {
    /// Whether it is `pod`, as far as can be told: a UID that is not known differs from none.
    pub fn is(&self, pod: &Pod) -> bool {
        self.key == pod.key && !self.uid_differs(pod)
    }

    /// Whether it is known to be another pod than `pod`, whatever their names are.
    pub fn uid_differs(&self, pod: &Pod) -> bool {
        matches!((&self.uid, &pod.uid), (Some(own), Some(uid)) if own != uid)
    }
}

impl From<&Pod> for PodRef {
    fn from(pod: &Pod) -> Self {
        Self { key: pod.key.clone(), uid: pod.uid.clone() }
    }
}

/// Without the UID.
impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

impl Pod {
    /// One that nothing is known of but its name: it is pending, and has no address.
    pub fn new(key: ObjectKey) -> Self {
        Self {
            key,
            uid: None,
            labels: Labels::new(),
            node: None,
            addresses: Vec::new(),
            host_network: false,
            phase: Phase::Pending,
            ready: true,
            terminating: false,
            hostname: None,
            subdomain: None,
            ports: Vec::new(),
        }
    }

    /// Whether its addresses are still its own: a finished pod keeps them in its status while
    /// another pod may already have got them. A terminating pod is still live.
    pub fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Whether policy can tell it from its node: hostNetwork pods are their node's traffic
    /// (NetworkPolicy documentation, "hostNetwork pods", the common reading).
    pub fn is_endpoint(&self) -> bool {
        self.is_live() && !self.host_network
    }
}
