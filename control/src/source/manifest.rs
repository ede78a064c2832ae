//! A text to objects, document by document.

use std::path::Path;

use super::object::{namespace, node, pod};
use super::policy::network_policy;
use super::reader::Reader;
use super::service::{endpoint_slice, service};
use super::syntax::Strictness;
use super::trace::{Origin, Trace};
use super::tree::{self, Map, Node as Tree, Value};
use super::{Note, Place, Problem, SourceError};
use crate::model::{Cluster, EndpointSlice, Namespace, NetworkPolicy, Node, Pod, Service};

/// An object that policy is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A Namespace.
    Namespace(Namespace),
    /// A Node.
    Node(Node),
    /// A Pod.
    Pod(Pod),
    /// A NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
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
        }
    }

    /// Adds it to `cluster`, or replaces it there.
    pub fn put_into(self, cluster: &mut Cluster) {
        match self {
            Self::Namespace(namespace) => cluster.put_namespace(namespace),
            Self::Node(node) => cluster.put_node(node),
            Self::Pod(pod) => cluster.put_pod(pod),
            Self::NetworkPolicy(policy) => cluster.put_policy(policy),
            Self::Service(service) => cluster.put_service(service),
            Self::EndpointSlice(slice) => cluster.put_endpoint_slice(slice),
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
    read(text, file, strictness, false)
}

/// As [`read_manifests`]; `traced`: every manifest knows where its fields stand.
pub(super) fn read(text: &str, file: &Path, strictness: Strictness, traced: bool) -> Reading {
    let mut reading = Reading::default();
    for (position, document) in documents(text).into_iter().enumerate() {
        let mut reader = DocumentReader {
            reading: &mut reading,
            place: Place { file: file.to_owned(), document: Some(position + 1), line: None },
            lines_before: document.lines_before,
            trace: traced
                .then_some(Trace { text, document: document.start..document.start + document.text.len() }),
            strictness,
        };
        match tree::parse(document.text) {
            Ok(root) => reader.object(&root, None),
            Err(error) => {
                let place = reader.place_at(error.line.unwrap_or(0));
                let problem = Problem::Syntax { reason: error.reason };
                reader.reading.errors.push(SourceError {
                    place,
                    object: None,
                    field: String::new(),
                    problem,
                });
            }
        }
    }
    reading
}

struct Document<'a> {
    text: &'a str,
    /// Where it starts in the whole text.
    start: usize,
    lines_before: u64,
}

/// The documents of a stream that hold anything. `---` and `...` at the start of a line end a
/// document wherever they stand, in a block or quoted string too (YAML 1.2.2, 9.1.2), so that one
/// broken document does not hide what is wrong with the next.
fn documents(text: &str) -> Vec<Document<'_>> {
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut at) = (mark, 0, mark);
    for (number, line) in text[mark..].split_inclusive('\n').enumerate() {
        let marker =
            line.get(..3).filter(|_| line[3..].is_empty() || line[3..].starts_with([' ', '\t', '\r', '\n']));
        match marker {
            Some("---") => {
                documents.push(Document { text: &text[start..at], start, lines_before: start_line });
                (start, start_line) = (at, number as u64);
            }
            Some("...") => {
                documents.push(Document { text: &text[start..at], start, lines_before: start_line });
                (start, start_line) = (at + line.len(), number as u64 + 1);
            }
            _ => {}
        }
        at += line.len();
    }
    documents.push(Document { text: &text[start..], start, lines_before: start_line });
    documents.retain(|document| document.text.lines().any(holds_content));
    documents
}

/// Whether a line is more than a comment, a directive or a bare marker.
fn holds_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line);
    let trimmed = line.trim();
    !trimmed.is_empty() && !trimmed.starts_with('#') && !line.starts_with('%')
}

struct DocumentReader<'a> {
    reading: &'a mut Reading,
    place: Place,
    lines_before: u64,
    trace: Option<Trace<'a>>,
    strictness: Strictness,
}

/// `apiVersion` and `kind` of the kinds that are read.
const KINDS: [(&str, &str); 6] = [
    ("v1", "Namespace"),
    ("v1", "Node"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];

/// Kinds whose objects are in a namespace, `default` where none is given.
const NAMESPACED: [&str; 4] = ["Pod", "NetworkPolicy", "Service", "EndpointSlice"];

impl DocumentReader<'_> {
    /// Reads one object, or the items of a list. An item of a typed list need not repeat its kind.
    fn object(&mut self, root: &Tree, implied: Option<(&str, &str)>) {
        let mut reader = Reader::new(self.strictness);
        let Some(map) = reader.map(root) else { return self.finish(reader, root, None) };
        if map.0.is_empty() {
            // A document of `null` or `{}`.
            return;
        }
        let api_version = reader.field(map, "apiVersion", Reader::text).flatten();
        let kind = reader.field(map, "kind", Reader::text).flatten();
        let (api_version, kind) = match (api_version, kind, implied) {
            (Some(api_version), Some(kind), _) => (api_version, kind),
            (None, None, Some(implied)) => implied,
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
            && let Some(item_kind) = kind.strip_suffix("List")
        {
            let implied = KINDS.into_iter().find(|known| *known == (api_version, item_kind));
            return self.items(items, implied);
        }
        let title = title(map, kind);
        let object = match (api_version, kind) {
            ("v1", "Namespace") => namespace(&mut reader, map).map(Object::Namespace),
            ("v1", "Node") => node(&mut reader, map).map(Object::Node),
            ("v1", "Pod") => pod(&mut reader, map).map(Object::Pod),
            ("v1", "Service") => service(&mut reader, map).map(Object::Service),
            ("discovery.k8s.io/v1", "EndpointSlice") => {
                endpoint_slice(&mut reader, map).map(Object::EndpointSlice)
            }
            ("networking.k8s.io/v1", "NetworkPolicy") => {
                network_policy(&mut reader, map).map(Object::NetworkPolicy)
            }
            // Versions of the very same API that are gone: to ignore one would be to open what it
            // closes. Other groups have a kind of this name too (Calico); theirs are not read.
            (version, "NetworkPolicy")
                if version.starts_with("networking.k8s.io/") || version.starts_with("extensions/") =>
            {
                let value = format!("{version:?}");
                let supported = &["networking.k8s.io/v1"];
                reader.report_at("apiVersion", Problem::Unsupported { value, supported });
                None
            }
            _ => {
                let place = self.place_at(root.line);
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
            let place = self.place_at(root.line);
            let origin = self.trace.as_ref().map(|trace| trace.origin(root, kind));
            self.reading.manifests.push(Manifest { object, place, origin });
        }
        self.finish(reader, root, Some(&title));
    }

    fn items(&mut self, items: &Tree, implied: Option<(&str, &str)>) {
        match &items.value {
            Value::List(list) => list.iter().for_each(|item| self.object(item, implied)),
            Value::Null => {}
            other => {
                let problem = Problem::Type { expected: "a list", found: other.describe() };
                let place = self.place_at(items.line);
                self.reading.errors.push(SourceError {
                    place,
                    object: None,
                    field: "items".to_owned(),
                    problem,
                });
            }
        }
    }

    /// Turns what the walk found into errors.
    fn finish(&mut self, reader: Reader<'_>, root: &Tree, object: Option<&str>) {
        for finding in reader.into_findings() {
            let place = self.place_at(finding.line.unwrap_or(root.line));
            let (field, problem) = (finding.field, finding.problem);
            self.reading.errors.push(SourceError {
                place,
                object: object.map(str::to_owned),
                field,
                problem,
            });
        }
    }

    /// The place of a line of this document; 0 is one that is not known.
    fn place_at(&self, line: u64) -> Place {
        let line = (line > 0).then_some(self.lines_before + line);
        Place { line, ..self.place.clone() }
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
        (None, Some(name)) if NAMESPACED.contains(&kind) => format!("{kind} default/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        _ => kind.to_owned(),
    }
}
