//! Kubernetes objects as podgate uses them.
//!
//! Every value here is valid: whoever reads manifests or watches the API server checks first and
//! builds these after. What `null`, `[]` and a missing field mean has been decided by then, so
//! nothing below has to ask again.
//!
//! ```text
//! key      namespace/name
//! labels   label maps and selectors
//! object   namespaces and nodes
//! pod      pods and their named ports
//! service  Services and the endpoints that are listed for them
//! policy   NetworkPolicy: rules, peers, ports
//! block    ipBlock
//! cluster  all of them together
//! ```

mod block;
mod cluster;
mod key;
mod labels;
mod object;
mod pod;
mod policy;
mod service;

pub use block::{BlockError, IpBlock};
pub use cluster::Cluster;
pub use key::{KeyError, ObjectKey};
pub use labels::{Labels, Operator, Requirement, Selector};
pub use object::{NAMESPACE_NAME_LABEL, Namespace, Node};
pub use pod::{ContainerPort, Phase, Pod, PodRef, Protocol};
pub use policy::{
    NamespaceScope, NetworkPolicy, Peer, Peers, PodPeer, PolicyTypes, PortMatch, PortSpec, Ports, Rule,
};
pub use service::{
    Condition, EndpointPort, EndpointSlice, Families, Family, FamilyPolicy, Service, ServiceEndpoint,
    ServiceKind, ServicePort, TargetPort,
};
