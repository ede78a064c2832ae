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
    /// The controller that made it.
    pub owner: Option<Owner>,
    /// `spec.podCIDRs` of a node.
    pub pod_nets: Vec<IpNet>,
}

/// The controller that made an object (`metadata.ownerReferences`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
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
            origin.owner = owner(metadata);
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

    /// Bytes of the whole text, with the closing brackets of flow collections.
    fn span(&self, node: &Node) -> Range<usize> {
        let start = (self.document.start + node.span.start as usize).min(self.document.end);
        let end = (self.document.start + node.span.end as usize).clamp(start, self.document.end);
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
    match &map.find(key)?.value {
        Value::Map(map) => Some(map),
        _ => None,
    }
}

fn text_at<'a>(map: &'a Map, key: &str) -> Option<&'a str> {
    match &map.find(key)?.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn texts(map: &Map, key: &str) -> HashMap<String, String> {
    let entries = map_at(map, key).map_or(&[][..], |map| &map.0);
    let texts = entries.iter().filter_map(|(key, node)| match &node.value {
        Value::Text(text) => Some((key.clone(), text.clone())),
        _ => None,
    });
    texts.collect()
}

fn items<'a>(map: &'a Map, key: &str) -> impl Iterator<Item = &'a Node> {
    map.find(key).into_iter().flat_map(Node::children)
}

fn owner(metadata: &Map) -> Option<Owner> {
    let references = items(metadata, "ownerReferences").filter_map(|node| match &node.value {
        Value::Map(map) => Some(map),
        _ => None,
    });
    let mut controllers = references
        .filter(|map| matches!(map.find("controller").map(|node| &node.value), Some(Value::Bool(true))));
    let map = controllers.next()?;
    Some(Owner { kind: text_at(map, "kind")?.to_owned(), name: text_at(map, "name")?.to_owned() })
}

fn pod_nets(spec: Option<&Map>) -> Vec<IpNet> {
    let Some(spec) = spec else { return Vec::new() };
    let several = items(spec, "podCIDRs").filter_map(|node| match &node.value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let mut nets: Vec<IpNet> =
        several.chain(text_at(spec, "podCIDR")).filter_map(|text| text.parse().ok()).collect();
    nets.sort_unstable();
    nets.dedup();
    nets
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::{Strictness, manifest};

    const TEXT: &str = "\u{feff}# first\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  \
                        name: p\n  annotations: {a: b}\nspec:\n  podSelector: {}\n  ingress:\n  - from:\n    \
                        - podSelector:\n        matchLabels: {app: x}\n    - ipBlock: {cidr: 10.0.0.0/8, except: [ 10.1.0.0/16 ] }\n    ports:\n    - port: 80 # web\n";

    #[test]
    fn fields_are_found_in_the_whole_text() {
        let reading = manifest::read(TEXT, Path::new("f"), Strictness::New, true);
        assert_eq!(reading.errors, []);
        let origin = reading.manifests[0].origin.as_ref().unwrap();
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
        let reading = manifest::read(text, Path::new("f"), Strictness::New, true);
        assert_eq!(reading.errors, []);
        let origin = |at: usize| reading.manifests[at].origin.as_ref().unwrap();
        assert_eq!(origin(0).owner, Some(Owner { kind: "ReplicaSet".into(), name: "web-1".into() }));
        assert_eq!(origin(1).pod_nets.len(), 2);
    }
}
