//! Whether a rule matches.

use super::Flow;
use super::whom::Whom;
use crate::model::{
    Cluster, Labels, NamespaceScope, NetworkPolicy, Operator, Peer, Peers, Pod, PortMatch, PortSpec, Ports,
    Rule, Selector,
};

/// "A rule matches if the traffic matches *both* ports *and* from (to)."
pub(super) fn allows_flow(
    cluster: &Cluster,
    policy: &NetworkPolicy,
    rule: &Rule,
    peer: &Whom<'_>,
    destination: Option<&Pod>,
    egress: bool,
    flow: Flow,
) -> bool {
    let address = if egress { flow.to } else { flow.from };
    let peers_match = match &rule.peers {
        Peers::Any => true,
        Peers::AnyOf(items) => items.iter().any(|item| match item {
            // The address as it is on the wire, a pod's own included.
            Peer::Block(block) => {
                block.cidr().contains(&address) && !block.except().iter().any(|net| net.contains(&address))
            }
            Peer::Pods(wanted) => peer.pod().is_some_and(|pod| {
                let namespace = match &wanted.namespaces {
                    NamespaceScope::Own => pod.key.namespace == policy.key.namespace,
                    NamespaceScope::Matching(selector) => {
                        selects(selector, cluster.namespaces()[&pod.key.namespace].labels())
                    }
                };
                namespace && selects(&wanted.pods, &pod.labels)
            }),
        }),
    };
    let ports_match = match &rule.ports {
        Ports::Every => true,
        Ports::AnyOf(items) => items.iter().any(|item| port_matches(item, destination, flow)),
    };
    peers_match && ports_match
}

fn port_matches(item: &PortSpec, destination: Option<&Pod>, flow: Flow) -> bool {
    if flow.protocol != item.protocol.number() {
        return false;
    }
    match &item.port {
        PortMatch::Every => true,
        PortMatch::Range { first, last } => *first <= flow.port && flow.port <= *last,
        PortMatch::Named(name) => destination.is_some_and(|pod| {
            pod.ports.iter().any(|port| {
                port.name.as_ref() == Some(name) && port.protocol == item.protocol && port.port == flow.port
            })
        }),
    }
}

/// "The requirements are ANDed." `NotIn` holds for an absent key.
pub(super) fn selects(selector: &Selector, labels: &Labels) -> bool {
    for requirement in selector.requirements() {
        let holds = match (&requirement.operator, labels.get(&requirement.key)) {
            (Operator::In(values), Some(value)) => values.iter().any(|one| one == value),
            (Operator::NotIn(values), Some(value)) => !values.iter().any(|one| one == value),
            (Operator::Exists, value) => value.is_some(),
            (Operator::NotIn(_) | Operator::DoesNotExist, None) => true,
            (Operator::In(_), None) | (Operator::DoesNotExist, Some(_)) => false,
        };
        if !holds {
            return false;
        }
    }
    true
}
