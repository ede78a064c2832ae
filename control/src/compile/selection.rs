//! Which policies isolate which roles. A policy that isolates no pod of this node plays no part.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::bits::Bits;
use super::counted::Counted;
use super::role::Roles;
use super::seen::Change;
use crate::model::NetworkPolicy;

/// The number of a set of policies.
pub(super) type SetId = u32;

/// Ingress, egress.
pub(super) const DIRECTIONS: [usize; 2] = [0, 1];

/// Policies that matter here, and the sets of them that isolate some role.
#[derive(Default)]
pub(super) struct Selection {
    /// In the order of their keys: that a rule is the first to allow must not depend on chance.
    by_namespace: HashMap<String, BTreeMap<String, Arc<NetworkPolicy>>>,
    relevant: Counted<Version>,
    sets: Counted<Vec<u32>>,
    of_role: Vec<Option<[Option<SetId>; 2]>>,
}

/// A policy as it was read once: one that is changed is another one.
#[derive(Debug)]
pub(super) struct Version(pub(super) Arc<NetworkPolicy>);

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Selection {
    /// Takes over changes of policies and of roles. Returns the roles that other sets isolate.
    pub(super) fn update(&mut self, changes: &[Change<NetworkPolicy>], roles: &Roles) -> Bits {
        let mut namespaces = HashSet::new();
        for change in changes {
            let Some(either) = change.after.as_ref().or(change.before.as_ref()) else { continue };
            let key = &either.key;
            namespaces.insert(key.namespace.as_str());
            let policies = self.by_namespace.entry(key.namespace.clone()).or_default();
            match &change.after {
                Some(policy) => policies.insert(key.name.clone(), Arc::clone(policy)),
                None => policies.remove(&key.name),
            };
        }
        self.by_namespace.retain(|_, policies| !policies.is_empty());
        self.of_role.resize(self.of_role.len().max(roles.all().bound()), None);
        let mut differ = Bits::default();
        for role in 0..roles.all().bound() as u32 {
            let before = self.of_role[role as usize];
            let is_known = roles.all().is_used(role)
                && roles.is_local(role) == before.is_some()
                && !namespaces.contains(roles.all().value(role).namespace.as_str());
            // A number that has gone to another role was not used in between.
            if is_known || (!roles.all().is_used(role) && before.is_none()) {
                continue;
            }
            let now = roles.is_local(role).then(|| self.select(role, roles));
            self.sets.release_all(before.into_iter().flatten().flatten());
            self.of_role[role as usize] = now;
            if now != before {
                differ.insert(role as usize);
            }
        }
        for set in self.sets.gone() {
            self.relevant.release_all(self.sets.value(set).iter().copied());
        }
        differ
    }

    /// The policies that isolate some pod of this node.
    pub(super) fn relevant(&self) -> &Counted<Version> {
        &self.relevant
    }

    /// The sets that isolate a role for ingress and for egress, if any does.
    pub(super) fn sets(&self, role: u32) -> [Option<SetId>; 2] {
        self.of_role.get(role as usize).copied().flatten().unwrap_or_default()
    }

    /// The policies in a set, by number.
    pub(super) fn set(&self, id: SetId) -> &[u32] {
        self.sets.value(id)
    }

    /// The policies that isolate a role for ingress and for egress.
    pub(super) fn policies(&self, role: u32) -> [&[u32]; 2] {
        self.sets(role).map(|set| set.map_or(&[][..], |id| self.set(id)))
    }

    pub(super) fn settle(&mut self) {
        self.relevant.settle();
        self.sets.settle();
    }

    fn select(&mut self, role: u32, roles: &Roles) -> [Option<SetId>; 2] {
        let role = roles.all().value(role);
        let mut found = [Vec::new(), Vec::new()];
        for policy in self.by_namespace.get(&role.namespace).into_iter().flat_map(BTreeMap::values) {
            if policy.pod_selector.matches(&role.labels) {
                for direction in DIRECTIONS.into_iter().filter(|at| policy.rules(*at == 1).is_some()) {
                    found[direction].push(self.relevant.acquire(Version(Arc::clone(policy))));
                }
            }
        }
        found.map(|set| {
            if set.is_empty() {
                return None;
            }
            let (id, is_new) = self.sets.enter(set.clone());
            if !is_new {
                // It has its policies already.
                self.relevant.release_all(set);
            }
            Some(id)
        })
    }
}
