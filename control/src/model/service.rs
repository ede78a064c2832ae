//! Services and the endpoints that are listed for them.

use std::net::IpAddr;

use super::{Labels, ObjectKey, Protocol};

/// A Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// How it is reached.
    pub kind: ServiceKind,
    /// The pods behind it, all of these labels; without any, whoever made the Service lists its
    /// endpoints (`EndpointSlice`).
    pub selector: Labels,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// How long a client keeps its backend, in seconds: `sessionAffinity: ClientIP`.
    pub affinity_secs: Option<u32>,
    /// Whether backends count before they are ready.
    pub publish_not_ready: bool,
    /// Which families of addresses it asks for.
    pub families: Families,
}

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which families of addresses a Service asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Families {
    /// How many: `spec.ipFamilyPolicy`. Two families that are named, or two addresses, ask for both.
    pub policy: Option<FamilyPolicy>,
    /// Which, the first one first: `spec.ipFamilies`.
    pub named: Vec<Family>,
}

/// How many families of addresses a Service asks for: `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FamilyPolicy {
    /// One.
    SingleStack,
    /// Both, or the only one that there is.
    PreferDualStack,
    /// Both.
    RequireDualStack,
}

/// How a Service is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServiceKind {
    /// At addresses of its own, which are translated: `spec.clusterIPs`. Empty while none are given.
    Cluster(Vec<IpAddr>),
    /// At its backends' own addresses, by name only: `clusterIP: None`.
    Headless,
    /// It is another name for a host: `type: ExternalName`.
    External(String),
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ServicePort {
    /// Its name; may be missing where there is only one.
    pub name: Option<String>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
    /// The backend's port.
    pub target: TargetPort,
}

/// The port of a Service's backend.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TargetPort {
    /// The same on every backend.
    Number(u16),
    /// What the backend itself calls so.
    Named(String),
}

/// Endpoints as they are listed for a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSlice {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// The Service, by the label `kubernetes.io/service-name`, in the same namespace.
    pub service: ObjectKey,
    /// Ports of every endpoint here; matched to the Service's by name.
    pub ports: Vec<EndpointPort>,
    /// The endpoints.
    pub endpoints: Vec<ServiceEndpoint>,
}

/// A port of the endpoints in a slice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EndpointPort {
    /// The name of the Service's port.
    pub name: Option<String>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The endpoint's port.
    pub port: u16,
}

/// One endpoint of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceEndpoint {
    /// Its addresses; they are all of one family.
    pub addresses: Vec<IpAddr>,
    /// What it can be used for.
    pub condition: Condition,
    /// The pod it is, `targetRef`.
    pub pod: Option<ObjectKey>,
    /// What it is called under the Service's name.
    pub hostname: Option<String>,
}

/// What an endpoint can be used for (discovery.k8s.io/v1, `EndpointConditions`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Condition {
    /// New connections may go to it.
    Ready,
    /// It is going away but serves: new connections go to it only where none is ready.
    Terminating,
    /// Nothing new goes to it.
    NotReady,
}

impl Service {
    /// Addresses that are translated.
    pub fn cluster_ips(&self) -> &[IpAddr] {
        match &self.kind {
            ServiceKind::Cluster(addresses) => addresses,
            ServiceKind::Headless | ServiceKind::External(_) => &[],
        }
    }

    /// Whether it is served at addresses of this one's family: it has one of them, or would have.
    pub fn has_family_of(&self, address: IpAddr) -> bool {
        let family = Family::of(address);
        match (self.cluster_ips(), self.families.policy, &self.families.named[..]) {
            ([], Some(FamilyPolicy::PreferDualStack | FamilyPolicy::RequireDualStack), _) | ([], _, []) => {
                true
            }
            ([], _, named) => named.contains(&family),
            (own, ..) => own.iter().any(|own| Family::of(*own) == family),
        }
    }
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// As `spec.ipFamilies` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl FamilyPolicy {
    /// As `spec.ipFamilyPolicy` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SingleStack => "SingleStack",
            Self::PreferDualStack => "PreferDualStack",
            Self::RequireDualStack => "RequireDualStack",
        }
    }
}

impl ServicePort {
    /// As it is written: `80/TCP`.
    pub fn title(&self) -> String {
        format!("{}/{}", self.port, self.protocol)
    }
}
