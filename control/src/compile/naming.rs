//! Names for the numbers of endpoints, policies and rules, and what isolates each pod.

use std::sync::Arc;

use podgate_dataplane::snapshot::{Isolation, Names, RuleName};

use super::bits::Bits;
use super::identity::Sources;

/// The names as they were last told.
#[derive(Default)]
pub(super) struct Naming {
    names: Names,
    nodes: Vec<u32>,
}

impl Naming {
    /// Names anew the pods that are `touched`, ascending, what isolates those and all pods of the `roles`, and
    /// whatever else has changed.
    pub(super) fn update(&mut self, touched: &[u32], roles: &Bits, from: &Sources<'_>) {
        if from.roster.touched().nodes {
            for number in self.nodes.drain(..) {
                self.names.endpoints.set(number as usize, Arc::default());
            }
            for (number, title) in from.roster.node_titles() {
                self.names.endpoints.set(number as usize, title.into());
                self.names.isolation.set(number as usize, Isolation::default());
                self.nodes.push(number);
            }
        }
        for number in touched {
            let entry = from.roster.pod(*number);
            let title: Arc<str> = entry.map(|entry| entry.pod.key.to_string().into()).unwrap_or_default();
            if self.names.endpoints.get(*number as usize) != Some(&title) {
                self.names.endpoints.set(*number as usize, title);
            }
            self.isolate(*number, from);
        }
        let others = from.roles.pods_in(roles).filter(|number| touched.binary_search(number).is_err());
        for number in others {
            self.isolate(number, from);
        }
        self.policies(from);
    }

    /// All names.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    fn isolate(&mut self, number: u32, from: &Sources<'_>) {
        let local = from.roster.pod(number).filter(|entry| entry.local);
        let role = local.and_then(|_| from.roles.of_pod(number));
        let isolation = role.map_or_else(Isolation::default, |role| {
            let [ingress, egress] = from.selection.policies(role);
            Isolation { egress: egress.into(), ingress: ingress.into() }
        });
        if self.names.isolation.get(number as usize) != Some(&isolation) {
            self.names.isolation.set(number as usize, isolation);
        }
    }

    fn policies(&mut self, from: &Sources<'_>) {
        let relevant = from.selection.relevant();
        for number in relevant.gone() {
            self.names.policies.set(number as usize, Arc::default());
        }
        for number in relevant.fresh() {
            self.names.policies.set(number as usize, relevant.value(number).0.key.to_string().into());
        }
        for number in from.rules.ids().fresh() {
            let (policy, direction, index) = *from.rules.ids().value(number);
            let name = RuleName { policy, egress: direction == 1, index };
            self.names.rules.set(number as usize, name);
        }
    }
}
