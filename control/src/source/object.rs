//! Namespace, Node and Pod from a tree. Only what policy needs is read, and only that is judged:
//! the rest of a pod is none of our business.

use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::Reader;
use super::syntax::{self, Strictness};
use super::tree::{Map, Node as Tree, Value};
use super::{Owner, Problem};
use crate::model::{ContainerPort, Labels, Namespace, Node, ObjectKey, Phase, Pod, Protocol};

/// What `metadata` says.
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: Labels,
    /// Of a mirror object, the UID of the static pod that it tells of: by that one the runtime knows it.
    pub(super) uid: Option<String>,
    /// Whether it is to be deleted.
    pub(super) terminating: bool,
}

/// Fields of `metav1.ObjectMeta`.
const METADATA: &[&str] = &[
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// Fields of every object.
pub(super) const OBJECT: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];

/// Reads `metadata`; the namespace is `default` where none is given.
pub(super) fn metadata<'a>(
    reader: &mut Reader<'a>,
    object: &'a Map,
    check_name: fn(&str) -> Result<(), &'static str>,
) -> Option<Metadata> {
    const NO_NAME: Problem = Problem::Required { detail: "name is required" };
    let read = reader.field(object, "metadata", |reader, node| {
        let map = reader.map(node)?;
        reader.only(map, METADATA);
        let name = reader.field(map, "name", |reader, node| checked_text(reader, node, check_name));
        if name.is_none() {
            reader.report_at("name", NO_NAME);
        }
        // In Go's decoder an empty string is what is missing.
        let is_given = map.find("namespace").is_some_and(|node| !node.is_empty_text());
        let read = |reader: &mut Reader<'a>, node: &'a Tree| checked_text(reader, node, syntax::dns_label);
        let namespace = if is_given { reader.field(map, "namespace", read) } else { None };
        reader.field(map, "annotations", check_annotations);
        let labels = reader.field(map, "labels", labels).unwrap_or_default();
        let uid = reader.field(map, "uid", Reader::text).flatten().filter(|uid| !uid.is_empty());
        let terminating = reader.field(map, "deletionTimestamp", Reader::text).is_some();
        Some(Metadata {
            name: name??,
            namespace: namespace.unwrap_or_else(|| Some("default".to_owned()))?,
            labels,
            uid: mirrored(map).or(uid).map(str::to_owned),
            terminating,
        })
    });
    if read.is_none() {
        reader.report_at("metadata.name", NO_NAME);
    }
    read?
}

/// Reads a label map.
pub(super) fn labels<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Labels {
    let Some(map) = reader.map(node) else { return Labels::new() };
    let mut labels = Labels::new();
    for (key, value) in &map.0 {
        let value = match &value.value {
            Value::Text(text) => text.clone(),
            // A null becomes the zero value in Go's decoder.
            Value::Null => String::new(),
            other => {
                let found = format!("{} under {key:?}", other.describe());
                reader.report(Problem::Type { expected: "a string (in quotes)", found });
                continue;
            }
        };
        for (text, checked) in [(key, syntax::label_key(key)), (&value, syntax::label_value(&value))] {
            if let Err(detail) = checked {
                reader.report(Problem::Invalid { value: format!("{text:?}"), detail, remedy: None });
            }
        }
        labels.insert(key.clone(), value);
    }
    labels
}

/// The UID of the static pod whose mirror this is. The kubelet runs such a pod from a file, and writes an object
/// that has a UID of its own (well-known annotations, "kubernetes.io/config.mirror").
fn mirrored(metadata: &Map) -> Option<&str> {
    let annotations = metadata.find("annotations")?.as_map()?;
    annotations.find("kubernetes.io/config.mirror")?.as_text().filter(|uid| !uid.is_empty())
}

/// Judges annotations, which mean nothing here: what the API server would refuse is refused.
fn check_annotations<'a>(reader: &mut Reader<'a>, node: &'a Tree) {
    /// `TotalAnnotationSizeLimitB`.
    const MAX_LEN_BYTES: usize = 256 << 10;
    let Some(map) = reader.map(node) else { return };
    let mut len_bytes = 0;
    for (key, value) in &map.0 {
        len_bytes += key.len();
        match &value.value {
            Value::Text(text) => len_bytes += text.len(),
            Value::Null => {}
            other => {
                let found = format!("{} under {key:?}", other.describe());
                reader.report(Problem::Type { expected: "a string (in quotes)", found });
            }
        }
        // Capitals are let through.
        if let Err(detail) = syntax::label_key(&key.to_lowercase()) {
            reader.report(Problem::Invalid { value: format!("{key:?}"), detail, remedy: None });
        }
    }
    if len_bytes > MAX_LEN_BYTES {
        let (value, detail) = (format!("{len_bytes} bytes"), "may not be more than 262144 bytes");
        reader.report(Problem::Invalid { value, detail, remedy: None });
    }
}

/// Reads a string and checks it.
pub(super) fn checked_text<'a>(
    reader: &mut Reader<'a>,
    node: &'a Tree,
    check: fn(&str) -> Result<(), &'static str>,
) -> Option<String> {
    let text = reader.text(node)?;
    if let Err(detail) = check(text) {
        reader.report(Problem::Invalid { value: format!("{text:?}"), detail, remedy: None });
        return None;
    }
    Some(text.to_owned())
}

/// Reads a Namespace.
pub(super) fn namespace<'a>(reader: &mut Reader<'a>, object: &'a Map) -> Option<Namespace> {
    reader.only(object, OBJECT);
    let metadata = metadata(reader, object, syntax::dns_label)?;
    Some(Namespace::new(metadata.name, metadata.labels))
}

/// Reads a Node.
pub(super) fn node<'a>(reader: &mut Reader<'a>, object: &'a Map) -> Option<Node> {
    reader.only(object, OBJECT);
    let metadata = metadata(reader, object, syntax::subdomain);
    let addresses = reader.field(object, "status", |reader, node| {
        let status = reader.map(node)?;
        Some(reader.list(status, "addresses", |reader, node| {
            let item = reader.map(node)?;
            let kind = reader.field(item, "type", Reader::text).flatten();
            // Hostname, InternalDNS and ExternalDNS hold names.
            matches!(kind, Some("InternalIP" | "ExternalIP"))
                .then(|| reader.field(item, "address", address).flatten())
                .flatten()
        }))
    });
    let pod_nets = reader.field(object, "spec", |reader, node| {
        let spec = reader.map(node)?;
        let mut nets = reader.list(spec, "podCIDRs", pod_net);
        // It repeats the first of them; old servers and hand-written manifests have it alone.
        nets.extend(reader.field(spec, "podCIDR", pod_net).flatten());
        Some(nets)
    });
    let metadata = metadata?;
    Some(Node {
        name: metadata.name,
        labels: metadata.labels,
        addresses: without_repeats(addresses.flatten().unwrap_or_default()),
        pod_nets: without_repeats(pod_nets.flatten().unwrap_or_default()),
    })
}

/// What a pod's `spec` says, as far as policy asks for it.
#[derive(Default)]
pub(super) struct PodSpec {
    pub(super) node: Option<String>,
    pub(super) host_network: bool,
    pub(super) ports: Vec<ContainerPort>,
    pub(super) hostname: Option<String>,
    pub(super) subdomain: Option<String>,
}

/// Reads the `spec` of a pod or of a pod's template.
pub(super) fn pod_spec<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> PodSpec {
    let mut found = PodSpec::default();
    let Some(spec) = reader.map(node) else { return found };
    let text = |reader: &mut Reader<'a>, key| reader.field(spec, key, Reader::text).flatten();
    let mut named = |key| text(reader, key).filter(|name| !name.is_empty()).map(str::to_owned);
    found.node = named("nodeName");
    found.hostname = named("hostname");
    found.subdomain = named("subdomain");
    found.host_network = reader.field(spec, "hostNetwork", Reader::boolean).flatten().unwrap_or(false);
    for (list, must_stay) in [("initContainers", true), ("containers", false)] {
        let containers = reader.list(spec, list, |reader, node| container(reader, node, must_stay));
        found.ports.extend(containers.into_iter().flatten());
    }
    found
}

/// The controller that made an object.
pub(super) fn owner(object: &Map) -> Option<Owner> {
    let metadata = object.find("metadata")?.as_map()?;
    let references = metadata.find("ownerReferences")?.children().filter_map(Tree::as_map);
    let mut controllers = references
        .filter(|map| matches!(map.find("controller").map(|node| &node.value), Some(Value::Bool(true))));
    let map = controllers.next()?;
    let text = |key| map.find(key).and_then(Tree::as_text).map(str::to_owned);
    Some(Owner { kind: text("kind")?, name: text("name")? })
}

/// Reads a Pod.
pub(super) fn pod<'a>(reader: &mut Reader<'a>, object: &'a Map) -> Option<Pod> {
    reader.only(object, OBJECT);
    let metadata = metadata(reader, object, syntax::subdomain);
    let spec = reader.field(object, "spec", pod_spec).unwrap_or_default();
    let mut phase = Phase::default();
    let mut addresses = Vec::new();
    let mut ready = true;
    reader.field(object, "status", |reader, node| {
        let Some(status) = reader.map(node) else { return };
        phase = reader.field(status, "phase", read_phase).flatten().unwrap_or_default();
        addresses = reader.list(status, "podIPs", |reader, node| {
            let item = reader.map(node)?;
            reader.field(item, "ip", address).flatten()
        });
        // Old servers and hand-written manifests have the one field only.
        addresses.extend(reader.field(status, "podIP", address).flatten());
        ready = !reader.list(status, "conditions", is_not_ready).contains(&true);
    });
    let metadata = metadata?;
    Some(Pod {
        key: ObjectKey::new(metadata.namespace, metadata.name),
        uid: metadata.uid,
        labels: metadata.labels,
        node: spec.node,
        addresses: without_repeats(addresses),
        host_network: spec.host_network,
        phase,
        ready,
        terminating: metadata.terminating,
        hostname: spec.hostname,
        subdomain: spec.subdomain,
        ports: spec.ports,
    })
}

/// Whether a condition says that Services are to leave the pod alone.
fn is_not_ready<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<bool> {
    let item = reader.map(node)?;
    let kind = reader.field(item, "type", Reader::text).flatten()?;
    let status = reader.field(item, "status", Reader::text).flatten()?;
    Some(kind == "Ready" && status != "True")
}

/// The ports of a container; none of an init container that ends before the others start.
fn container<'a>(reader: &mut Reader<'a>, node: &'a Tree, must_stay: bool) -> Option<Vec<ContainerPort>> {
    let container = reader.map(node)?;
    let stays = reader.field(container, "restartPolicy", Reader::text).flatten() == Some("Always");
    if must_stay && !stays {
        return None;
    }
    Some(reader.list(container, "ports", |reader, node| {
        let item = reader.map(node)?;
        let name = reader.field(item, "name", Reader::text).flatten().filter(|name| !name.is_empty());
        let protocol = reader.field(item, "protocol", protocol).unwrap_or(Some(Protocol::Tcp));
        let port = reader.field(item, "containerPort", port_number);
        if port.is_none() {
            reader.report_at("containerPort", Problem::Required { detail: "must be specified" });
        }
        Some(ContainerPort { name: name.map(str::to_owned), port: port??, protocol: protocol? })
    }))
}

/// Reads a protocol.
pub(super) fn protocol<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<Protocol> {
    let text = reader.text(node)?;
    let protocol = Protocol::from_name(text);
    if protocol.is_none() {
        let supported = &["TCP", "UDP", "SCTP"];
        reader.report(Problem::Unsupported { value: format!("{text:?}"), supported });
    }
    protocol
}

/// Reads a port number, `1..=65535`.
pub(super) fn port_number<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<u16> {
    let Value::Int(number) = node.value else {
        reader.report_type("a number", node);
        return None;
    };
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    if port.is_none() {
        let detail = "must be between 1 and 65535, inclusive";
        reader.report(Problem::Invalid { value: number.to_string(), detail, remedy: None });
    }
    port
}

fn read_phase<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<Phase> {
    let text = reader.text(node)?;
    let phase = Phase::from_name(text);
    if phase.is_none() {
        let supported = &["Pending", "Running", "Succeeded", "Failed", "Unknown"];
        reader.report(Problem::Unsupported { value: format!("{text:?}"), supported });
    }
    phase
}

/// Reads an address.
pub(super) fn address<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<IpAddr> {
    let text = reader.text(node)?;
    match syntax::address(text) {
        Ok(address) => Some(address),
        Err(syntax::BadSyntax { detail, remedy }) => {
            reader.report(Problem::Invalid { value: format!("{text:?}"), detail, remedy });
            None
        }
    }
}

/// A range of pod addresses, as leniently as the API server takes it; none where it is empty.
fn pod_net<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<IpNet> {
    let text = reader.text(node).filter(|text| !text.is_empty())?;
    match syntax::cidr(text, Strictness::Stored) {
        Ok(net) => Some(net),
        Err(syntax::BadSyntax { detail, remedy }) => {
            reader.report(Problem::Invalid { value: format!("{text:?}"), detail, remedy });
            None
        }
    }
}

/// `podIP` repeats the first of `podIPs`, and a node may list one address under two types.
pub(super) fn without_repeats<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut distinct = Vec::with_capacity(all.len());
    for one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}
