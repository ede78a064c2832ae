//! Where in the texts everything stands, for tools that point at lines.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::SourceError;
use super::files::Texts;
use super::tree::{Map, Node, Value};

/// The texts that were read, and the origin of each object.
#[derive(Clone, Debug, Default)]
pub struct Traced {
    texts: Vec<SourceText>,
    /// By title (`NetworkPolicy x/a`): the number of the text, and where in it.
    origins: HashMap<String, (usize, Origin)>,
}

/// One file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceText {
    /// Its path, as it was named or found.
    pub file: PathBuf,
    /// What it holds.
    pub text: Arc<str>,
}

/// Why nothing was loaded, and the texts in which that can be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Untraced {
    /// Everything that is wrong.
    pub errors: Vec<SourceError>,
    /// The files, as far as they could be read.
    pub texts: Vec<SourceText>,
}

/// Where one object stands, and what its manifest says besides policy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// Bytes of the document that holds it.
    document: Range<usize>,
    /// Bytes by field path. Those of a policy's `spec` are all there, of other objects few.
    fields: HashMap<String, Range<usize>>,
    /// `metadata.annotations`.
    pub annotations: HashMap<String, String>,
    /// `spec.podCIDRs` of a node.
    pub pod_nets: Vec<IpNet>,
}

impl Traced {
    pub(super) fn new(texts: &Texts) -> Self {
        let text = |bytes: &Arc<[u8]>| String::from_utf8_lossy(bytes).into();
        let texts = texts.iter().map(|(file, bytes)| SourceText { file: file.clone(), text: text(bytes) });
        Self { texts: texts.collect(), origins: HashMap::new() }
    }

    /// Notes where the object of this title stands: in which text, by number, and where there.
    pub(super) fn put(&mut self, title: &str, text: usize, origin: Origin) {
        self.origins.insert(title.to_owned(), (text, origin));
    }

    /// Notes that an object stands where the one of the title `like` does: it was made of that.
    pub(super) fn put_like(&mut self, title: &str, like: &str) {
        if let Some(origin) = self.origins.get(like).cloned() {
            self.origins.insert(title.to_owned(), origin);
        }
    }

    pub(super) fn into_texts(self) -> Vec<SourceText> {
        self.texts
    }

    /// The files.
    pub fn texts(&self) -> &[SourceText] {
        &self.texts
    }

    /// Every object of a file.
    pub fn origins(&self, text: &SourceText) -> impl Iterator<Item = &Origin> {
        let number = self.texts.iter().position(|other| other.file == text.file);
        self.origins.values().filter(move |(text, _)| Some(*text) == number).map(|(_, origin)| origin)
    }

    /// The file that the object of this title is in, and where it stands there.
    pub fn origin(&self, title: &str) -> Option<(&SourceText, &Origin)> {
        let (text, origin) = self.origins.get(title)?;
        Some((&self.texts[*text], origin))
    }
}

impl SourceText {
    /// The line of a byte, from 1.
    pub fn line(&self, byte: usize) -> usize {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        before.split(|byte| *byte == b'\n').count()
    }
}

impl Origin {
    /// Bytes of the document that holds it.
    pub fn document(&self) -> Range<usize> {
        self.document.clone()
    }

    /// Bytes of a field, or of the nearest one around it that is written: a policy without
    /// `policyTypes` has the default of it where its `spec` is.
    pub fn field(&self, path: &str) -> Range<usize> {
        let mut path = path;
        loop {
            if let Some(span) = self.fields.get(path) {
                return span.clone();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.fields.get("metadata.name").unwrap_or(&self.document).clone(),
            }
        }
    }

    /// Bytes of every field that is known.
    pub fn fields(&self) -> impl Iterator<Item = &Range<usize>> {
        self.fields.values()
    }

    /// Whether a field is written.
    pub fn has(&self, path: &str) -> bool {
        self.fields.contains_key(path)
    }
}

/// A document of which the places are kept.
pub(super) struct Trace<'a> {
    /// The whole text.
    pub(super) text: &'a str,
    /// Bytes of the document.
    pub(super) document: Range<usize>,
}

impl Trace<'_> {
    /// From a byte of this document to the end of its line, in the whole text.
    pub(super) fn rest_of_line(&self, at: usize) -> Range<usize> {
        let at = (self.document.start + at).min(self.text.len());
        let rest = self.text.get(at..).unwrap_or_default();
        let written = rest.lines().next().unwrap_or_default().trim_end();
        at..at + written.len()
    }

    /// The origin of the object at `root`.
    pub(super) fn origin(&self, root: &Node, kind: &str) -> Origin {
        let mut origin = Origin { document: self.document.clone(), ..Origin::default() };
        let Value::Map(object) = &root.value else { return origin };
        let (metadata, spec) = (map_at(object, "metadata"), map_at(object, "spec"));
        if let Some(name) = metadata.and_then(|metadata| metadata.find("name")) {
            origin.fields.insert("metadata.name".to_owned(), self.span(name));
        }
        if let Some(metadata) = metadata {
            origin.annotations = texts(metadata, "annotations");
        }
        match (kind, object.find("spec")) {
            ("NetworkPolicy", Some(node)) => self.fields("spec", node, &mut origin.fields),
            ("Node", Some(_)) => origin.pod_nets = pod_nets(spec),
            ("Pod", Some(_)) => {
                if let Some(node) = spec.and_then(|spec| spec.find("hostNetwork")) {
                    origin.fields.insert("spec.hostNetwork".to_owned(), self.span(node));
                }
            }
            _ => {}
        }
        origin
    }

    fn fields(&self, path: &str, node: &Node, fields: &mut HashMap<String, Range<usize>>) {
        fields.insert(path.to_owned(), self.span(node));
        match &node.value {
            Value::Map(map) => {
                for (key, child) in &map.0 {
                    self.fields(&format!("{path}.{key}"), child, fields);
                }
            }
            Value::List(list) => {
                for (at, child) in list.iter().enumerate() {
                    self.fields(&format!("{path}[{at}]"), child, fields);
                }
            }
            _ => {}
        }
    }

    fn span(&self, node: &Node) -> Range<usize> {
        self.bytes(&node.span)
    }

    /// Bytes of the whole text, with the closing brackets of flow collections.
    pub(super) fn bytes(&self, span: &Range<u32>) -> Range<usize> {
        let start = (self.document.start + span.start as usize).min(self.document.end);
        let end = (self.document.start + span.end as usize).clamp(start, self.document.end);
        let written = &self.text[start..end].trim_end();
        let mut open = written.matches(['{', '[']).count();
        open = open.saturating_sub(written.matches(['}', ']']).count());
        let mut end = start + written.len();
        for (at, letter) in self.text[end..self.document.end].char_indices() {
            match letter {
                _ if open == 0 => break,
                '}' | ']' => {
                    open -= 1;
                    end = start + written.len() + at + 1;
                }
                letter if letter.is_whitespace() || letter == ',' => {}
                _ => break,
            }
        }
        start..end
    }
}

fn map_at<'a>(map: &'a Map, key: &str) -> Option<&'a Map> {
    map.find(key)?.as_map()
}

fn texts(map: &Map, key: &str) -> HashMap<String, String> {
    let entries = map_at(map, key).map_or(&[][..], |map| &map.0);
    entries.iter().filter_map(|(key, node)| Some((key.clone(), node.as_text()?.to_owned()))).collect()
}

fn items<'a>(map: &'a Map, key: &str) -> impl Iterator<Item = &'a Node> {
    map.find(key).into_iter().flat_map(Node::children)
}

fn pod_nets(spec: Option<&Map>) -> Vec<IpNet> {
    let Some(spec) = spec else { return Vec::new() };
    let several = items(spec, "podCIDRs").filter_map(Node::as_text);
    let one = spec.find("podCIDR").and_then(Node::as_text);
    let mut nets: Vec<IpNet> = several.chain(one).filter_map(|text| text.parse().ok()).collect();
    nets.sort_unstable();
    nets.dedup();
    nets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::document::documents;
    use crate::source::manifest::{How, Manifest, read_document};
    use crate::source::{Owner, Strictness, Workloads};

    /// Every object in `text`, traced; there are no errors.
    fn read(text: &str) -> Vec<Manifest> {
        let how = How { strictness: Strictness::New, workloads: Workloads::Ignored };
        let documents = documents(text);
        let readings = documents.iter().map(|document| {
            read_document(document.text, how, Some(Trace { text, document: document.span() }))
        });
        let read = |reading: crate::source::Reading| {
            assert_eq!(reading.errors, []);
            reading.manifests
        };
        readings.flat_map(read).collect()
    }

    const TEXT: &str = "\u{feff}# first\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  \
                        name: p\n  annotations: {a: b}\nspec:\n  podSelector: {}\n  ingress:\n  - from:\n    \
                        - podSelector:\n        matchLabels: {app: x}\n    - ipBlock: {cidr: 10.0.0.0/8, except: [ 10.1.0.0/16 ] }\n    ports:\n    - port: 80 # web\n";

    #[test]
    fn fields_are_found_in_the_whole_text() {
        let manifests = read(TEXT);
        let origin = manifests[0].origin.as_ref().unwrap();
        let shown = |path: &str| &TEXT[origin.field(path)];
        assert_eq!(shown("spec.podSelector"), "podSelector: {}");
        assert_eq!(shown("spec.ingress[0].ports[0]"), "port: 80");
        assert_eq!(shown("spec.ingress[0].from[0]"), "podSelector:\n        matchLabels: {app: x}");
        assert_eq!(shown("spec.ingress[0].from[1]"), "ipBlock: {cidr: 10.0.0.0/8, except: [ 10.1.0.0/16 ] }");
        assert_eq!(shown("spec.ingress[0].from[1].ipBlock.except"), "except: [ 10.1.0.0/16 ]");
        assert_eq!(shown("spec.ingress[0].ports[0].protocol"), "port: 80");
        assert_eq!(shown("metadata.namespace"), "name: p");
        assert!(!origin.has("spec.policyTypes"));
        assert_eq!(origin.annotations["a"], "b");
        assert!(TEXT[origin.document()].starts_with("---\napi"));
    }

    #[test]
    fn owners_and_pod_nets_are_kept() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  ownerReferences:\n  - {kind: X, name: no}\n  \
                    - {kind: ReplicaSet, name: web-1, controller: true}\n---\napiVersion: v1\nkind: Node\nmetadata: \
                    {name: n}\nspec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24, 'fd00::/64']}\n";
        let manifests = read(text);
        let owner = Owner { kind: "ReplicaSet".into(), name: "web-1".into() };
        assert_eq!(manifests[0].owner, Some(owner));
        assert_eq!(manifests[1].origin.as_ref().unwrap().pod_nets.len(), 2);
    }
}
