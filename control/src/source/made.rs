//! The pods of workloads, put among those that are told.

use std::collections::BTreeMap;

use super::{Owner, Workload, WorkloadKind};
use crate::model::{Cluster, ObjectKey, Pod};

/// Pods that were made of one workload.
pub(super) struct Made {
    /// The workload's title.
    pub(super) workload: String,
    /// Its pods.
    pub(super) pods: Vec<ObjectKey>,
}

/// Puts the pods of `workloads` into `cluster`, but for those whose pods are there already, or whose
/// owner stands for them.
pub(super) fn put_pods(
    mut workloads: Vec<Workload>,
    at_least_one: bool,
    cluster: &mut Cluster,
    owners: &mut BTreeMap<ObjectKey, Owner>,
) -> Vec<Made> {
    workloads.sort_by(|one, other| (one.kind, &one.key).cmp(&(other.kind, &other.key)));
    let stands = |workload: &&Workload| {
        let namespace = &workload.key.namespace;
        let owner = workload.owner.as_ref();
        let is_of_another =
            owner.is_some_and(|owner| workloads.iter().any(|other| other.is(namespace, owner)));
        !is_of_another && !workload.ended && !has_pods(workload, cluster, owners)
    };
    let standing: Vec<Workload> = workloads.iter().filter(stands).cloned().collect();
    standing.iter().map(|workload| made(workload, at_least_one, cluster, owners)).collect()
}

/// Whether some pod that a controller has made is one of the workload's.
fn has_pods(workload: &Workload, cluster: &Cluster, owners: &BTreeMap<ObjectKey, Owner>) -> bool {
    const BY_CONTROLLERS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];
    let mut pods = cluster.pods().values().filter(|pod| pod.key.namespace == workload.key.namespace);
    pods.any(|pod| {
        let owner = owners.get(&pod.key);
        let is_made = owner.is_some() || BY_CONTROLLERS.iter().any(|key| pod.labels.contains_key(*key));
        let selector = workload.selector.as_ref().filter(|selector| !selector.requirements().is_empty());
        // A Deployment's pods are its ReplicaSets'.
        let hash = pod.labels.get("pod-template-hash");
        let is_named =
            hash.is_some_and(|hash| pod.key.name.starts_with(&format!("{}-{hash}-", workload.key.name)));
        is_named
            || owner == Some(&workload.as_owner())
            || (is_made && selector.is_some_and(|selector| selector.matches(&pod.labels)))
    })
}

fn made(
    workload: &Workload,
    at_least_one: bool,
    cluster: &mut Cluster,
    owners: &mut BTreeMap<ObjectKey, Owner>,
) -> Made {
    let nodes: Vec<String> = match workload.kind {
        WorkloadKind::DaemonSet => cluster.nodes().keys().cloned().collect(),
        _ => Vec::new(),
    };
    let count = match workload.kind {
        WorkloadKind::DaemonSet => nodes.len().max(1),
        // What is left of an older revision has no pods to come.
        _ if at_least_one && workload.owner.is_none() => workload.replicas.max(1) as usize,
        _ => workload.replicas as usize,
    };
    let mut pods = Vec::new();
    for number in 0_usize.. {
        if pods.len() == count {
            break;
        }
        let ordinal = workload.first as usize + number;
        let key = ObjectKey::new(&workload.key.namespace, format!("{}-{ordinal}", workload.key.name));
        if cluster.pods().contains_key(&key) {
            continue;
        }
        let mut pod = Pod { key: key.clone(), ..workload.template.clone() };
        pod.node = nodes.get(pods.len()).cloned().or(pod.node);
        pod.labels.extend(given_labels(workload, &key, ordinal));
        if workload.kind == WorkloadKind::StatefulSet {
            pod.hostname = Some(key.name.clone());
        }
        cluster.put_pod(pod);
        owners.insert(key.clone(), workload.as_owner());
        pods.push(key);
    }
    Made { workload: workload.title(), pods }
}

/// Labels that the controller gives, as far as they can be told; policies select by them.
fn given_labels(workload: &Workload, pod: &ObjectKey, ordinal: usize) -> Vec<(String, String)> {
    let name = &workload.key.name;
    let labels: &[(&str, String)] = match workload.kind {
        WorkloadKind::StatefulSet => &[
            ("statefulset.kubernetes.io/pod-name", pod.name.clone()),
            ("apps.kubernetes.io/pod-index", ordinal.to_string()),
        ],
        WorkloadKind::Job => &[("job-name", name.clone()), ("batch.kubernetes.io/job-name", name.clone())],
        _ => &[],
    };
    labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}
