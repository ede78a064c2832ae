//! A text to objects, document by document.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{Spot, documents};
use super::items::Implied;
use super::object::{namespace, node, owner, pod};
use super::policy::network_policy;
use super::reader::Reader;
use super::service::{endpoint_slice, service};
use super::syntax::Strictness;
use super::trace::{Origin, Trace};
use super::tree::{self, Map, Node as Tree, Value};
use super::workload::{WorkloadKind, workload};
use super::{Note, Owner, Place, Problem, SourceError, Workload, Workloads};
use crate::model::{Cluster, EndpointSlice, Namespace, NetworkPolicy, Node, Pod, Service};

/// An object that policy is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A Namespace.
    Namespace(Arc<Namespace>),
    /// A Node.
    Node(Arc<Node>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A NetworkPolicy.
    NetworkPolicy(Arc<NetworkPolicy>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// Something that makes pods.
    Workload(Arc<Workload>),
}

impl Object {
    /// Kind and name, as they are shown: `Pod x/a`.
    pub fn title(&self) -> String {
        match self {
            Self::Namespace(namespace) => format!("Namespace {}", namespace.name()),
            Self::Node(node) => format!("Node {}", node.name),
            Self::Pod(pod) => format!("Pod {}", pod.key),
            Self::NetworkPolicy(policy) => format!("NetworkPolicy {}", policy.key),
            Self::Service(service) => format!("Service {}", service.key),
            Self::EndpointSlice(slice) => format!("EndpointSlice {}", slice.key),
            Self::Workload(workload) => workload.title(),
        }
    }

    /// Adds it to `cluster`, or replaces it there. A workload is none of it; its pods are.
    pub fn put_into(self, cluster: &mut Cluster) {
        match self {
            Self::Namespace(namespace) => cluster.put_namespace(namespace),
            Self::Node(node) => cluster.put_node(node),
            Self::Pod(pod) => cluster.put_pod(pod),
            Self::NetworkPolicy(policy) => cluster.put_policy(policy),
            Self::Service(service) => cluster.put_service(service),
            Self::EndpointSlice(slice) => cluster.put_endpoint_slice(slice),
            Self::Workload(_) => {}
        }
    }
}

/// An object and where it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The object.
    pub object: Object,
    /// Where it starts.
    pub place: Place,
    /// The controller that made it.
    pub owner: Option<Owner>,
    /// Where its fields stand, if that was asked for.
    pub origin: Option<Origin>,
}

/// All that was read from one text, good and bad.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// The objects, in order.
    pub manifests: Vec<Manifest>,
    /// What was not used.
    pub notes: Vec<Note>,
    /// What is wrong. If there is any, `manifests` is not the whole.
    pub errors: Vec<SourceError>,
}

/// Reads every document of `text`; `file` is only named.
pub fn read_manifests(text: &str, file: &Path, strictness: Strictness) -> Reading {
    read(text, file, How { strictness, workloads: Workloads::Ignored })
}

/// As [`read_manifests`].
pub(super) fn read(text: &str, file: &Path, how: How) -> Reading {
    let mut reading = Reading::default();
    for (number, document) in (1..).zip(documents(text)) {
        let spot = Spot { file, number, lines_before: document.lines_before };
        let Reading { manifests, notes, errors } = read_document(document.text, how, None);
        reading.manifests.extend(
            manifests.into_iter().map(|manifest| Manifest { place: spot.of(&manifest.place), ..manifest }),
        );
        reading.notes.extend(notes.iter().map(|note| spot.of_note(note)));
        reading.errors.extend(errors.iter().map(|error| spot.of_error(error)));
    }
    reading
}

/// What of texts, workloads included, is not used, and what is wrong with them.
pub(crate) fn read_texts(texts: &[(PathBuf, String)]) -> (Vec<Note>, Vec<SourceError>) {
    let how = How { strictness: Strictness::New, workloads: Workloads::Replicas };
    let readings: Vec<Reading> = texts.iter().map(|(file, text)| read(text, file, how)).collect();
    readings.into_iter().fold((Vec::new(), Vec::new()), |(mut notes, mut errors), reading| {
        notes.extend(reading.notes);
        errors.extend(reading.errors);
        (notes, errors)
    })
}

/// How texts are read.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) strictness: Strictness,
    pub(super) workloads: Workloads,
}

/// Reads one document by itself. All places are those in a file without a name that holds nothing else; with a
/// trace, every manifest and error knows besides which bytes of the whole text are meant.
pub(super) fn read_document(text: &str, how: How, trace: Option<Trace<'_>>) -> Reading {
    let mut reading = Reading::default();
    let mut reader = DocumentReader { reading: &mut reading, trace, how };
    match tree::parse(text) {
        Ok(root) => reader.object(&root, Implied::Nothing),
        Err(error) => {
            let place = place_at(error.line.unwrap_or(0));
            let problem = Problem::Syntax { reason: error.reason };
            let span = error.at.zip(reader.trace.as_ref()).map(|(at, trace)| trace.rest_of_line(at));
            reading.errors.push(SourceError { place, object: None, field: String::new(), problem, span });
        }
    }
    reading
}

/// Reads one item of a list, as [`read_document`] a document.
pub(super) fn read_item(item: &Tree, implied: Implied, how: How) -> Reading {
    let mut reading = Reading::default();
    DocumentReader { reading: &mut reading, trace: None, how }.object(item, implied);
    reading
}

/// What the items of a list are that do not say it themselves. `None` if it is no list.
pub(super) fn implied(list: &Tree) -> Option<Implied> {
    let map = list.as_map()?;
    let text = |key| map.find(key).and_then(Tree::as_text);
    map.find("items")?;
    implied_by(text("apiVersion")?, text("kind")?)
}

fn implied_by(api_version: &str, kind: &str) -> Option<Implied> {
    let item_kind = kind.strip_suffix("List")?;
    Some(implied_kind(api_version, item_kind).map_or(Implied::Nothing, Implied::Kind))
}

/// The place of a line of a document; 0 is one that is not known.
fn place_at(line: u64) -> Place {
    Place { file: PathBuf::new(), document: None, line: (line > 0).then_some(line) }
}

struct DocumentReader<'a> {
    reading: &'a mut Reading,
    trace: Option<Trace<'a>>,
    how: How,
}

/// `apiVersion` and `kind` of the kinds that are read.
static KINDS: [(&str, &str); 6] = [
    ("v1", "Namespace"),
    ("v1", "Node"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];

/// What is wrong with an object that is of no kind that is read, if it is called like one: its
/// `apiVersion`, or its `kind` if that is written in other case.
fn misnamed(api_version: &str, written: &str) -> Option<(&'static str, Problem)> {
    let (version, kind) = KINDS.iter().find(|(_, kind)| kind.eq_ignore_ascii_case(written))?;
    let (field, value, supported) =
        if *kind == written { ("apiVersion", api_version, version) } else { ("kind", written, kind) };
    let problem =
        Problem::Unsupported { value: format!("{value:?}"), supported: std::slice::from_ref(supported) };
    is_kubernetes_group(api_version).then_some((field, problem))
}

/// Whether an API version is of a group that Kubernetes itself has, in which no two groups have a kind
/// of one name that is read here.
fn is_kubernetes_group(api_version: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// The kind of the items in a list of that kind, if it is read.
pub(super) fn implied_kind(api_version: &str, kind: &str) -> Option<(&'static str, &'static str)> {
    KINDS.into_iter().chain(WorkloadKind::kinds()).find(|known| *known == (api_version, kind))
}

/// Whether objects of that kind are read.
pub(super) fn is_known(api_version: &str, kind: &str) -> bool {
    implied_kind(api_version, kind).is_some()
}

impl DocumentReader<'_> {
    /// Reads one object, or the items of a list. An item of a typed list need not repeat its kind.
    fn object(&mut self, root: &Tree, implied: Implied) {
        let mut reader = Reader::new(self.how.strictness);
        let Some(map) = reader.map(root) else { return self.finish(reader, root, None) };
        if map.0.is_empty() {
            // A document of `null` or `{}`.
            return;
        }
        let api_version = reader.field(map, "apiVersion", Reader::text).flatten();
        let kind = reader.field(map, "kind", Reader::text).flatten();
        let (api_version, kind) = match (api_version, kind, implied) {
            (Some(api_version), Some(kind), _) => (api_version, kind),
            (None, None, Implied::Kind(implied)) => implied,
            (api_version, kind, _) => {
                for (key, value) in [("apiVersion", api_version), ("kind", kind)] {
                    if value.is_none() {
                        reader.report_at(key, Problem::Required { detail: "not set" });
                    }
                }
                return self.finish(reader, root, None);
            }
        };
        if let Some(items) = map.find("items")
            && let Some(implied) = implied_by(api_version, kind)
        {
            return self.items(items, implied);
        }
        let title = title(map, kind);
        let of_workload = match self.how.workloads {
            Workloads::Ignored => None,
            Workloads::Replicas | Workloads::AtLeastOne => WorkloadKind::find(api_version, kind),
        };
        let object = match (api_version, kind) {
            _ if let Some(kind) = of_workload => {
                workload(&mut reader, map, kind).map(|read| Object::Workload(read.into()))
            }
            ("v1", "Namespace") => namespace(&mut reader, map).map(|read| Object::Namespace(read.into())),
            ("v1", "Node") => node(&mut reader, map).map(|read| Object::Node(read.into())),
            ("v1", "Pod") => pod(&mut reader, map).map(|read| Object::Pod(read.into())),
            ("v1", "Service") => service(&mut reader, map).map(|read| Object::Service(read.into())),
            ("discovery.k8s.io/v1", "EndpointSlice") => {
                endpoint_slice(&mut reader, map).map(|read| Object::EndpointSlice(read.into()))
            }
            ("networking.k8s.io/v1", "NetworkPolicy") => {
                network_policy(&mut reader, map).map(|read| Object::NetworkPolicy(read.into()))
            }
            // To ignore a policy would be to open what it closes. Other groups have a kind of this name
            // too (Calico); theirs are not read.
            (version, written) if let Some(problem) = misnamed(version, written) => {
                let (field, problem) = problem;
                reader.report_at(field, problem);
                None
            }
            _ => {
                let place = place_at(root.line);
                let name = title.strip_prefix(kind).unwrap_or_default().trim().to_owned();
                self.reading.notes.push(Note::IgnoredKind {
                    place,
                    kind: format!("{api_version} {kind}"),
                    name,
                });
                return;
            }
        };
        if let Some(object) = object {
            let place = place_at(root.line);
            let origin = self.trace.as_ref().map(|trace| trace.origin(root, kind));
            self.reading.manifests.push(Manifest { object, place, owner: owner(map), origin });
        }
        self.finish(reader, root, Some(&title));
    }

    fn items(&mut self, items: &Tree, implied: Implied) {
        match &items.value {
            Value::List(list) => list.iter().for_each(|item| self.object(item, implied)),
            Value::Null => {}
            other => {
                let problem = Problem::Type { expected: "a list", found: other.describe() };
                let place = place_at(items.line);
                self.reading.errors.push(SourceError {
                    place,
                    object: None,
                    field: "items".to_owned(),
                    problem,
                    span: self.trace.as_ref().map(|trace| trace.bytes(&items.span)),
                });
            }
        }
    }

    /// Turns what the walk found into errors.
    fn finish(&mut self, reader: Reader<'_>, root: &Tree, object: Option<&str>) {
        for finding in reader.into_findings() {
            let place = place_at(finding.line.unwrap_or(root.line));
            let (field, problem) = (finding.field, finding.problem);
            let span = self.trace.as_ref().filter(|_| !finding.span.is_empty());
            let span = span.map(|trace| trace.bytes(&finding.span));
            self.reading.errors.push(SourceError {
                place,
                object: object.map(str::to_owned),
                field,
                problem,
                span,
            });
        }
    }
}

/// `Kind namespace/name`, from whatever is there, for messages.
fn title(map: &Map, kind: &str) -> String {
    let Some(Value::Map(metadata)) = map.find("metadata").map(|node| &node.value) else {
        return kind.to_owned();
    };
    let text = |key| match metadata.find(key).map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    match (text("namespace"), text("name")) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) if !matches!(kind, "Namespace" | "Node") => format!("{kind} default/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        _ => kind.to_owned(),
    }
}
