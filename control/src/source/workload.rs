//! Workloads and the pods that they stand for.
//!
//! What people keep in a directory are Deployments; the pods are made by controllers. A node's
//! gateway must not make any up: its cluster tells it which there are. A lab and the offline tools
//! take a workload for the pods of its template.

use std::collections::BTreeMap;

use super::Problem;
use super::object::{OBJECT, labels, metadata, owner, pod_spec};
use super::policy::selector;
use super::reader::Reader;
use super::syntax;
use super::tree::{Map, Node, Value};
use crate::model::{Cluster, Labels, ObjectKey, Operator, Phase, Pod, Requirement, Selector};

/// What is made of workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Workloads {
    /// Nothing: they are left out like every kind that has no part in policy.
    #[default]
    Ignored,
    /// As many pods as they ask for.
    Replicas,
    /// The same, and one of those that ask for none: it may be scaled up at any time.
    AtLeastOne,
}

/// The controller that makes an object (`metadata.ownerReferences`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Kinds that make pods.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WorkloadKind {
    /// First: the names of its pods are settled.
    StatefulSet,
    /// By way of ReplicaSets.
    Deployment,
    /// Mostly a Deployment's.
    ReplicaSet,
    /// The oldest of them.
    ReplicationController,
    /// One pod a node.
    DaemonSet,
    /// Until they have ended well.
    Job,
    /// By way of Jobs.
    CronJob,
}

/// An object that makes pods.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace and name.
    pub key: ObjectKey,
    /// How many pods it asks for. A DaemonSet asks for one a node.
    pub replicas: u32,
    /// The pods that it takes for its own.
    pub selector: Option<Selector>,
    /// A pod of its; the name is the workload's.
    pub template: Pod,
    /// What made it.
    pub owner: Option<Owner>,
    /// The number of the first pod.
    first: u32,
    /// A Job that is over.
    ended: bool,
}

/// More pods of one workload are taken for a slip of the finger.
const MOST_PODS: u32 = 10_000;

impl WorkloadKind {
    const ALL: [Self; 7] = [
        Self::StatefulSet,
        Self::Deployment,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::DaemonSet,
        Self::Job,
        Self::CronJob,
    ];

    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StatefulSet => "StatefulSet",
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }

    const fn api_version(self) -> &'static str {
        match self {
            Self::StatefulSet | Self::Deployment | Self::ReplicaSet | Self::DaemonSet => "apps/v1",
            Self::ReplicationController => "v1",
            Self::Job | Self::CronJob => "batch/v1",
        }
    }

    /// The kind of that name, if it is one of these.
    pub(super) fn find(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.api_version() == api_version && known.name() == kind)
    }

    /// `apiVersion` and `kind` of all of them.
    pub(super) fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
        Self::ALL.into_iter().map(|kind| (kind.api_version(), kind.name()))
    }
}

impl Workload {
    /// Kind and name, as they are shown.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind.name(), self.key)
    }

    /// As the owner of its pods.
    fn as_owner(&self) -> Owner {
        Owner { kind: self.kind.name().to_owned(), name: self.key.name.clone() }
    }

    fn is(&self, namespace: &str, owner: &Owner) -> bool {
        self.key.namespace == namespace && self.kind.name() == owner.kind && self.key.name == owner.name
    }
}

/// Reads a workload. Only what its pods are made of is read, and only that is judged.
pub(super) fn workload<'a>(reader: &mut Reader<'a>, object: &'a Map, kind: WorkloadKind) -> Option<Workload> {
    reader.only(object, OBJECT);
    let metadata = metadata(reader, object, syntax::subdomain);
    let mut found = Spec::default();
    reader.field(object, "spec", |reader, node| {
        let Some(spec) = reader.map(node) else { return };
        if kind == WorkloadKind::CronJob {
            reader.field(spec, "jobTemplate", |reader, node| {
                let Some(job) = reader.map(node) else { return };
                reader.field(job, "spec", |reader, node| read_spec(reader, node, kind, &mut found));
            });
        } else {
            read_spec(reader, node, kind, &mut found);
        }
    });
    let mut ended = false;
    reader.field(object, "status", |reader, node| {
        let Some(status) = reader.map(node) else { return };
        ended = kind == WorkloadKind::Job && status.find("completionTime").is_some();
    });
    let metadata = metadata?;
    let key = ObjectKey::new(metadata.namespace, metadata.name);
    let (labels, spec) = found.template.unwrap_or_default();
    let template = Pod {
        key: key.clone(),
        labels,
        node: spec.node,
        addresses: Vec::new(),
        host_network: spec.host_network,
        phase: Phase::Pending,
        ready: true,
        terminating: false,
        hostname: spec.hostname,
        subdomain: found.service.or(spec.subdomain),
        ports: spec.ports,
    };
    let owner = owner(object);
    Some(Workload {
        kind,
        key,
        replicas: found.replicas.unwrap_or(1),
        selector: found.selector,
        template,
        owner,
        first: found.first,
        ended,
    })
}

#[derive(Default)]
struct Spec {
    replicas: Option<u32>,
    selector: Option<Selector>,
    first: u32,
    service: Option<String>,
    template: Option<(Labels, super::object::PodSpec)>,
}

fn read_spec<'a>(reader: &mut Reader<'a>, node: &'a Node, kind: WorkloadKind, found: &mut Spec) {
    let Some(spec) = reader.map(node) else { return };
    match kind {
        WorkloadKind::Job | WorkloadKind::CronJob => {
            let at_once = reader.field(spec, "parallelism", count).flatten();
            let in_all = reader.field(spec, "completions", count).flatten();
            found.replicas = at_once.into_iter().chain(in_all).min();
        }
        _ => found.replicas = reader.field(spec, "replicas", count).flatten(),
    }
    found.selector = match kind {
        WorkloadKind::ReplicationController => reader.field(spec, "selector", labels).map(equal),
        _ => reader.field(spec, "selector", selector),
    };
    if kind == WorkloadKind::StatefulSet {
        let name = reader.field(spec, "serviceName", Reader::text).flatten();
        found.service = name.filter(|name| !name.is_empty()).map(str::to_owned);
        reader.field(spec, "ordinals", |reader, node| {
            let Some(ordinals) = reader.map(node) else { return };
            found.first = reader.field(ordinals, "start", count).flatten().unwrap_or(0);
        });
    }
    found.template = reader
        .field(spec, "template", |reader, node| {
            let template = reader.map(node)?;
            let labels = reader.field(template, "metadata", |reader, node| {
                let metadata = reader.map(node)?;
                reader.field(metadata, "labels", labels)
            });
            let spec = reader.field(template, "spec", pod_spec).unwrap_or_default();
            Some((labels.flatten().unwrap_or_default(), spec))
        })
        .flatten();
    if found.template.is_none() {
        reader.report_at("template", Problem::Required { detail: "must be specified" });
    }
}

/// Reads a number of pods.
fn count<'a>(reader: &mut Reader<'a>, node: &'a Node) -> Option<u32> {
    let Value::Int(number) = node.value else {
        reader.report_type("a number", node);
        return None;
    };
    let count = u32::try_from(number).ok().filter(|count| *count <= MOST_PODS);
    if count.is_none() {
        let detail = "must be between 0 and 10000, inclusive";
        reader.report(Problem::Invalid { value: number.to_string(), detail, remedy: None });
    }
    count
}

fn equal(labels: Labels) -> Selector {
    let requirement = |(key, value)| Requirement { key, operator: Operator::In([value].into()) };
    Selector::new(labels.into_iter().map(requirement).collect())
}

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
        owner == Some(&workload.as_owner())
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
