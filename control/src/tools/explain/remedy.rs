//! The smallest rule that would allow a connection.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::{Spot, Survey, party, words, yaml};
use super::port::policy_protocol;
use super::{Case, End, why};
use crate::model::{
    Cluster, IpBlock, Labels, NAMESPACE_NAME_LABEL, NamespaceScope, NetworkPolicy, ObjectKey, Operator, Peer,
    Peers, Pod, PodPeer, PolicyTypes, PortMatch, PortSpec, Ports, Requirement, Rule, Selector,
};

/// What would have to be added to allow a connection on one side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Remedy {
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// The policy to add the rule to; `None`: a new policy.
    pub add_to: Option<String>,
    /// Where that policy's rules stand.
    pub spot: Option<Spot>,
    /// The rule, or the whole new policy.
    pub yaml: String,
    /// What the rule admits beyond what was asked.
    pub beware: Option<String>,
    #[serde(skip)]
    change: Change,
}

/// The same as a change of objects.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Change {
    Rule { policy: ObjectKey, egress: bool, rule: Rule },
    Policy(NetworkPolicy),
}

impl Remedy {
    /// Does to `cluster` what it says.
    pub fn apply(&self, cluster: &mut Cluster) {
        match &self.change {
            Change::Policy(policy) => cluster.put_policy(policy.clone()),
            Change::Rule { policy, egress, rule } => {
                if let Some(policy) = cluster.policies().get(policy) {
                    let mut policy = NetworkPolicy::clone(policy);
                    if *egress { &mut policy.egress } else { &mut policy.ingress }.push(rule.clone());
                    cluster.put_policy(policy);
                }
            }
        }
    }
}

/// What would have to be added on one side. Nothing can be where the subject is no pod.
pub(super) fn remedy(case: &Case<'_>, egress: bool) -> Option<Remedy> {
    let cluster = &case.survey.cluster;
    let (subject, other) = if egress { (case.from, case.to) } else { (case.to, case.from) };
    let subject = subject.pod(cluster)?;
    let rule = Rule { peers: Peers::AnyOf(vec![peer(cluster, subject, other)]), ports: ports(case) };
    let selector = narrow(cluster, subject);
    let wanted = selected(cluster, &subject.key.namespace, &selector);
    let direction = if egress { "egress" } else { "ingress" };
    // What selects every pod is for pods to come as well: the rule would be too wide there.
    let is_as_wide = |policy: &&NetworkPolicy| {
        (policy.pod_selector != Selector::everything() || selector == Selector::everything())
            && selected(cluster, &policy.key.namespace, &policy.pod_selector) == wanted
    };
    let same = why::isolating(case, egress).find(is_as_wide);
    if let Some(policy) = same {
        return Some(Remedy {
            direction,
            add_to: Some(policy.key.to_string()),
            spot: case
                .survey
                .policy_spot(&policy.key, &format!("spec.{direction}"))
                .or_else(|| case.survey.policy_spot(&policy.key, "metadata.name")),
            yaml: yaml::rule(&rule, egress),
            beware: beware(case.survey, other.pod(cluster).into_iter()),
            change: Change::Rule { policy: policy.key.clone(), egress, rule },
        });
    }
    let policy = NetworkPolicy {
        key: free_name(case.survey, subject, other, egress),
        pod_selector: selector.clone(),
        types: PolicyTypes { ingress: !egress, egress },
        ingress: if egress { Vec::new() } else { vec![rule.clone()] },
        egress: if egress { vec![rule] } else { Vec::new() },
    };
    let yaml = yaml::policy(&policy);
    let beware = beware(case.survey, other.pod(cluster).into_iter().chain([subject]));
    Some(Remedy { direction, add_to: None, spot: None, yaml, beware, change: Change::Policy(policy) })
}

fn ports(case: &Case<'_>) -> Ports {
    match policy_protocol(case.protocol) {
        Some(protocol) => {
            let port = case.service_port().map_or(case.port, |leads| leads.port);
            let port = PortMatch::Range { first: port, last: port };
            Ports::AnyOf(vec![PortSpec { protocol, port }])
        }
        None => Ports::Every,
    }
}

/// `other` as seen from the namespace of `subject`.
fn peer(cluster: &Cluster, subject: &Pod, other: &End) -> Peer {
    match other.pod(cluster) {
        Some(pod) => {
            let namespaces = if pod.key.namespace == subject.key.namespace {
                NamespaceScope::Own
            } else {
                NamespaceScope::Matching(equal(NAMESPACE_NAME_LABEL, &pod.key.namespace))
            };
            Peer::Pods(PodPeer { namespaces, pods: narrow(cluster, pod) })
        }
        None => {
            let block = IpBlock::new(other.address.into(), &[]);
            Peer::Block(block.expect("a block without excepts is a block"))
        }
    }
}

/// A selector of the pod and as few others as its labels allow: of one label, if that is as good
/// as all. Labels that a controller gives to each of its pods or revisions do not count.
fn narrow(cluster: &Cluster, pod: &Pod) -> Selector {
    const GENERATED: [&str; 6] = [
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/job-completion-index",
    ];
    const USUAL: [&str; 4] = ["app.kubernetes.io/name", "app", "k8s-app", "name"];
    let lasting: Labels = pod
        .labels
        .iter()
        .filter(|(key, _)| !GENERATED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let all = Selector::new(lasting.iter().flat_map(|(key, value)| requirements(key, value)).collect());
    let best = selected(cluster, &pod.key.namespace, &all);
    let mut keys: Vec<&String> = lasting.keys().collect();
    keys.sort_by_key(|key| USUAL.iter().position(|usual| usual == key).unwrap_or(USUAL.len()));
    let singles = keys.into_iter().map(|key| equal(key, &lasting[key]));
    let found = singles.into_iter().find(|one| selected(cluster, &pod.key.namespace, one) == best);
    found.unwrap_or(all)
}

/// The live pods of a namespace that a selector matches.
fn selected<'a>(cluster: &'a Cluster, namespace: &str, selector: &Selector) -> BTreeSet<&'a ObjectKey> {
    let pods = cluster.pods().values();
    let selected = pods
        .filter(|pod| pod.key.namespace == namespace && pod.is_endpoint() && selector.matches(&pod.labels));
    selected.map(|pod| &pod.key).collect()
}

fn equal(key: &str, value: &str) -> Selector {
    Selector::new(requirements(key, value).into())
}

fn requirements(key: &str, value: &str) -> [Requirement; 1] {
    [Requirement { key: key.to_owned(), operator: Operator::In([value.to_owned()].into()) }]
}

/// Who else a rule is about, if labels cannot tell them apart.
fn beware<'a>(survey: &Survey, pods: impl Iterator<Item = &'a Pod>) -> Option<String> {
    let cluster = &survey.cluster;
    let mut told = Vec::new();
    for pod in pods {
        let (key, selector) = (&pod.key, narrow(cluster, pod));
        if selector == Selector::everything() {
            let namespace = &key.namespace;
            told.push(format!("{key} has no label to know it by, so every pod of {namespace} is meant"));
            continue;
        }
        // Replicas of the same workload are meant with it.
        let workload = party::workload(survey, pod);
        let with = selected(cluster, &key.namespace, &selector);
        let others = with.into_iter().filter(|other| {
            cluster.pods().get(*other).is_some_and(|other| party::workload(survey, other) != workload)
        });
        let others: Vec<&ObjectKey> = others.collect();
        if !others.is_empty() {
            told.push(format!("{} has the labels of {key} too", words::some(&others, "pod")));
        }
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// A name that no policy of the namespace has.
fn free_name(survey: &Survey, subject: &Pod, other: &End, egress: bool) -> ObjectKey {
    let cluster = &survey.cluster;
    let name = |pod: &Pod| {
        let (workload, _) = party::workload(survey, pod);
        workload.rsplit('/').next().unwrap_or(&pod.key.name).to_owned()
    };
    let other = other.pod(cluster).map_or_else(|| "address".to_owned(), name);
    let way = if egress { "to" } else { "from" };
    let stem: String = format!("{}-{way}-{other}", name(subject)).chars().take(240).collect();
    let stem = stem.trim_end_matches(['-', '.']).to_owned();
    let names = std::iter::once(stem.clone()).chain((2..).map(|number| format!("{stem}-{number}")));
    let mut keys = names.map(|name| ObjectKey::new(&subject.key.namespace, name));
    let free = keys.find(|key| !cluster.policies().contains_key(key));
    free.expect("there are more numbers than policies")
}
