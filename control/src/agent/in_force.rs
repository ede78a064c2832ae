//! What the policy in force was compiled from, for tools that ask about it.

use std::sync::Arc;
use std::time::Duration;

use podgate_dataplane::worker;
use podgate_flowtable::Epoch;

use super::alarms::Subject;
use super::gateway::{Gateway, State};
use super::history;
use crate::api;
use crate::model::{Cluster, ObjectKey};
use crate::source::{Background, ObjectTrouble, list, policy};

/// The objects behind a snapshot. Manifests that came later and could not be put in force are not
/// among them.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) epoch: Epoch,
    pub(super) cluster: Arc<Cluster>,
    pub(super) background: Arc<Background>,
    /// The revision of the overlay file that they were read with.
    pub(super) revision: Option<u64>,
}

impl Gateway {
    /// Waits until `wanted` is in force, or for `patience`; returns how it is then.
    pub async fn when_in_force(&self, wanted: &api::Wanted, patience: Duration) -> api::Status {
        let mut epochs = self.epochs.subscribe();
        let arrived = async {
            // Told before it is looked at: no snapshot falls between.
            while !self.has_in_force(wanted) {
                if epochs.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, arrived).await;
        self.status()
    }

    /// Whether anything is.
    pub(super) fn is_in_force(&self) -> bool {
        self.state().in_force.is_some()
    }

    fn has_in_force(&self, wanted: &api::Wanted) -> bool {
        let state = self.state();
        let is_recent =
            |in_force: &InForce| wanted.revision.is_none_or(|wanted| in_force.revision >= Some(wanted));
        let is_late_enough =
            |in_force: &InForce| wanted.epoch.is_none_or(|wanted| in_force.epoch.0 >= wanted);
        let is_bound = |pod: &str| {
            state
                .ports
                .iter()
                .any(|port| port.enforced.as_ref().is_some_and(|bound| bound.pod.to_string() == pod))
        };
        let in_force = state.in_force.as_ref();
        in_force.is_some_and(|found| is_recent(found) && is_late_enough(found)) && wanted.pods().all(is_bound)
    }

    /// The policy of that name as it is in force.
    pub fn policy_in_force(&self, key: &ObjectKey) -> api::PolicyInForce {
        let source = self.source_status();
        let is_about = |trouble: &&ObjectTrouble| {
            (trouble.kind.as_str(), trouble.namespace.as_deref(), trouble.name.as_str())
                == ("NetworkPolicy", Some(key.namespace.as_str()), key.name.as_str())
        };
        let state = self.state();
        let in_force = state.in_force.as_ref();
        let found = in_force.and_then(|in_force| in_force.cluster.policies().get(key));
        api::PolicyInForce {
            epoch: in_force.map(|in_force| in_force.epoch.0),
            revision: in_force.and_then(|in_force| in_force.revision),
            object: found.map(|found| policy(found)),
            trouble: source.troubles.iter().find(is_about).map(ToString::to_string),
            held_back: held_back(&state),
        }
    }

    /// The objects that are in force, with the addresses that pods have here; `None` before the first
    /// snapshot.
    pub fn in_force(&self) -> Option<api::InForce> {
        let now = worker::now();
        let (in_force, published, held_back) = {
            let state = self.state();
            (state.in_force.clone()?, state.published, held_back(&state))
        };
        let places = in_force.background.policies.iter();
        // Made without the lock: the gateway goes on meanwhile.
        Some(api::InForce {
            gateway: self.options.name.clone(),
            epoch: in_force.epoch.0,
            age_seconds: published.map_or(0.0, |(at, _)| history::seconds_since(now, at)),
            held_back,
            services: self.options.services,
            places: places.map(|(policy, place)| (policy.to_string(), place.into())).collect(),
            objects: list(&in_force.cluster, &in_force.background),
        })
    }
}

/// Why what the source says now is not in force, if it is not.
pub(super) fn held_back(state: &State) -> Vec<String> {
    let newer =
        [Subject::Manifests, Subject::Compile].into_iter().flat_map(|about| state.alarms.about(about));
    newer.cloned().collect()
}
