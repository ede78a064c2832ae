//! Pods that no selector can tell apart: the same namespace, and the same labels as far as any
//! selector asks for them. There are far fewer of these than pods.

use std::collections::{HashMap, HashSet};

use super::intern::Interner;
use super::roster::Roster;
use crate::model::{Cluster, Labels, NamespaceScope, NetworkPolicy, Peer, Peers, Selector};

/// The roles of all pods.
pub(super) struct Roles<'a> {
    roles: Vec<Role<'a>>,
    of_pod: Vec<u32>,
}

/// One role.
pub(super) struct Role<'a> {
    pub(super) namespace: &'a str,
    /// Labels that some selector asks for.
    pub(super) labels: Labels,
}

impl<'a> Roles<'a> {
    pub(super) fn new(cluster: &'a Cluster, roster: &Roster<'a>) -> Self {
        let keys = keys(cluster);
        let mut interner = Interner::default();
        let of_pod = roster
            .pods()
            .iter()
            .map(|entry| {
                let asked = entry.pod.labels.iter().filter(|(key, _)| keys.contains(key.as_str()));
                let labels: Vec<(&str, &str)> =
                    asked.map(|(key, value)| (key.as_str(), value.as_str())).collect();
                interner.intern((entry.pod.key.namespace.as_str(), labels))
            })
            .collect();
        let role = |(namespace, labels): (&'a str, Vec<(&str, &str)>)| Role {
            namespace,
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        };
        Self { roles: interner.into_values().into_iter().map(role).collect(), of_pod }
    }

    /// All roles.
    pub(super) fn all(&self) -> &[Role<'a>] {
        &self.roles
    }

    /// The role of the pod at this place in the roster.
    pub(super) fn of_pod(&self, at: usize) -> usize {
        self.of_pod[at] as usize
    }
}

/// Every label key that a selector on pods asks for.
fn keys(cluster: &Cluster) -> HashSet<&str> {
    let selectors = cluster.policies().values().flat_map(|policy| pod_selectors(policy));
    selectors.flat_map(|selector| selector.requirements().iter().map(|asked| asked.key.as_str())).collect()
}

fn pod_selectors(policy: &NetworkPolicy) -> impl Iterator<Item = &Selector> {
    let rules = policy.ingress.iter().chain(&policy.egress);
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Any => &[],
        Peers::AnyOf(peers) => peers.as_slice(),
    });
    let selectors = peers.filter_map(|peer| match peer {
        Peer::Pods(peer) => Some(&peer.pods),
        Peer::Block(_) => None,
    });
    selectors.chain([&policy.pod_selector])
}

/// Namespaces that match a selector, each selector asked once.
pub(super) struct NamespaceMatches<'a> {
    cluster: &'a Cluster,
    known: HashMap<&'a Selector, HashSet<&'a str>>,
}

impl<'a> NamespaceMatches<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, known: HashMap::new() }
    }

    /// Whether a peer of a policy in `own` looks into `namespace`.
    pub(super) fn covers(&mut self, scope: &'a NamespaceScope, own: &str, namespace: &str) -> bool {
        match scope {
            NamespaceScope::Own => own == namespace,
            NamespaceScope::Matching(selector) => self
                .known
                .entry(selector)
                .or_insert_with(|| {
                    let all = self.cluster.namespaces().values();
                    all.filter(|one| selector.matches(one.labels())).map(|one| one.name()).collect()
                })
                .contains(namespace),
        }
    }
}
