//! What the policy in force was compiled from, for tools that ask about it.

use std::sync::Arc;
use std::time::Duration;

use podgate_dataplane::worker;
use podgate_flowtable::Epoch;

use super::gateway::Gateway;
use super::history;
use crate::api;
use crate::model::Cluster;
use crate::source::{Background, list};

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

    fn has_in_force(&self, wanted: &api::Wanted) -> bool {
        let state = self.state();
        let is_recent =
            |in_force: &InForce| wanted.revision.is_none_or(|wanted| in_force.revision >= Some(wanted));
        let is_bound = |pod: &str| {
            state
                .ports
                .iter()
                .any(|port| port.bound.as_ref().is_some_and(|bound| bound.pod.to_string() == pod))
        };
        state.in_force.as_ref().is_some_and(is_recent) && wanted.pods().all(is_bound)
    }

    /// The objects that are in force, with the addresses that pods have here; `None` before the first
    /// snapshot.
    pub fn in_force(&self) -> Option<api::InForce> {
        let now = worker::now();
        let (in_force, published, held_back) = {
            let state = self.state();
            let newer = ["manifests", "compile"].into_iter().filter_map(|about| state.alarms.get(about));
            (state.in_force.clone()?, state.published, newer.flatten().cloned().collect())
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
