//! Rules with their peers and ports as numbers, each distinct peer once.

use std::collections::HashSet;
use std::sync::Arc;

use podgate_dataplane::policy::RuleId;

use super::counted::Counted;
use super::selection::{DIRECTIONS, Selection};
use crate::model::{IpBlock, NamespaceScope, NetworkPolicy, Peer, Peers, PodPeer, PortMatch, Ports, Rule};

/// All rules of the policies that matter here.
#[derive(Default)]
pub(super) struct RuleBook {
    /// By policy.
    policies: Vec<Option<PolicyEntry>>,
    /// Distinct pod peers.
    peers: Counted<PeerAtom>,
    /// Distinct blocks.
    blocks: Counted<IpBlock>,
    /// Names of ports that rules ask for; whether under egress, and the name.
    port_names: Counted<(bool, String)>,
    /// The same, for a quick look: under ingress, under egress.
    asked: [HashSet<String>; 2],
    /// Every rule: policy, direction, position.
    ids: Counted<(u32, usize, u32)>,
}

/// A policy that matters.
struct PolicyEntry {
    policy: Arc<NetworkPolicy>,
    /// Ingress, egress.
    rules: [Vec<RuleEntry>; 2],
}

/// One rule.
pub(super) struct RuleEntry {
    pub(super) id: RuleId,
    pub(super) peers: PeerSet,
    /// Names of ports that it asks for.
    names: Vec<u32>,
}

/// Whom a rule is about.
pub(super) enum PeerSet {
    Any,
    AnyOf { atoms: Vec<u32>, blocks: Vec<u32> },
}

/// A pod peer and the namespace it is seen from, empty unless it looks at that.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PeerAtom {
    pub(super) from: String,
    pub(super) peer: PodPeer,
}

impl RuleBook {
    /// Takes over which policies matter.
    pub(super) fn update(&mut self, selection: &Selection) {
        let relevant = selection.relevant();
        self.policies.resize_with(self.policies.len().max(relevant.bound()), || None);
        for number in relevant.fresh() {
            let policy = Arc::clone(&relevant.value(number).0);
            self.policies[number as usize] = Some(self.enter(number, policy));
        }
        for number in relevant.gone() {
            if let Some(entry) = self.policies[number as usize].take() {
                self.leave(&entry);
            }
        }
        if self.port_names.has_changed() {
            self.asked = [false, true].map(|egress| {
                let names = self.port_names.iter().filter(|(_, (under, _))| *under == egress);
                names.map(|(_, (_, name))| name.clone()).collect()
            });
        }
    }

    /// The rules of a policy, by its number, in one direction, and the ports of each.
    pub(super) fn of_policy(
        &self,
        number: u32,
        direction: usize,
    ) -> impl Iterator<Item = (&RuleEntry, &Ports)> {
        let entry = self.policies.get(number as usize).and_then(Option::as_ref);
        entry.into_iter().flat_map(move |entry| {
            let ports = section(&entry.policy, direction).iter().map(|rule| &rule.ports);
            entry.rules[direction].iter().zip(ports)
        })
    }

    /// Distinct pod peers.
    pub(super) fn peers(&self) -> &Counted<PeerAtom> {
        &self.peers
    }

    /// Distinct blocks.
    pub(super) fn blocks(&self) -> &Counted<IpBlock> {
        &self.blocks
    }

    /// Policy, direction, position of every rule, by rule id.
    pub(super) fn ids(&self) -> &Counted<(u32, usize, u32)> {
        &self.ids
    }

    /// Names of ports that rules ask for.
    pub(super) fn port_names(&self) -> &Counted<(bool, String)> {
        &self.port_names
    }

    /// Whether a rule of this direction asks for a port by this name.
    pub(super) fn asks_for(&self, egress: bool, name: &str) -> bool {
        self.asked[usize::from(egress)].contains(name)
    }

    pub(super) fn settle(&mut self) {
        self.peers.settle();
        self.blocks.settle();
        self.port_names.settle();
        self.ids.settle();
    }

    fn enter(&mut self, number: u32, policy: Arc<NetworkPolicy>) -> PolicyEntry {
        let rules = DIRECTIONS.map(|direction| {
            let rules = (0..).zip(section(&policy, direction));
            rules
                .map(|(index, rule)| {
                    let names = asked_names(&rule.ports).map(|name| (direction == 1, name.to_owned()));
                    RuleEntry {
                        id: RuleId(self.ids.acquire((number, direction, index))),
                        names: names.map(|name| self.port_names.acquire(name)).collect(),
                        peers: self.peer_set(&policy.key.namespace, &rule.peers),
                    }
                })
                .collect()
        });
        PolicyEntry { policy, rules }
    }

    fn leave(&mut self, entry: &PolicyEntry) {
        for rule in entry.rules.iter().flatten() {
            self.ids.release(rule.id.0);
            self.port_names.release_all(rule.names.iter().copied());
            if let PeerSet::AnyOf { atoms, blocks } = &rule.peers {
                self.peers.release_all(atoms.iter().copied());
                self.blocks.release_all(blocks.iter().copied());
            }
        }
    }

    fn peer_set(&mut self, namespace: &str, peers: &Peers) -> PeerSet {
        let Peers::AnyOf(peers) = peers else { return PeerSet::Any };
        let (mut atoms, mut blocks) = (Vec::new(), Vec::new());
        for peer in peers {
            match peer {
                Peer::Pods(peer) => {
                    // Seen from anywhere, a namespace selector matches the same.
                    let from = if peer.namespaces == NamespaceScope::Own { namespace } else { "" };
                    let atom = PeerAtom { from: from.to_owned(), peer: peer.clone() };
                    atoms.push(self.peers.acquire(atom));
                }
                Peer::Block(block) => blocks.push(self.blocks.acquire(block.clone())),
            }
        }
        PeerSet::AnyOf { atoms, blocks }
    }
}

/// The rules of one direction that are in force.
fn section(policy: &NetworkPolicy, direction: usize) -> &[Rule] {
    policy.rules(direction == 1).unwrap_or_default()
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
