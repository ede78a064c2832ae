//! What is laid over the manifests: addresses, labels, other objects.
//!
//! A manifest as a user writes it has no `status`, so addresses must come from whoever plugged the
//! pod in. A lab gives Services theirs in the same way, and keeps here what was changed since it
//! came up: the user's own files stay as they are. It is one file, so that a change is seen whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::manifest::{How, Manifest, read};
use super::{Place, Problem, SourceError};
use crate::model::{Cluster, KeyError, Labels, Namespace, ObjectKey, Pod, Service, ServiceKind};

/// Label changes: a value, or `None` for a label that is taken away.
pub type LabelChanges = BTreeMap<String, Option<String>>;

/// What is laid over manifests.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overlay {
    /// Counts changes, for whoever waits until one is in force.
    pub revision: Option<u64>,
    /// Addresses of pods whose manifest has none.
    pub pods: BTreeMap<ObjectKey, Vec<IpAddr>>,
    /// Addresses of Services whose manifest has none.
    pub services: BTreeMap<ObjectKey, Vec<IpAddr>>,
    /// Objects in the place of those of the same title (`Deployment shop/web`), or besides.
    pub objects: BTreeMap<String, Value>,
    /// Titles of objects that are not there, whatever the manifests say.
    pub absent: BTreeSet<String>,
    /// Labels of pods and namespaces, by title.
    pub labels: BTreeMap<String, LabelChanges>,
}

/// Why a text is no overlay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// It cannot be read at all.
    #[error("{reason}; it must map namespace/pod to a list of addresses, as in 'shop/web: [10.244.0.5]'")]
    Syntax {
        /// What the parser said.
        reason: String,
    },
    /// A key that means nothing.
    #[error(
        "{key}: unknown entry; there are namespace/pod, pods, services, labels, absent, objects and revision"
    )]
    Unknown {
        /// The key.
        key: String,
    },
    /// A name that is none.
    #[error("{entry}: {source}")]
    Key {
        /// Where.
        entry: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A value of another kind belongs there.
    #[error("{entry}: {value} is not {expected}")]
    Value {
        /// Where.
        entry: String,
        /// What is there.
        value: String,
        /// What belongs there.
        expected: &'static str,
    },
}

impl Overlay {
    /// Gives `pod` these addresses, in place of those it was given before.
    pub fn set(&mut self, pod: ObjectKey, addresses: Vec<IpAddr>) {
        self.pods.insert(pod, addresses);
    }

    /// Takes the addresses of `pod` back.
    pub fn remove(&mut self, pod: &ObjectKey) {
        self.pods.remove(pod);
    }

    /// Reads the text of a `--pod-ips` file.
    pub fn parse(text: &str) -> Result<Self, OverlayError> {
        let syntax = |reason: String| OverlayError::Syntax { reason };
        let entries: Option<Map<String, Value>> =
            serde_saphyr::from_str(text).map_err(|error| syntax(error.without_snippet().to_string()))?;
        let mut overlay = Self::default();
        for (key, value) in entries.unwrap_or_default() {
            match key.as_str() {
                "revision" => {
                    let revision = value.as_u64().ok_or_else(|| wrong(&key, &value, "a number"))?;
                    overlay.revision = Some(revision);
                }
                "pods" => overlay.pods.extend(all_addresses(&key, &value)?),
                "services" => overlay.services = all_addresses(&key, &value)?,
                "labels" => overlay.labels = label_changes(&key, &value)?,
                "absent" => {
                    for title in list(&key, &value)? {
                        let title = title.as_str().ok_or_else(|| wrong(&key, title, "an object's title"))?;
                        overlay.absent.insert(title.to_owned());
                    }
                }
                "objects" => {
                    overlay.objects = map(&key, &value)?
                        .iter()
                        .map(|(title, value)| (title.clone(), value.clone()))
                        .collect();
                }
                pod if pod.contains('/') => {
                    overlay.pods.insert(parse_key(pod, pod)?, addresses(pod, &value)?);
                }
                _ => return Err(OverlayError::Unknown { key }),
            }
        }
        Ok(overlay)
    }

    /// As [`Overlay::parse`] reads it; JSON, which is YAML.
    pub fn to_text(&self) -> String {
        let addresses = |all: &BTreeMap<ObjectKey, Vec<IpAddr>>| -> Value {
            all.iter().map(|(key, addresses)| (key.to_string(), json!(addresses))).collect()
        };
        let value = json!({
            "revision": self.revision.unwrap_or(0),
            "pods": addresses(&self.pods),
            "services": addresses(&self.services),
            "absent": self.absent,
            "labels": self.labels,
            "objects": self.objects,
        });
        format!("{value:#}\n")
    }

    /// The objects that it puts in the place of others, and what is wrong with them.
    pub(super) fn manifests(&self, file: &Path, how: How) -> (Vec<Manifest>, Vec<SourceError>) {
        let (mut manifests, mut errors) = (Vec::new(), Vec::new());
        for (title, object) in &self.objects {
            let reading = read(&object.to_string(), file, how);
            let place = Place { file: file.to_owned(), document: None, line: None };
            manifests.extend(
                reading.manifests.into_iter().map(|manifest| Manifest { place: place.clone(), ..manifest }),
            );
            errors.extend(reading.errors.into_iter().map(|error| SourceError {
                object: error.object.or_else(|| Some(title.clone())),
                place: place.clone(),
                ..error
            }));
        }
        (manifests, errors)
    }

    /// Whether the manifest of that title does not count.
    pub(super) fn covers(&self, title: &str) -> bool {
        self.objects.contains_key(title) || self.absent.contains(title)
    }

    /// Gives every pod and Service in `cluster` that has no address of its own those it has here,
    /// and pods and namespaces their labels. A hostNetwork pod has its node's and gets none.
    pub fn apply(&self, cluster: &mut Cluster) {
        for (key, addresses) in &self.pods {
            if let Some(pod) = cluster.pods().get(key)
                && pod.addresses.is_empty()
                && !pod.host_network
            {
                let mut pod = Pod::clone(pod);
                pod.addresses.clone_from(addresses);
                cluster.put_pod(pod);
            }
        }
        for (key, addresses) in &self.services {
            if let Some(service) = cluster.services().get(key)
                && matches!(&service.kind, ServiceKind::Cluster(own) if own.is_empty())
            {
                let kind = ServiceKind::Cluster(addresses.clone());
                cluster.put_service(Service { kind, ..Service::clone(service) });
            }
        }
        for (title, changes) in &self.labels {
            match title.split_once(' ') {
                Some(("Pod", key)) => {
                    let pod = key.parse().ok().and_then(|key: ObjectKey| cluster.pods().get(&key));
                    if let Some(pod) = pod {
                        let labels = changed(&pod.labels, changes);
                        cluster.put_pod(Pod { labels, ..Pod::clone(pod) });
                    }
                }
                Some(("Namespace", name)) => {
                    if let Some(namespace) = cluster.namespaces().get(name) {
                        let labels = changed(namespace.labels(), changes);
                        cluster.put_namespace(Namespace::new(name, labels));
                    }
                }
                _ => {}
            }
        }
    }
}

impl FromIterator<(ObjectKey, Vec<IpAddr>)> for Overlay {
    fn from_iter<I: IntoIterator<Item = (ObjectKey, Vec<IpAddr>)>>(pairs: I) -> Self {
        Self { pods: pairs.into_iter().collect(), ..Self::default() }
    }
}

impl OverlayError {
    /// As an error of the file.
    pub(super) fn in_file(&self, file: PathBuf) -> SourceError {
        let problem = Problem::Overlay { reason: self.to_string() };
        let place = Place { file, document: None, line: None };
        SourceError { place, object: None, field: String::new(), problem, span: None }
    }
}

fn changed(labels: &Labels, changes: &LabelChanges) -> Labels {
    let mut labels = labels.clone();
    for (key, value) in changes {
        match value {
            Some(value) => labels.insert(key.clone(), value.clone()),
            None => labels.remove(key),
        };
    }
    labels
}

fn wrong(entry: &str, value: &Value, expected: &'static str) -> OverlayError {
    OverlayError::Value { entry: entry.to_owned(), value: value.to_string(), expected }
}

fn map<'a>(entry: &str, value: &'a Value) -> Result<&'a Map<String, Value>, OverlayError> {
    value.as_object().ok_or_else(|| wrong(entry, value, "a mapping"))
}

fn list<'a>(entry: &str, value: &'a Value) -> Result<&'a Vec<Value>, OverlayError> {
    value.as_array().ok_or_else(|| wrong(entry, value, "a list"))
}

fn parse_key(entry: &str, text: &str) -> Result<ObjectKey, OverlayError> {
    text.parse().map_err(|source| OverlayError::Key { entry: entry.to_owned(), source })
}

fn all_addresses(entry: &str, value: &Value) -> Result<BTreeMap<ObjectKey, Vec<IpAddr>>, OverlayError> {
    let one = |(key, value): (&String, &Value)| {
        let entry = format!("{entry}.{key}");
        Ok((parse_key(&entry, key)?, addresses(&entry, value)?))
    };
    map(entry, value)?.iter().map(one).collect()
}

fn addresses(entry: &str, value: &Value) -> Result<Vec<IpAddr>, OverlayError> {
    let one = |value: &Value| {
        let address: Option<IpAddr> = value.as_str().and_then(|text| text.parse().ok());
        let address = address.ok_or_else(|| wrong(entry, value, "an address"))?;
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            return Err(wrong(entry, value, "an address that a pod or Service can have"));
        }
        Ok(address)
    };
    list(entry, value)?.iter().map(one).collect()
}

fn label_changes(entry: &str, value: &Value) -> Result<BTreeMap<String, LabelChanges>, OverlayError> {
    let mut all = BTreeMap::new();
    for (title, changes) in map(entry, value)? {
        let entry = format!("{entry}.{title}");
        let mut read = LabelChanges::new();
        for (key, value) in map(&entry, changes)? {
            let value = match value {
                Value::String(text) => Some(text.clone()),
                Value::Null => None,
                other => return Err(wrong(&format!("{entry}.{key}"), other, "a label's value, or null")),
            };
            read.insert(key.clone(), value);
        }
        all.insert(title.clone(), read);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "{revision: 3, pods: {shop/web: [10.244.0.5]}, services: {shop/api: [10.96.0.11, 'fd00:96::b']}, \
                    absent: [Pod shop/x], labels: {Pod shop/web: {tier: front, old: null}}, \
                    objects: {Namespace a: {kind: Namespace}}}";
        let overlay = Overlay::parse(text).unwrap();
        assert_eq!(overlay.revision, Some(3));
        assert_eq!(overlay.services.len(), 1);
        assert_eq!(Overlay::parse(&overlay.to_text()), Ok(overlay));
        assert_eq!(Overlay::parse("shop/web: [10.244.0.5]\n").unwrap().pods.len(), 1, "the short form");
        assert_eq!(Overlay::parse("# nothing\n"), Ok(Overlay::default()));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, said) in [
            ("service: {}", "service: unknown entry"),
            ("services: {web: [10.96.0.1]}", "services.web: \"web\" is not of the form namespace/name"),
            ("services: {a/web: [10.96.0]}", "services.a/web: \"10.96.0\" is not an address"),
            ("services: {a/web: 10.96.0.1}", "services.a/web: \"10.96.0.1\" is not a list"),
            ("a/web: ['224.0.0.1']", "is not an address that a pod or Service can have"),
            ("labels: {Pod a/b: {x: 1}}", "labels.Pod a/b.x: 1 is not a label's value"),
            ("[1]", "it must map namespace/pod to a list of addresses"),
        ] {
            let error = Overlay::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
