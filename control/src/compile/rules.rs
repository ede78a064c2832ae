//! Rules with their peers and ports as numbers, each distinct peer once.

use std::collections::HashMap;

use podgate_dataplane::policy::RuleId;

use super::bits::Bits;
use super::blocks::Blocks;
use super::intern::Interner;
use super::role::{NamespaceMatches, Role};
use super::selection::{DIRECTIONS, Selection};
use crate::model::{Cluster, IpBlock, NamespaceScope, Peer, Peers, PodPeer, PortMatch, Ports, Rule};

/// All rules of the policies that matter here.
pub(super) struct RuleBook<'a> {
    /// By policy, ingress and egress.
    rules: Vec<[Vec<RuleEntry<'a>>; 2]>,
    /// Policy, egress, position; by rule id.
    names: Vec<(u32, bool, u32)>,
    /// Distinct pod peers: the namespace of the policy where that matters, and the peer.
    peers: Vec<PeerAtom<'a>>,
    pub(super) blocks: Blocks,
    block_count: usize,
    /// Names of ports that ingress and egress rules ask for.
    port_names: [Vec<&'a str>; 2],
}

/// One rule.
pub(super) struct RuleEntry<'a> {
    pub(super) id: RuleId,
    pub(super) peers: PeerSet,
    pub(super) ports: &'a Ports,
}

/// Whom a rule is about.
pub(super) enum PeerSet {
    Any,
    AnyOf { atoms: Vec<u32>, blocks: Vec<u32> },
}

/// A pod peer and the namespace it is seen from; only `Own` looks at that.
type PeerAtom<'a> = (&'a str, &'a PodPeer);

#[derive(Default)]
struct Interners<'a> {
    peers: Interner<PeerAtom<'a>>,
    blocks: Interner<&'a IpBlock>,
}

impl<'a> RuleBook<'a> {
    pub(super) fn new(selection: &Selection<'a>) -> Self {
        let mut interners = Interners::default();
        let mut names = Vec::new();
        let mut rules = Vec::with_capacity(selection.relevant().len());
        let mut port_names = [Vec::new(), Vec::new()];
        for (number, policy) in selection.relevant().iter().enumerate() {
            rules.push(DIRECTIONS.map(|direction| {
                let section = policy.rules(direction == 1).unwrap_or_default();
                let entry = |(index, rule): (usize, &'a Rule)| {
                    let id = RuleId(names.len() as u32);
                    names.push((number as u32, direction == 1, index as u32));
                    port_names[direction].extend(asked_names(&rule.ports));
                    RuleEntry {
                        id,
                        peers: interners.peer_set(&policy.key.namespace, &rule.peers),
                        ports: &rule.ports,
                    }
                };
                section.iter().enumerate().map(entry).collect()
            }));
        }
        for names in &mut port_names {
            names.sort_unstable();
            names.dedup();
        }
        let blocks = interners.blocks.values();
        Self {
            rules,
            names,
            blocks: Blocks::new(blocks),
            block_count: blocks.len(),
            peers: interners.peers.into_values(),
            port_names,
        }
    }

    /// The rules of a policy, by its number, in one direction.
    pub(super) fn of_policy(&self, number: u32, direction: usize) -> &[RuleEntry<'a>] {
        &self.rules[number as usize][direction]
    }

    /// Policy, egress, position of every rule, by rule id.
    pub(super) fn names(&self) -> impl Iterator<Item = (u32, bool, u32)> {
        self.names.iter().copied()
    }

    /// Distinct pod peers.
    pub(super) fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Distinct blocks.
    pub(super) fn block_count(&self) -> usize {
        self.block_count
    }

    /// Whether a rule of this direction asks for a port by this name.
    pub(super) fn asks_for(&self, name: &str, direction: usize) -> bool {
        self.port_names[direction].binary_search(&name).is_ok()
    }

    /// For each role, the pod peers that match it.
    pub(super) fn matched_peers(&self, cluster: &'a Cluster, roles: &[Role<'_>]) -> Vec<Bits> {
        let mut namespaces = NamespaceMatches::new(cluster);
        let mut by_namespace: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut matched = Vec::with_capacity(roles.len());
        for role in roles {
            let candidates = by_namespace.entry(role.namespace).or_insert_with(|| {
                let peers = self.peers.iter().enumerate();
                let covering =
                    peers.filter(|(_, (own, peer))| namespaces.covers(&peer.namespaces, own, role.namespace));
                covering.map(|(at, _)| at).collect()
            });
            let mut bits = Bits::new(self.peers.len());
            for at in candidates.iter().copied().filter(|at| self.peers[*at].1.pods.matches(&role.labels)) {
                bits.insert(at);
            }
            matched.push(bits);
        }
        matched
    }
}

impl<'a> Interners<'a> {
    fn peer_set(&mut self, namespace: &'a str, peers: &'a Peers) -> PeerSet {
        let Peers::AnyOf(peers) = peers else { return PeerSet::Any };
        let (mut atoms, mut blocks) = (Vec::new(), Vec::new());
        for peer in peers {
            match peer {
                Peer::Pods(peer) => {
                    // Seen from anywhere, a namespace selector matches the same.
                    let from = if peer.namespaces == NamespaceScope::Own { namespace } else { "" };
                    atoms.push(self.peers.intern((from, peer)));
                }
                Peer::Block(block) => blocks.push(self.blocks.intern(block)),
            }
        }
        PeerSet::AnyOf { atoms, blocks }
    }
}

fn asked_names(ports: &Ports) -> impl Iterator<Item = &str> {
    let specs = match ports {
        Ports::Every => &[],
        Ports::AnyOf(specs) => specs.as_slice(),
    };
    specs.iter().filter_map(|spec| match &spec.port {
        PortMatch::Named(name) => Some(name.as_str()),
        PortMatch::Every | PortMatch::Range { .. } => None,
    })
}
