//! Kinds as people type them, and as kubectl prints them.

use anyhow::anyhow;

/// A kind of object that a lab knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kind {
    /// As manifests write it.
    pub(super) name: &'static str,
    /// With its API group, as kubectl prints it.
    pub(super) qualified: &'static str,
    /// As people type it.
    words: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind::new("Pod", "pod", &["pod", "pods", "po"]),
    Kind::new("Service", "service", &["service", "services", "svc"]),
    Kind::new("Namespace", "namespace", &["namespace", "namespaces", "ns"]),
    Kind::new("Node", "node", &["node", "nodes", "no"]),
    Kind::new(
        "NetworkPolicy",
        "networkpolicy.networking.k8s.io",
        &["networkpolicy", "networkpolicies", "netpol", "networkpolicy.networking.k8s.io"],
    ),
    Kind::new(
        "EndpointSlice",
        "endpointslice.discovery.k8s.io",
        &["endpointslice", "endpointslices", "endpointslice.discovery.k8s.io"],
    ),
    Kind::new("Endpoints", "endpoints", &["endpoints", "ep"]),
    Kind::new("Deployment", "deployment.apps", &["deployment", "deployments", "deploy", "deployment.apps"]),
    Kind::new("ReplicaSet", "replicaset.apps", &["replicaset", "replicasets", "rs", "replicaset.apps"]),
    Kind::new("StatefulSet", "statefulset.apps", &["statefulset", "statefulsets", "sts", "statefulset.apps"]),
    Kind::new("DaemonSet", "daemonset.apps", &["daemonset", "daemonsets", "ds", "daemonset.apps"]),
    Kind::new(
        "ReplicationController",
        "replicationcontroller",
        &["replicationcontroller", "replicationcontrollers", "rc"],
    ),
    Kind::new("Job", "job.batch", &["job", "jobs", "job.batch"]),
    Kind::new("CronJob", "cronjob.batch", &["cronjob", "cronjobs", "cj", "cronjob.batch"]),
];

const WORKLOADS: [&str; 7] =
    ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job", "CronJob"];

/// What `kubectl get all` shows.
const ALL: [&str; 9] = [
    "Pod",
    "ReplicationController",
    "Service",
    "DaemonSet",
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "Job",
    "CronJob",
];

impl Kind {
    const fn new(name: &'static str, qualified: &'static str, words: &'static [&'static str]) -> Self {
        Self { name, qualified, words }
    }

    /// The kinds that are meant by a list of words, as `pods,svc`; `all` means what kubectl means by it.
    pub(super) fn listed(words: &str) -> anyhow::Result<Vec<Self>> {
        let mut kinds = Vec::new();
        for word in words.split(',') {
            let meant = if word.eq_ignore_ascii_case("all") {
                ALL.iter().filter_map(|name| Self::named(name)).collect()
            } else {
                vec![Self::meant_by(word)?]
            };
            kinds.extend(meant);
        }
        Ok(kinds)
    }

    /// Whether it asks for pods.
    pub(super) fn is_workload(self) -> bool {
        WORKLOADS.contains(&self.name)
    }

    /// The kind that is meant by a word.
    pub(super) fn meant_by(word: &str) -> anyhow::Result<Self> {
        Self::find(word).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.words[0]).collect();
            anyhow!("a lab has no {word:?}; it knows {}", known.join(", "))
        })
    }

    /// The same; `None` if it means none.
    pub(super) fn find(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        KINDS.iter().copied().find(|kind| kind.words.contains(&word.as_str()))
    }

    /// The kind of that name in manifests.
    pub(super) fn named(name: &str) -> Option<Self> {
        KINDS.iter().copied().find(|kind| kind.name == name)
    }
}

/// `Pod shop/web` as kubectl says it: `pod/web`.
pub(super) fn shown(title: &str) -> String {
    let (kind, key) = title.split_once(' ').unwrap_or(("", title));
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    let kind = Kind::named(kind).map_or_else(|| kind.to_lowercase(), |kind| kind.qualified.to_owned());
    format!("{kind}/{name}")
}

/// Kind and names out of `KIND NAME...` or `KIND/NAME...`.
pub(super) fn kinds_and_names(words: &[String]) -> anyhow::Result<Vec<(Kind, String)>> {
    if words.iter().any(|word| word.contains('/')) {
        return words
            .iter()
            .map(|word| match word.split_once('/') {
                Some((kind, name)) if !name.is_empty() => Ok((Kind::meant_by(kind)?, name.to_owned())),
                _ => Err(anyhow!("{word:?}: with KIND/NAME, every argument is of that form")),
            })
            .collect();
    }
    let Some((kind, names)) = words.split_first() else { return Ok(Vec::new()) };
    let kind = Kind::meant_by(kind)?;
    if names.is_empty() {
        return Err(anyhow!("which {}? name one, or several", kind.words[0]));
    }
    Ok(names.iter().map(|name| (kind, name.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_every_name_they_have() {
        for (word, name) in [("deploy", "Deployment"), ("Pods", "Pod"), ("netpol", "NetworkPolicy")] {
            assert_eq!(Kind::meant_by(word).unwrap().name, name);
        }
        let error = Kind::meant_by("ingress").unwrap_err().to_string();
        assert!(error.contains("\"ingress\"") && error.contains("networkpolicy"), "{error}");
        assert_eq!(shown("NetworkPolicy a/x"), "networkpolicy.networking.k8s.io/x");
        assert_eq!(shown("Namespace a"), "namespace/a");
    }

    #[test]
    fn several_kinds_are_listed_together() {
        let names = |words: &str| {
            Kind::listed(words).map(|kinds| kinds.into_iter().map(|kind| kind.name).collect::<Vec<_>>())
        };
        assert_eq!(names("pods,svc,ep").unwrap(), ["Pod", "Service", "Endpoints"]);
        assert_eq!(names("all").unwrap(), ALL);
        assert!(names("pods,").is_err() && names("pods,ingress").is_err());
    }

    #[test]
    fn both_forms_of_naming_are_read() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let read = |text: &str| {
            kinds_and_names(&words(text)).map(|all| {
                all.into_iter().map(|(kind, name)| format!("{} {name}", kind.name)).collect::<Vec<_>>()
            })
        };
        assert_eq!(read("pod a b").unwrap(), ["Pod a", "Pod b"]);
        assert_eq!(read("pod/a svc/b").unwrap(), ["Pod a", "Service b"]);
        for bad in ["pod", "pod/a b", "pod/"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
