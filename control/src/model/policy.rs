//! `networking.k8s.io/v1` NetworkPolicy, with every default filled in.

use super::{IpBlock, ObjectKey, Protocol, Selector};

/// A NetworkPolicy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkPolicy {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// The pods of its namespace that it is about.
    pub pod_selector: Selector,
    /// The directions in which it isolates them.
    pub types: PolicyTypes,
    /// Rules for traffic to them; without effect unless `types.ingress`.
    pub ingress: Vec<Rule>,
    /// Rules for traffic from them; without effect unless `types.egress`.
    pub egress: Vec<Rule>,
}

/// The directions in which a policy isolates the pods it selects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PolicyTypes {
    /// Traffic to them.
    pub ingress: bool,
    /// Traffic from them.
    pub egress: bool,
}

/// One rule: traffic that matches both the peers and the ports is allowed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Rule {
    /// `from` or `to`.
    pub peers: Peers,
    /// `ports`.
    pub ports: Ports,
}

/// `from` or `to` of a rule.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Peers {
    /// Missing, null or `[]`: every source or destination, outside the cluster too.
    Any,
    /// Any of these.
    AnyOf(Vec<Peer>),
}

/// One item of `from` or `to`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Peer {
    /// Pods by labels.
    Pods(PodPeer),
    /// Addresses, a pod's own included.
    Block(IpBlock),
}

/// Pods by the labels of their namespace *and* their own. Never a node, an address outside or a
/// hostNetwork pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PodPeer {
    /// Namespaces in which to look.
    pub namespaces: NamespaceScope,
    /// Pods in them.
    pub pods: Selector,
}

/// Namespaces in which a pod peer looks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NamespaceScope {
    /// The policy's own: there is no `namespaceSelector`.
    Own,
    /// Those that match.
    Matching(Selector),
}

/// `ports` of a rule.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ports {
    /// Missing, null or `[]`: every port of every protocol, and protocols without ports.
    Every,
    /// Any of these.
    AnyOf(Vec<PortSpec>),
}

/// One item of `ports`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PortSpec {
    /// The protocol; no other is admitted.
    pub protocol: Protocol,
    /// The destination ports.
    pub port: PortMatch,
}

/// Destination ports of one protocol.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PortMatch {
    /// All of them.
    Every,
    /// `first..=last`; the two are equal without `endPort`.
    Range {
        /// `port`.
        first: u16,
        /// `endPort`.
        last: u16,
    },
    /// A port of this name, looked up on the destination pod: name and protocol must agree there.
    Named(String),
}

impl NetworkPolicy {
    /// The rules in force for traffic from (`egress`) or to the pods it selects; `None` if it does
    /// not isolate them in that direction.
    pub fn rules(&self, egress: bool) -> Option<&[Rule]> {
        let (isolates, rules) =
            if egress { (self.types.egress, &self.egress) } else { (self.types.ingress, &self.ingress) };
        isolates.then_some(rules)
    }
}
