//! How long new pods are closed before their policy is in force.
//!
//! The time runs from when the gateway had all that it takes: the pod's port with its address, as told by
//! the kernel, and the manifests that give the pod that address, as noticed; from the later of the two. It
//! ends with the publication of the first snapshot in which the port is bound to the pod. Until then every
//! frame of the port is dropped. A pod that was there when the gateway started is not timed.

use std::collections::BTreeMap;
use std::time::Duration;

use podgate_flowtable::Time;

use super::publish_times::PublishTimes;
use crate::api::{Distribution, TimeToPolicy};
use crate::model::{Cluster, ObjectKey, Pod};

/// When manifests first told of pods, and how long these were closed.
#[derive(Debug, Default)]
pub(super) struct PodStarts {
    named: BTreeMap<ObjectKey, Time>,
    times: PublishTimes,
}

impl PodStarts {
    /// Manifests have changed; noticed at `noticed`.
    pub(super) fn follow(&mut self, before: &Cluster, after: &Cluster, noticed: Time) {
        let is_named =
            |cluster: &Cluster, key: &ObjectKey| cluster.pods().get(key).is_some_and(|pod| has_address(pod));
        self.named.retain(|key, _| is_named(after, key));
        let new = after.pods().iter().filter(|(key, pod)| has_address(pod) && !is_named(before, key));
        self.named.extend(new.map(|(key, _)| (key.clone(), noticed)));
    }

    /// When manifests first gave `pod` an address; `None` if that was before the start.
    pub(super) fn named(&self, pod: &ObjectKey) -> Option<Time> {
        self.named.get(pod).copied()
    }

    /// A pod's policy is in force.
    pub(super) fn record(&mut self, took: Duration) {
        self.times.record(took);
    }

    /// Over all pods so far, in buckets.
    pub(super) fn distribution(&self, bounds: &[Duration]) -> Distribution {
        self.times.distribution(bounds)
    }

    /// Over all pods so far; `None` if there was none.
    pub(super) fn summary(&self) -> Option<TimeToPolicy> {
        Some(TimeToPolicy {
            pods: self.times.count(),
            p50_ms: self.times.percentile_ms(50.0)?,
            p99_ms: self.times.percentile_ms(99.0)?,
            max_ms: self.times.percentile_ms(100.0)?,
        })
    }
}

fn has_address(pod: &Pod) -> bool {
    pod.is_endpoint() && !pod.addresses.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Phase;

    fn cluster(pods: &[(&str, bool, Phase)]) -> Cluster {
        let mut cluster = Cluster::new();
        for (key, has_address, phase) in pods {
            cluster.put_pod(Pod {
                addresses: has_address.then(|| [10, 0, 0, 1].into()).into_iter().collect(),
                phase: *phase,
                ..Pod::new(key.parse().unwrap())
            });
        }
        cluster
    }

    #[test]
    fn a_pod_is_named_when_it_lives_and_has_an_address() {
        let at = Time::from_nanos;
        let key: ObjectKey = "x/a".parse().unwrap();
        let mut starts = PodStarts::default();
        let states = [
            (cluster(&[("x/a", false, Phase::Pending)]), None),
            (cluster(&[("x/a", true, Phase::Running)]), Some(at(1))),
            (cluster(&[("x/a", true, Phase::Running), ("x/b", true, Phase::Running)]), Some(at(1))),
            (cluster(&[("x/a", true, Phase::Succeeded)]), None),
            (cluster(&[("x/a", true, Phase::Running)]), Some(at(4))),
            (cluster(&[]), None),
        ];
        let mut before = Cluster::new();
        for ((after, expected), now) in states.into_iter().zip(0..) {
            starts.follow(&before, &after, at(now));
            assert_eq!(starts.named(&key), expected, "{now}");
            before = after;
        }
        assert_eq!(starts.summary(), None);
        starts.record(Duration::from_millis(3));
        assert_eq!(starts.summary().map(|summary| summary.pods), Some(1));
    }
}
