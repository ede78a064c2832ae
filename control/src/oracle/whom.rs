//! What stands behind an address.

use std::net::IpAddr;

use crate::compile::Locality;
use crate::model::{Cluster, Node, Phase, Pod};

/// A pod, a node or neither.
pub(super) enum Whom<'a> {
    Pod(&'a Pod),
    Node(&'a Node),
    /// This machine, of which no Node object tells.
    ThisMachine,
    Outside,
}

impl<'a> Whom<'a> {
    /// Who has `address`. If several claim it, nobody does.
    pub(super) fn is(cluster: &'a Cluster, locality: &Locality, address: IpAddr) -> Self {
        let mut claims = Vec::new();
        for pod in cluster.pods().values() {
            let ended = pod.phase == Phase::Succeeded || pod.phase == Phase::Failed;
            if !ended && !pod.host_network && pod.addresses.contains(&address) {
                claims.push(Whom::Pod(pod));
            }
        }
        let on_this_machine =
            matches!(locality, Locality::Node { own_addresses, .. } if own_addresses.contains(&address));
        if on_this_machine {
            claims.push(Whom::ThisMachine);
        } else {
            let having = cluster.nodes().values().filter(|node| node.addresses.contains(&address));
            claims.extend(having.map(|node| Whom::Node(node)));
        }
        match claims.pop() {
            Some(only) if claims.is_empty() => only,
            _ => Whom::Outside,
        }
    }

    /// The pod, if it is one.
    pub(super) fn pod(&self) -> Option<&'a Pod> {
        match self {
            Whom::Pod(pod) => Some(pod),
            _ => None,
        }
    }

    /// Whether it is the node that `pod` runs on; `pod` is local.
    pub(super) fn is_node_of(&self, locality: &Locality, pod: &Pod) -> bool {
        match (self, locality) {
            (Whom::ThisMachine, _) => true,
            (Whom::Node(node), Locality::Everything) => pod.node.as_ref() == Some(&node.name),
            (Whom::Node(node), Locality::Node { name: Some(name), .. }) => node.name == *name,
            (Whom::Node(node), Locality::Node { name: None, own_addresses }) => {
                node.addresses.iter().any(|address| own_addresses.contains(address))
            }
            (Whom::Pod(_) | Whom::Outside, _) => false,
        }
    }
}
