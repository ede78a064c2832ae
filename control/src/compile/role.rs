//! Pods that no selector can tell apart: the same namespace, and the same labels as far as any
//! selector asks for them. There are far fewer of these than pods.

use std::collections::{HashMap, HashSet};

use super::bits::Bits;
use super::counted::Counted;
use super::roster::{PodEntry, Roster};
use super::seen::Change;
use crate::model::{Labels, NetworkPolicy, Peer, Peers, Selector};

/// The roles of all pods.
#[derive(Default)]
pub(super) struct Roles {
    /// How often selectors ask for a label key.
    keys: HashMap<String, u32>,
    all: Counted<Role>,
    /// How many pods of each role are local.
    local: Vec<u32>,
    /// By endpoint.
    of_pod: Vec<Option<Held>>,
}

/// One role.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Role {
    pub(super) namespace: String,
    /// Labels that some selector asks for.
    pub(super) labels: Labels,
}

/// What a pod counts for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Held {
    role: u32,
    local: bool,
}

impl Roles {
    /// Takes over changes of policies and of pods. Returns the pods that have another role than they
    /// had, and those that roster has told of.
    pub(super) fn update(&mut self, changes: &[Change<NetworkPolicy>], roster: &Roster) -> Vec<u32> {
        let touched = &roster.touched().pods;
        let asked = self.ask(changes);
        if !asked.is_empty() {
            // A key that some pod has and that is asked for now, or no longer.
            let differ = |entry: &PodEntry| asked.iter().any(|key| entry.pod.labels.contains_key(key));
            let mut all: Vec<u32> =
                roster.pods().filter(|(_, entry)| differ(entry)).map(|(number, _)| number).collect();
            all.extend(touched);
            all.sort_unstable();
            all.dedup();
            self.assign(&all, roster);
            return all;
        }
        self.assign(touched, roster);
        touched.clone()
    }

    /// All roles.
    pub(super) fn all(&self) -> &Counted<Role> {
        &self.all
    }

    /// Whether some pod of this node has the role.
    pub(super) fn is_local(&self, role: u32) -> bool {
        self.local.get(role as usize).is_some_and(|count| *count > 0)
    }

    /// The role of a pod, by its number.
    pub(super) fn of_pod(&self, number: u32) -> Option<u32> {
        Some((*self.of_pod.get(number as usize)?)?.role)
    }

    /// The pods that have one of these roles, by number.
    pub(super) fn pods_in<'a>(&'a self, roles: &'a Bits) -> impl Iterator<Item = u32> + 'a {
        let held = (0..).zip(&self.of_pod);
        held.filter(|(_, held)| held.is_some_and(|held| roles.contains(held.role as usize)))
            .map(|(number, _)| number)
    }

    pub(super) fn settle(&mut self) {
        self.all.settle();
    }

    fn assign(&mut self, pods: &[u32], roster: &Roster) {
        for number in pods {
            let held = roster.pod(*number).map(|entry| {
                let asked = entry.pod.labels.iter().filter(|(key, _)| self.keys.contains_key(*key));
                let labels = asked.map(|(key, value)| (key.clone(), value.clone())).collect();
                let role = Role { namespace: entry.pod.key.namespace.clone(), labels };
                Held { role: self.all.acquire(role), local: entry.local }
            });
            if self.of_pod.len() <= *number as usize {
                self.of_pod.resize(*number as usize + 1, None);
            }
            if self.local.len() < self.all.bound() {
                self.local.resize(self.all.bound(), 0);
            }
            if let Some(held) = held {
                self.local[held.role as usize] += u32::from(held.local);
            }
            if let Some(before) = std::mem::replace(&mut self.of_pod[*number as usize], held) {
                self.local[before.role as usize] -= u32::from(before.local);
                self.all.release(before.role);
            }
        }
    }

    /// Counts the keys that selectors ask for. Returns those that are asked for now and were not, or
    /// the other way round.
    fn ask(&mut self, changes: &[Change<NetworkPolicy>]) -> HashSet<String> {
        let mut before: HashMap<&str, bool> = HashMap::new();
        for change in changes {
            for (policy, adds) in [(&change.after, true), (&change.before, false)] {
                for key in policy.iter().flat_map(|policy| keys(policy)) {
                    let count = self.keys.entry(key.to_owned()).or_default();
                    before.entry(key).or_insert(*count > 0);
                    *count = if adds { *count + 1 } else { count.saturating_sub(1) };
                }
            }
        }
        self.keys.retain(|_, count| *count > 0);
        let differ = |(key, before): &(&str, bool)| self.keys.contains_key(*key) != *before;
        before.into_iter().filter(differ).map(|(key, _)| key.to_owned()).collect()
    }
}

/// Every label key that the selectors on pods of a policy ask for, as often as they do.
fn keys(policy: &NetworkPolicy) -> impl Iterator<Item = &str> {
    let rules = policy.ingress.iter().chain(&policy.egress);
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Any => &[],
        Peers::AnyOf(peers) => peers.as_slice(),
    });
    let selectors = peers.filter_map(|peer| match peer {
        Peer::Pods(peer) => Some(&peer.pods),
        Peer::Block(_) => None,
    });
    let selectors = selectors.chain([&policy.pod_selector]);
    selectors.flat_map(Selector::requirements).map(|requirement| requirement.key.as_str())
}
