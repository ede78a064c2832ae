//! core/v1 Endpoints as EndpointSlices, for servers without `discovery.k8s.io/v1`.
//!
//! They are turned into what the reader of slices reads, one slice for each subset and family of
//! addresses. `discovery.k8s.io/v1beta1` is not used: it says less, and Endpoints are there wherever it
//! is.

use std::net::IpAddr;

use super::super::service::SERVICE_NAME_LABEL;
use super::super::tree::{Map, Node, Value};

/// The slices that an Endpoints object stands for. What is of the wrong type is passed on as it is, for the
/// reader to refuse.
pub(super) fn slices(endpoints: &Map) -> Vec<Node> {
    let metadata = endpoints.find("metadata").and_then(Node::as_map);
    let text = |key| metadata.and_then(|map| map.find(key)).and_then(Node::as_text).unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let mut slices = Vec::new();
    let subsets = match endpoints.find("subsets").map(|node| &node.value) {
        None | Some(Value::Null) => return slices,
        Some(Value::List(subsets)) => &subsets[..],
        Some(other) => return vec![slice(namespace, name, "IPv4", other.clone(), Value::Null)],
    };
    for (number, subset) in subsets.iter().enumerate() {
        let Some(subset) = subset.as_map() else {
            let value = subset.value.clone();
            slices.push(slice(namespace, &format!("{name}-{number}"), "IPv4", value, Value::Null));
            continue;
        };
        let ports = subset.find("ports").map_or(Value::Null, |node| node.value.clone());
        for family in ["IPv4", "IPv6"] {
            let mut all = Vec::new();
            for (list, ready) in [("addresses", true), ("notReadyAddresses", false)] {
                let of = subset.find(list).into_iter().flat_map(Node::children);
                all.extend(
                    of.filter(|address| is_of(address, family)).map(|address| endpoint(address, ready)),
                );
            }
            if !all.is_empty() {
                let name = format!("{name}-{number}-{}", family.to_ascii_lowercase());
                slices.push(slice(namespace, &name, family, Value::List(all), ports.clone()));
            }
        }
    }
    for slice in &mut slices {
        label(slice, name);
    }
    slices
}

/// Whether an address is of that family; what is none counts as IPv4, and is refused there.
fn is_of(address: &Node, family: &str) -> bool {
    let ip = address.as_map().and_then(|map| map.find("ip")).and_then(Node::as_text);
    let is_v6 = matches!(ip.map(str::parse), Some(Ok(IpAddr::V6(_))));
    is_v6 == (family == "IPv6")
}

fn endpoint(address: &Node, ready: bool) -> Node {
    let map = address.as_map();
    let ip = map.and_then(|map| map.find("ip")).cloned().unwrap_or_else(|| node(Value::Null));
    let mut fields = vec![
        ("addresses".to_owned(), node(Value::List(vec![ip]))),
        ("conditions".to_owned(), mapping([("ready", Value::Bool(ready))])),
    ];
    for key in ["targetRef", "hostname"] {
        fields.extend(map.and_then(|map| map.find(key)).map(|value| (key.to_owned(), value.clone())));
    }
    node(Value::Map(Map(fields)))
}

fn slice(namespace: &str, name: &str, family: &str, endpoints: Value, ports: Value) -> Node {
    let text = |text: &str| Value::Text(text.to_owned());
    let metadata = mapping([("namespace", text(namespace)), ("name", text(name))]);
    mapping([
        ("apiVersion", text("discovery.k8s.io/v1")),
        ("kind", text("EndpointSlice")),
        ("metadata", metadata.value),
        ("addressType", text(family)),
        ("endpoints", endpoints),
        ("ports", ports),
    ])
}

/// Says whose slice it is.
fn label(slice: &mut Node, service: &str) {
    let labels = mapping([(SERVICE_NAME_LABEL, Value::Text(service.to_owned()))]);
    if let Value::Map(map) = &mut slice.value
        && let Some((_, Node { value: Value::Map(metadata), .. })) =
            map.0.iter_mut().find(|(key, _)| key == "metadata")
    {
        metadata.0.push(("labels".to_owned(), labels));
    }
}

fn mapping<const N: usize>(fields: [(&str, Value); N]) -> Node {
    node(Value::Map(Map(fields.into_iter().map(|(key, value)| (key.to_owned(), node(value))).collect())))
}

fn node(value: Value) -> Node {
    Node { value, line: 0, span: 0..0 }
}
