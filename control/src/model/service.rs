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
}

impl ServicePort {
    /// As it is written: `80/TCP`.
    pub fn title(&self) -> String {
        format!("{}/{}", self.port, self.protocol)
    }
}
