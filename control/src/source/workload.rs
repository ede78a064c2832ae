//! Workloads and the pods that they stand for.
//!
//! What people keep in a directory are Deployments; the pods are made by controllers. A node's
//! gateway must not make any up: its cluster tells it which there are. A lab and the offline tools
//! take a workload for the pods of its template.

use super::Problem;
use super::object::{OBJECT, labels, metadata, owner, pod_spec};
use super::policy::selector;
use super::reader::Reader;
use super::syntax;
use super::tree::{Map, Node, Value};
use crate::model::{Labels, ObjectKey, Operator, Pod, Requirement, Selector};

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
    pub(super) first: u32,
    /// A Job that is over.
    pub(super) ended: bool,
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
    pub(super) fn as_owner(&self) -> Owner {
        Owner { kind: self.kind.name().to_owned(), name: self.key.name.clone() }
    }

    pub(super) fn is(&self, namespace: &str, owner: &Owner) -> bool {
        self.key.namespace == namespace && self.kind.name() == owner.kind && self.key.name == owner.name
    }
}

/// Reads a workload. Only what its pods are made of is read, and only that is judged.
pub(super) fn workload<'a>(reader: &mut Reader<'a>, object: &'a Map, kind: WorkloadKind) -> Option<Workload> {
    reader.only(object, OBJECT);
    let metadata = metadata(reader, object, syntax::subdomain);
    let mut found = Spec::default();
    let spec = reader.field(object, "spec", |reader, node| {
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
    if spec.is_none() {
        reader.report_at("spec", Problem::Required { detail: "must be specified" });
    }
    let mut ended = false;
    reader.field(object, "status", |reader, node| {
        let Some(status) = reader.map(node) else { return };
        ended = kind == WorkloadKind::Job && status.find("completionTime").is_some();
    });
    let metadata = metadata?;
    let key = ObjectKey::new(metadata.namespace, metadata.name);
    let (labels, spec) = found.template.unwrap_or_default();
    let template = Pod {
        labels,
        node: spec.node,
        host_network: spec.host_network,
        hostname: spec.hostname,
        subdomain: found.service.or(spec.subdomain),
        ports: spec.ports,
        ..Pod::new(key.clone())
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
