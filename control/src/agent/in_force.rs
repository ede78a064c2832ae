//! What the policy in force was compiled from, for tools that ask about it.

use std::sync::Arc;

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
}

impl Gateway {
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
            places: places.map(|(policy, place)| (policy.to_string(), place.into())).collect(),
            objects: list(&in_force.cluster, &in_force.background),
        })
    }
}
