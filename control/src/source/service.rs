//! Service and EndpointSlice from a tree.

use super::Problem;
use super::cluster_ip::{families, kind};
use super::object::{OBJECT, address, labels, metadata, port_number, protocol};
use super::reader::Reader;
use super::syntax;
use super::tree::{Map, Node as Tree, Value};
use crate::model::{
    Condition, EndpointPort, EndpointSlice, ObjectKey, Protocol, Service, ServiceEndpoint, ServiceKind,
    ServicePort, TargetPort,
};

/// The label that names the Service of a slice.
pub(super) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// How long a client keeps its backend if nothing else is said, in seconds (API defaulting).
const AFFINITY_SECS: u32 = 10_800;

/// Fields of `core/v1` `ServiceSpec`, with those that went.
const SPEC: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs",
    "externalIPs",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamily",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "ports",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig",
    "topologyKeys",
    "trafficDistribution",
    "type",
];

/// Fields of `core/v1` `ServicePort`.
const PORT: &[&str] = &["name", "protocol", "appProtocol", "port", "targetPort", "nodePort"];

/// Fields of a `discovery.k8s.io/v1` `EndpointSlice`, and of what is in one.
const SLICE: &[&str] = &["apiVersion", "kind", "metadata", "addressType", "endpoints", "ports"];
const SLICE_PORT: &[&str] = &["name", "protocol", "port", "appProtocol"];
const ENDPOINT: &[&str] =
    &["addresses", "conditions", "hostname", "targetRef", "deprecatedTopology", "nodeName", "zone", "hints"];
const CONDITIONS: &[&str] = &["ready", "serving", "terminating"];

/// Reads a Service.
pub(super) fn service<'a>(reader: &mut Reader<'a>, object: &'a Map) -> Option<Service> {
    reader.only(object, OBJECT);
    let metadata = metadata(reader, object, syntax::dns_label);
    let spec = reader.field(object, "spec", |reader, node| {
        let spec = reader.map(node)?;
        reader.only(spec, SPEC);
        let kind = kind(reader, spec);
        let families = families(reader, spec, kind.as_ref());
        let selector = reader.field(spec, "selector", labels).unwrap_or_default();
        let ports = ports(reader, spec, matches!(kind, Some(ServiceKind::Cluster(_))));
        let affinity_secs = affinity(reader, spec);
        let publish_not_ready =
            reader.field(spec, "publishNotReadyAddresses", Reader::boolean).flatten().unwrap_or(false);
        Some((kind?, selector, ports, affinity_secs, publish_not_ready, families))
    });
    let metadata = metadata?;
    let (kind, selector, ports, affinity_secs, publish_not_ready, families) = match spec {
        Some(spec) => spec?,
        None => {
            reader.report_at("spec", Problem::Required { detail: "a Service needs a spec" });
            return None;
        }
    };
    let key = ObjectKey::new(metadata.namespace, metadata.name);
    Some(Service { key, kind, selector, ports, affinity_secs, publish_not_ready, families })
}

/// Several ports need names, all different; and no two may be the same to a client
/// (core/validation, `ValidateService`).
fn ports<'a>(reader: &mut Reader<'a>, spec: &'a Map, is_required: bool) -> Vec<ServicePort> {
    let written = match spec.find("ports").map(|node| &node.value) {
        Some(Value::List(list)) => list.len(),
        _ => 0,
    };
    if written == 0 && is_required {
        reader.report_at("ports", Problem::Required { detail: "a Service needs at least one port" });
    }
    let mut before: Vec<ServicePort> = Vec::with_capacity(written);
    reader.list(spec, "ports", |reader, node| {
        let port = service_port(reader, node)?;
        if written > 1 && port.name.is_none() {
            reader.report_at("name", Problem::Required { detail: "of several ports each needs a name" });
        }
        let has = |same: &dyn Fn(&ServicePort) -> bool| before.iter().any(same);
        if port.name.is_some() && has(&|other| other.name == port.name) {
            let value = format!("{:?}", port.name.as_deref().unwrap_or_default());
            let detail = "another port of this Service has this name";
            reader.report_at("name", Problem::Invalid { value, detail, remedy: None });
        }
        if has(&|other| (other.port, other.protocol) == (port.port, port.protocol)) {
            let detail = "another port of this Service has this number and protocol";
            reader.report(Problem::Invalid { value: port.title(), detail, remedy: None });
        }
        before.push(port.clone());
        Some(port)
    })
}

fn service_port<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<ServicePort> {
    let item = reader.map(node)?;
    reader.only(item, PORT);
    let name = reader.field(item, "name", Reader::text).flatten().filter(|name| !name.is_empty());
    let protocol = reader.field(item, "protocol", protocol).unwrap_or(Some(Protocol::Tcp));
    let port = reader.field(item, "port", port_number);
    if port.is_none() {
        reader.report_at("port", Problem::Required { detail: "must be specified" });
    }
    let target = reader.field(item, "targetPort", target_port);
    let port = port??;
    // A zero stands for a missing one.
    let target = target.flatten().unwrap_or(TargetPort::Number(port));
    Some(ServicePort { name: name.map(str::to_owned), protocol: protocol?, port, target })
}

fn target_port<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<TargetPort> {
    match &node.value {
        Value::Int(0) => None,
        Value::Text(name) => {
            for detail in syntax::port_name(name) {
                reader.report(Problem::Invalid { value: format!("{name:?}"), detail, remedy: None });
            }
            Some(TargetPort::Named(name.clone()))
        }
        _ => port_number(reader, node).map(TargetPort::Number),
    }
}

fn affinity<'a>(reader: &mut Reader<'a>, spec: &'a Map) -> Option<u32> {
    let how = reader.field(spec, "sessionAffinity", Reader::text).flatten().unwrap_or("None");
    match how {
        "None" | "" => None,
        "ClientIP" => {
            let timeout = reader.field(spec, "sessionAffinityConfig", |reader, node| {
                let config = reader.map(node)?;
                reader.only(config, &["clientIP"]);
                reader.field(config, "clientIP", |reader, node| {
                    let client = reader.map(node)?;
                    reader.only(client, &["timeoutSeconds"]);
                    reader.field(client, "timeoutSeconds", affinity_timeout).flatten()
                })?
            });
            Some(timeout.flatten().unwrap_or(AFFINITY_SECS))
        }
        other => {
            let supported = &["ClientIP", "None"];
            reader.report_at(
                "sessionAffinity",
                Problem::Unsupported { value: format!("{other:?}"), supported },
            );
            None
        }
    }
}

fn affinity_timeout<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<u32> {
    let Value::Int(number) = node.value else {
        reader.report_type("a number", node);
        return None;
    };
    let seconds = u32::try_from(number).ok().filter(|seconds| (1..=86_400).contains(seconds));
    if seconds.is_none() {
        let detail = "must be between 1 and 86400, inclusive";
        reader.report(Problem::Invalid { value: number.to_string(), detail, remedy: None });
    }
    seconds
}

/// Reads an EndpointSlice. One that names no Service is nobody's and is left out.
pub(super) fn endpoint_slice<'a>(reader: &mut Reader<'a>, object: &'a Map) -> Option<EndpointSlice> {
    reader.only(object, SLICE);
    let metadata = metadata(reader, object, syntax::subdomain);
    let address_type = reader.field(object, "addressType", Reader::text).flatten();
    if !matches!(address_type, Some("IPv4" | "IPv6" | "FQDN")) {
        let supported = &["FQDN", "IPv4", "IPv6"];
        let value = format!("{:?}", address_type.unwrap_or_default());
        reader.report_at("addressType", Problem::Unsupported { value, supported });
    }
    if address_type == Some("FQDN") {
        return None;
    }
    let ports = reader.list(object, "ports", endpoint_port);
    let metadata = metadata?;
    let namespace = metadata.namespace.clone();
    let endpoints = reader.list(object, "endpoints", |reader, node| endpoint(reader, node, &namespace));
    let service = metadata.labels.get(SERVICE_NAME_LABEL)?.clone();
    Some(EndpointSlice {
        service: ObjectKey::new(metadata.namespace.clone(), service),
        key: ObjectKey::new(metadata.namespace, metadata.name),
        ports,
        endpoints,
    })
}

fn endpoint_port<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<EndpointPort> {
    let item = reader.map(node)?;
    reader.only(item, SLICE_PORT);
    let name = reader.field(item, "name", Reader::text).flatten().filter(|name| !name.is_empty());
    let protocol = reader.field(item, "protocol", protocol).unwrap_or(Some(Protocol::Tcp))?;
    // Without a number it would mean all ports, which no Service asks for.
    let port = reader.field(item, "port", port_number)??;
    Some(EndpointPort { name: name.map(str::to_owned), protocol, port })
}

fn endpoint<'a>(reader: &mut Reader<'a>, node: &'a Tree, namespace: &str) -> Option<ServiceEndpoint> {
    let item = reader.map(node)?;
    reader.only(item, ENDPOINT);
    let addresses = reader.list(item, "addresses", address);
    let condition = reader.field(item, "conditions", condition).flatten().unwrap_or(Condition::Ready);
    let pod = reader.field(item, "targetRef", |reader, node| {
        let target = reader.map(node)?;
        let kind = reader.field(target, "kind", Reader::text).flatten()?;
        let name = reader.field(target, "name", Reader::text).flatten()?;
        let in_namespace = reader.field(target, "namespace", Reader::text).flatten().unwrap_or(namespace);
        (kind == "Pod").then(|| ObjectKey::new(in_namespace, name))
    });
    let hostname = reader.field(item, "hostname", Reader::text).flatten().filter(|name| !name.is_empty());
    let hostname = hostname.map(str::to_owned);
    Some(ServiceEndpoint { addresses, condition, pod: pod.flatten(), hostname })
}

/// A missing `ready` is true, a missing `serving` what `ready` is, a missing `terminating` false
/// (discovery.k8s.io/v1).
fn condition<'a>(reader: &mut Reader<'a>, node: &'a Tree) -> Option<Condition> {
    let map = reader.map(node)?;
    reader.only(map, CONDITIONS);
    let ready = reader.field(map, "ready", Reader::boolean).flatten().unwrap_or(true);
    let serving = reader.field(map, "serving", Reader::boolean).flatten().unwrap_or(ready);
    let terminating = reader.field(map, "terminating", Reader::boolean).flatten().unwrap_or(false);
    Some(match (ready, serving && terminating) {
        (true, _) => Condition::Ready,
        (false, true) => Condition::Terminating,
        (false, false) => Condition::NotReady,
    })
}
