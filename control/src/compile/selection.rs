//! Which policies isolate which roles. A policy that isolates no pod of this node plays no part.

use std::collections::HashMap;

use super::intern::Interner;
use super::role::Roles;
use super::roster::Roster;
use crate::model::{Cluster, NetworkPolicy};

/// The number of a set of policies.
pub(super) type SetId = u32;

/// Ingress, egress.
pub(super) const DIRECTIONS: [usize; 2] = [0, 1];

/// Policies that matter here, and the sets of them that isolate some role.
pub(super) struct Selection<'a> {
    relevant: Vec<&'a NetworkPolicy>,
    sets: Vec<Vec<u32>>,
    of_role: Vec<[Option<SetId>; 2]>,
}

impl<'a> Selection<'a> {
    pub(super) fn new(cluster: &'a Cluster, roster: &Roster<'a>, roles: &Roles<'a>) -> Self {
        let mut is_local = vec![false; roles.all().len()];
        for (at, _) in roster.pods().iter().enumerate().filter(|(_, entry)| entry.local) {
            is_local[roles.of_pod(at)] = true;
        }
        let policies: Vec<&NetworkPolicy> = cluster.policies().values().map(AsRef::as_ref).collect();
        let mut by_namespace: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, policy) in policies.iter().enumerate() {
            by_namespace.entry(&policy.key.namespace).or_default().push(at);
        }
        // In the order of their keys: that a rule is the first to allow must not depend on chance.
        let mut isolating: Vec<[Vec<usize>; 2]> = Vec::with_capacity(roles.all().len());
        let mut is_relevant = vec![false; policies.len()];
        for (role, local) in roles.all().iter().zip(is_local) {
            let mut sets = [Vec::new(), Vec::new()];
            let candidates = by_namespace.get(role.namespace).filter(|_| local);
            for at in candidates.into_iter().flatten().copied() {
                let policy = policies[at];
                if !policy.pod_selector.matches(&role.labels) {
                    continue;
                }
                for direction in DIRECTIONS {
                    if policy.rules(direction == 1).is_some() {
                        sets[direction].push(at);
                        is_relevant[at] = true;
                    }
                }
            }
            isolating.push(sets);
        }
        let mut number = vec![0; policies.len()];
        let mut relevant = Vec::new();
        for at in (0..policies.len()).filter(|at| is_relevant[*at]) {
            number[at] = relevant.len() as u32;
            relevant.push(policies[at]);
        }
        let mut sets = Interner::default();
        let of_role = isolating
            .into_iter()
            .map(|directions| {
                directions.map(|set| {
                    let set: Vec<u32> = set.into_iter().map(|at| number[at]).collect();
                    (!set.is_empty()).then(|| sets.intern(set))
                })
            })
            .collect();
        Self { relevant, sets: sets.into_values(), of_role }
    }

    /// The policies that isolate some pod of this node, by number.
    pub(super) fn relevant(&self) -> &[&'a NetworkPolicy] {
        &self.relevant
    }

    /// The sets that isolate a role for ingress and for egress, if any does.
    pub(super) fn sets(&self, role: usize) -> [Option<SetId>; 2] {
        self.of_role[role]
    }

    /// The policies in a set, by number.
    pub(super) fn set(&self, id: SetId) -> &[u32] {
        &self.sets[id as usize]
    }

    /// The policies that isolate a role for ingress and for egress.
    pub(super) fn policies(&self, role: usize) -> [&[u32]; 2] {
        self.of_role[role].map(|set| set.map_or(&[][..], |id| self.set(id)))
    }
}
