//! What every rule asks for: who is selected, who is a peer.

use std::collections::BTreeMap;

use podgate_dataplane::snapshot::Isolation;

use super::super::{Judge, Survey};
use super::{Code, Finding, Level};
use crate::model::{
    Cluster, Labels, Namespace, NamespaceScope, NetworkPolicy, Peer, Peers, Pod, PodPeer, PortSpec, Ports,
    Rule, Selector,
};

/// The cluster, sorted for questions.
pub(super) struct Context<'a> {
    pub(super) survey: &'a Survey,
    pub(super) judge: &'a Judge,
    pods: BTreeMap<&'a str, Vec<&'a Pod>>,
}

/// A rule in force, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) policy: &'a NetworkPolicy,
    pub(super) egress: bool,
    pub(super) index: usize,
    pub(super) rule: &'a Rule,
}

impl<'a> Context<'a> {
    pub(super) fn new(survey: &'a Survey, judge: &'a Judge) -> Self {
        let mut pods: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
        for pod in survey.cluster.pods().values().filter(|pod| pod.is_live()) {
            pods.entry(&pod.key.namespace).or_default().push(pod.as_ref());
        }
        Self { survey, judge, pods }
    }

    pub(super) fn cluster(&self) -> &'a Cluster {
        &self.survey.cluster
    }

    pub(super) fn policies(&self) -> impl Iterator<Item = &'a NetworkPolicy> {
        self.cluster().policies().values().map(AsRef::as_ref)
    }

    /// Every rule that is in force.
    pub(super) fn sites(&self) -> impl Iterator<Item = Site<'a>> {
        self.policies().flat_map(sites)
    }

    /// Live pods of a namespace, those on their node's network too.
    pub(super) fn pods_of(&self, namespace: &str) -> &[&'a Pod] {
        self.pods.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Live pods that a policy isolates, or would if they had a network of their own.
    pub(super) fn matched(&self, policy: &NetworkPolicy) -> Vec<&'a Pod> {
        let pods = self.pods_of(&policy.key.namespace).iter().copied();
        pods.filter(|pod| policy.pod_selector.matches(&pod.labels)).collect()
    }

    /// Live pods that a policy isolates.
    pub(super) fn selected(&self, policy: &NetworkPolicy) -> Vec<&'a Pod> {
        self.matched(policy).into_iter().filter(|pod| pod.is_endpoint()).collect()
    }

    /// Namespaces in which a peer looks.
    pub(super) fn namespaces(&self, scope: &NamespaceScope, own: &str) -> Vec<&'a Namespace> {
        let all = self.cluster().namespaces().values();
        all.filter(|namespace| match scope {
            NamespaceScope::Own => namespace.name() == own,
            NamespaceScope::Matching(selector) => selector.matches(namespace.labels()),
        })
        .map(AsRef::as_ref)
        .collect()
    }

    /// Live pods that a peer of a policy in namespace `own` matches.
    pub(super) fn peer_pods(&self, peer: &PodPeer, own: &str) -> Vec<&'a Pod> {
        let namespaces = self.namespaces(&peer.namespaces, own);
        let pods = namespaces.into_iter().flat_map(|namespace| self.pods_of(namespace.name())).copied();
        pods.filter(|pod| pod.is_endpoint() && peer.pods.matches(&pod.labels)).collect()
    }

    /// The policies that isolate a pod, as the compiled table has it.
    pub(super) fn isolation(&self, pod: &Pod) -> Option<&'a Isolation> {
        let snapshot = &self.judge.compiled().snapshot;
        let key = pod.key.to_string();
        let id = pod.addresses.iter().find_map(|address| self.judge.resolve(*address).id);
        let id = id.filter(|id| snapshot.names.endpoint(*id) == Some(&key))?;
        snapshot.names.isolation.get(id.0 as usize)
    }

    /// Whether a field of a policy is written; none is in a policy that was made and not read.
    pub(super) fn is_written(&self, policy: &NetworkPolicy, field: &str) -> bool {
        let origin = self.survey.traced.origin(&format!("NetworkPolicy {}", policy.key));
        origin.is_some_and(|(_, origin)| origin.has(field))
    }

    /// A finding about a field of a policy.
    pub(super) fn about(
        &self,
        policy: &NetworkPolicy,
        field: &str,
        (code, level): (Code, Level),
        message: String,
        help: impl Into<String>,
    ) -> Finding {
        self.finding(&format!("NetworkPolicy {}", policy.key), field, (code, level), message, help)
    }

    /// A finding about a field of an object.
    pub(super) fn finding(
        &self,
        object: &str,
        field: &str,
        (code, level): (Code, Level),
        message: String,
        help: impl Into<String>,
    ) -> Finding {
        let spot = self.survey.spot(object, field);
        let object = Some(object.to_owned());
        Finding { code, name: code.name(), level, message, help: help.into(), object, spot }
    }
}

/// Every rule of a policy that is in force.
pub(super) fn sites(policy: &NetworkPolicy) -> impl Iterator<Item = Site<'_>> {
    [false, true].into_iter().flat_map(move |egress| {
        let rules = policy.rules(egress).unwrap_or_default().iter().enumerate();
        rules.map(move |(index, rule)| Site { policy, egress, index, rule })
    })
}

impl<'a> Site<'a> {
    /// `spec.ingress[0]`.
    pub(super) fn field(&self) -> String {
        format!("spec.{}[{}]", if self.egress { "egress" } else { "ingress" }, self.index)
    }

    /// `spec.ingress[0].from[1]`.
    pub(super) fn peer_field(&self, at: usize) -> String {
        format!("{}.{}[{at}]", self.field(), if self.egress { "to" } else { "from" })
    }

    /// `spec.ingress[0].ports[1]`.
    pub(super) fn port_field(&self, at: usize) -> String {
        format!("{}.ports[{at}]", self.field())
    }

    /// The items of `from` or `to`.
    pub(super) fn peers(&self) -> &'a [Peer] {
        match &self.rule.peers {
            Peers::Any => &[],
            Peers::AnyOf(items) => items,
        }
    }

    /// The items of `ports`.
    pub(super) fn ports(&self) -> &'a [PortSpec] {
        match &self.rule.ports {
            Ports::Every => &[],
            Ports::AnyOf(items) => items,
        }
    }
}

/// The values that pods or namespaces have under the keys that a selector asks for: what may have
/// been meant.
pub(super) fn alternatives<'l>(
    selector: &Selector,
    labels: impl IntoIterator<Item = &'l Labels>,
) -> Option<String> {
    const SHOWN: usize = 5;
    let labels: Vec<&Labels> = labels.into_iter().collect();
    for requirement in selector.requirements() {
        if labels.iter().any(|labels| requirement.matches(labels)) {
            continue;
        }
        let key = &requirement.key;
        let mut values: Vec<&str> =
            labels.iter().filter_map(|labels| labels.get(key)).map(String::as_str).collect();
        values.sort_unstable();
        values.dedup();
        return Some(match values.len() {
            0 => format!("none has a label {key}"),
            count if count > SHOWN => {
                format!("label {key} is there with {} and {} more", values[..SHOWN].join(", "), count - SHOWN)
            }
            _ => format!("label {key} is there with {}", values.join(", ")),
        });
    }
    None
}
