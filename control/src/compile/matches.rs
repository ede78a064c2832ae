//! Which pod peers match which roles.

use std::collections::{HashMap, HashSet};

use super::bits::Bits;
use super::counted::Counted;
use super::role::{Role, Roles};
use super::rules::{PeerAtom, RuleBook};
use crate::model::{Cluster, NamespaceScope};

/// The set of pod peers that match each role.
#[derive(Default)]
pub(super) struct Matches {
    sets: Counted<Bits>,
    of_role: Vec<Option<u32>>,
}

impl Matches {
    /// Takes over changes of roles, of peers and of the namespaces named. Returns the roles that
    /// other peers match.
    pub(super) fn update(
        &mut self,
        cluster: &Cluster,
        namespaces: &HashSet<String>,
        roles: &Roles,
        rules: &RuleBook,
    ) -> Bits {
        let (fresh, gone) = (rules.peers().fresh(), rules.peers().gone());
        self.of_role.resize(self.of_role.len().max(roles.all().bound()), None);
        let peers = rules.peers();
        let mut all = Scopes { cluster, peers, some: None, known: HashMap::new() };
        let mut new = Scopes { cluster, peers, some: Some(&fresh), known: HashMap::new() };
        let mut differ = Bits::default();
        for number in 0..roles.all().bound() as u32 {
            let before = self.of_role[number as usize];
            let now = roles.all().is_used(number).then(|| roles.all().value(number));
            let now = match (now, before) {
                (None, _) => None,
                (Some(role), Some(before)) if !namespaces.contains(&role.namespace) => {
                    if fresh.is_empty() && gone.is_empty() {
                        continue;
                    }
                    let mut bits = self.sets.value(before).clone();
                    for atom in &gone {
                        bits.remove(*atom as usize);
                    }
                    new.matching(role).for_each(|atom| bits.insert(atom));
                    Some(bits)
                }
                (Some(role), _) => Some(all.matching(role).collect()),
            };
            let now = now.map(|bits| self.sets.acquire(bits));
            self.sets.release_all(before);
            self.of_role[number as usize] = now;
            if now != before {
                differ.insert(number as usize);
            }
        }
        differ
    }

    /// The set of peers that match a role.
    pub(super) fn of_role(&self, role: u32) -> u32 {
        self.of_role.get(role as usize).copied().flatten().unwrap_or_default()
    }

    /// The peers in a set.
    pub(super) fn peers(&self, set: u32) -> &Bits {
        self.sets.value(set)
    }

    pub(super) fn settle(&mut self) {
        self.sets.settle();
    }
}

/// The peers that look into each namespace, each found out once.
struct Scopes<'a> {
    cluster: &'a Cluster,
    peers: &'a Counted<PeerAtom>,
    /// Only these peers.
    some: Option<&'a [u32]>,
    known: HashMap<String, Vec<u32>>,
}

impl Scopes<'_> {
    /// The peers that match a role.
    fn matching(&mut self, role: &Role) -> impl Iterator<Item = usize> {
        if !self.known.contains_key(&role.namespace) {
            self.known.insert(role.namespace.clone(), self.looking(&role.namespace));
        }
        let looking = self.known.get(&role.namespace).map_or(&[][..], Vec::as_slice);
        let is_match = |atom: &u32| self.peers.value(*atom).peer.pods.matches(&role.labels);
        looking.iter().copied().filter(is_match).map(|atom| atom as usize)
    }

    fn looking(&self, namespace: &str) -> Vec<u32> {
        let labels = self.cluster.namespaces().get(namespace).map(|namespace| namespace.labels());
        let covers = |atom: u32| {
            let atom = self.peers.value(atom);
            match &atom.peer.namespaces {
                NamespaceScope::Own => atom.from == namespace,
                NamespaceScope::Matching(selector) => labels.is_some_and(|labels| selector.matches(labels)),
            }
        };
        match self.some {
            Some(some) => some.iter().copied().filter(|atom| covers(*atom)).collect(),
            None => self.peers.iter().map(|(atom, _)| atom).filter(|atom| covers(*atom)).collect(),
        }
    }
}
