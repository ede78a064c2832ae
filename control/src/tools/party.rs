//! Who takes part: pods, one by one or by workload.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use clap::ValueEnum;
use serde::Serialize;

use super::{Judge, Survey};
use crate::model::{ObjectKey, Pod};

/// Pods that go together, or addresses outside that every policy treats alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Party {
    /// Its name.
    pub name: String,
    /// Its pods; none outside.
    pub pods: Vec<String>,
    /// The addresses of each; outside, one of each span.
    #[serde(skip)]
    pub addresses: Vec<Vec<IpAddr>>,
    /// Whether it is outside the cluster.
    pub outside: bool,
}

/// How pods are put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Grouping {
    /// By the controller that made them (a Deployment, not its ReplicaSets); others are alone.
    Workload,
    /// Not at all.
    Pod,
}

/// All pods with an address of their own.
pub(super) fn pods(survey: &Survey, judge: &Judge, grouping: Grouping) -> Vec<Party> {
    let mut workloads: BTreeMap<(String, String), Party> = BTreeMap::new();
    for pod in survey.cluster.pods().values().filter(|pod| pod.is_endpoint()) {
        let key = pod.key.to_string();
        let is_its_own = |address: &IpAddr| judge.name(*address) == Some(&key);
        let addresses: Vec<IpAddr> = pod.addresses.iter().copied().filter(is_its_own).collect();
        if addresses.is_empty() {
            continue;
        }
        let (name, kind) = match grouping {
            Grouping::Workload => workload(survey, pod),
            Grouping::Pod => (key.clone(), String::new()),
        };
        let party = workloads.entry((name.clone(), kind)).or_insert_with(|| Party {
            name,
            pods: Vec::new(),
            addresses: Vec::new(),
            outside: false,
        });
        party.pods.push(key);
        party.addresses.push(addresses);
    }
    let mut used: HashMap<String, usize> = HashMap::new();
    for (name, _) in workloads.keys() {
        *used.entry(name.clone()).or_default() += 1;
    }
    let mut parties = Vec::new();
    for ((name, kind), mut party) in workloads {
        // A Deployment and a StatefulSet may have one name.
        if used[&name] > 1 && !kind.is_empty() {
            party.name = format!("{kind} {name}");
        }
        if party.pods.len() > 1 {
            party.name = format!("{} ({})", party.name, party.pods.len());
        }
        parties.push(party);
    }
    parties
}

/// Two of each kind: of those that cannot be told apart, no more need be asked about, one for its
/// part with others and one more for their part with each other.
pub(super) fn two_of_each<T, K: Hash + Eq>(
    items: impl IntoIterator<Item = T>,
    kind: impl Fn(&T) -> K,
) -> Vec<T> {
    let mut seen: HashMap<K, u8> = HashMap::new();
    let mut kept = Vec::new();
    for item in items {
        let count = seen.entry(kind(&item)).or_default();
        if *count < 2 {
            *count += 1;
            kept.push(item);
        }
    }
    kept
}

/// What tables tell of an end: the family and the identity of each address.
pub(super) fn kind(judge: &Judge, addresses: &[IpAddr]) -> Vec<(bool, u32)> {
    addresses.iter().map(|address| (address.is_ipv4(), judge.resolve(*address).identity)).collect()
}

/// Live pods that take no part: those on their node's network, and those whose address is not
/// theirs alone.
pub(super) fn absent(survey: &Survey, judge: &Judge) -> Vec<(ObjectKey, &'static str)> {
    let live = survey.cluster.pods().values().filter(|pod| pod.is_live());
    let absent = live.filter_map(|pod| {
        let key = pod.key.to_string();
        if pod.host_network {
            return Some((pod.key.clone(), "it uses its node's network"));
        }
        let owns = pod.addresses.iter().any(|address| judge.name(*address) == Some(&key));
        (!owns).then(|| (pod.key.clone(), "it has no address that is its alone"))
    });
    absent.collect()
}

/// The name and kind of what a pod is a replica of; its own name if it is alone.
pub(super) fn workload(survey: &Survey, pod: &Pod) -> (String, String) {
    let ObjectKey { namespace, name } = &pod.key;
    let hash = pod.labels.get("pod-template-hash").filter(|hash| !hash.is_empty());
    let owner = survey.background.owners.get(&pod.key);
    let (name, kind) = match (owner, hash) {
        (Some(owner), Some(hash)) => match owner.name.strip_suffix(&format!("-{hash}")) {
            Some(deployment) => (deployment.to_owned(), "Deployment"),
            None => (owner.name.clone(), owner.kind.as_str()),
        },
        (Some(owner), None) => (owner.name.clone(), owner.kind.as_str()),
        // A Deployment's pod that lost its owner on the way into a file.
        (None, Some(hash)) => match name.split_once(&format!("-{hash}-")) {
            Some((deployment, _)) => (deployment.to_owned(), "Deployment"),
            None => (name.clone(), ""),
        },
        (None, None) => (name.clone(), ""),
    };
    (format!("{namespace}/{name}"), kind.to_owned())
}
