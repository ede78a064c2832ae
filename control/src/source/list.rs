//! A cluster as a list of manifests: what a reader of them would read the same from.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::service::SERVICE_NAME_LABEL;
use super::{Background, Object, Owner};
use crate::model::{
    Cluster, Condition, EndpointSlice, Labels, Namespace, NamespaceScope, NetworkPolicy, Node, Operator,
    Peer, Peers, Pod, PodPeer, PortMatch, PortSpec, Ports, Rule, Selector, Service, ServiceEndpoint,
    ServiceKind, TargetPort,
};

/// Every object of `cluster` as a `v1` List. Namespaces that nobody declared are left out, as they
/// were. `background` tells the controllers of pods.
pub fn list(cluster: &Cluster, background: &Background) -> Value {
    let implied: Vec<&str> = cluster.implied_namespaces().collect();
    let namespaces = cluster.namespaces().values().filter(|namespace| !implied.contains(&namespace.name()));
    let namespaces = namespaces.map(|namespace| self::namespace(namespace));
    let nodes = cluster.nodes().values().map(|node| self::node(node));
    let pods = cluster.pods().values().map(|pod| self::pod(pod, background.owners.get(&pod.key)));
    let policies = cluster.policies().values().map(|policy| self::policy(policy));
    let services = cluster.services().values().map(|service| self::service(service));
    let slices = cluster.endpoint_slices().values().map(|slice| endpoint_slice(slice));
    let all = namespaces.chain(nodes).chain(pods).chain(policies).chain(services).chain(slices);
    let items: Vec<Value> = all.collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// One object, as in [`list`]; `owner` is its controller. Workloads are not written.
pub(super) fn write(object: &Object, owner: Option<&Owner>) -> Option<Value> {
    Some(match object {
        Object::Namespace(namespace) => self::namespace(namespace),
        Object::Node(node) => self::node(node),
        Object::Pod(pod) => self::pod(pod, owner),
        Object::NetworkPolicy(policy) => self::policy(policy),
        Object::Service(service) => self::service(service),
        Object::EndpointSlice(slice) => endpoint_slice(slice),
        Object::Workload(_) => return None,
    })
}

fn namespace(namespace: &Namespace) -> Value {
    let metadata = json!({"name": namespace.name(), "labels": namespace.labels()});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

fn node(node: &Node) -> Value {
    let nets: Vec<String> = node.pod_nets.iter().map(ToString::to_string).collect();
    let addresses = node.addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip}));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": node.labels},
        "spec": {"podCIDRs": nets},
        "status": {"addresses": addresses.collect::<Vec<_>>()},
    })
}

fn pod(pod: &Pod, owner: Option<&Owner>) -> Value {
    let mut metadata = json!({"namespace": pod.key.namespace, "name": pod.key.name, "labels": pod.labels});
    if let Some(owner) = owner {
        metadata["ownerReferences"] = json!([{"kind": owner.kind, "name": owner.name, "controller": true}]);
    }
    if let Some(uid) = &pod.uid {
        metadata["uid"] = json!(uid);
    }
    let ports = pod.ports.iter().map(|port| {
        let mut item = json!({"containerPort": port.port, "protocol": port.protocol.name()});
        put_name(&mut item, port.name.as_ref());
        item
    });
    let containers = json!([{"name": "all", "ports": ports.collect::<Vec<_>>()}]);
    let mut spec = json!({"hostNetwork": pod.host_network, "containers": containers});
    if let Some(node) = &pod.node {
        spec["nodeName"] = json!(node);
    }
    for (field, value) in [("hostname", &pod.hostname), ("subdomain", &pod.subdomain)] {
        if let Some(value) = value {
            spec[field] = json!(value);
        }
    }
    let ips: Vec<Value> = pod.addresses.iter().map(|ip| json!({"ip": ip})).collect();
    if pod.terminating {
        // When it does not matter.
        metadata["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
    }
    let mut status = json!({"phase": pod.phase.name(), "podIPs": ips});
    if !pod.ready {
        status["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})
}

/// A policy as a manifest, with every default filled in.
pub fn policy(policy: &NetworkPolicy) -> Value {
    let mut spec = Map::new();
    spec.insert("podSelector".to_owned(), selector(&policy.pod_selector));
    let types = [("Ingress", policy.types.ingress), ("Egress", policy.types.egress)];
    let types: Vec<&str> = types.into_iter().filter(|(_, listed)| *listed).map(|(name, _)| name).collect();
    spec.insert("policyTypes".to_owned(), json!(types));
    for (section, way, rules) in [("ingress", "from", &policy.ingress), ("egress", "to", &policy.egress)] {
        let rules: Vec<Value> = rules.iter().map(|rule| self::rule(rule, way)).collect();
        spec.insert(section.to_owned(), json!(rules));
    }
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": policy.key.namespace, "name": policy.key.name},
        "spec": spec,
    })
}

fn rule(rule: &Rule, way: &str) -> Value {
    let mut written = Map::new();
    if let Peers::AnyOf(peers) = &rule.peers {
        written.insert(way.to_owned(), peers.iter().map(peer).collect());
    }
    if let Ports::AnyOf(ports) = &rule.ports {
        written.insert("ports".to_owned(), ports.iter().map(port).collect());
    }
    written.into()
}

fn peer(peer: &Peer) -> Value {
    match peer {
        Peer::Block(block) => {
            let except: Vec<String> = block.except().iter().map(ToString::to_string).collect();
            json!({"ipBlock": {"cidr": block.cidr().to_string(), "except": except}})
        }
        Peer::Pods(PodPeer { namespaces: NamespaceScope::Own, pods }) => {
            json!({"podSelector": selector(pods)})
        }
        Peer::Pods(PodPeer { namespaces: NamespaceScope::Matching(namespaces), pods }) => {
            json!({"namespaceSelector": selector(namespaces), "podSelector": selector(pods)})
        }
    }
}

fn port(spec: &PortSpec) -> Value {
    let protocol = spec.protocol.name();
    match &spec.port {
        PortMatch::Every => json!({"protocol": protocol}),
        PortMatch::Named(name) => json!({"protocol": protocol, "port": name}),
        PortMatch::Range { first, last } if first == last => json!({"protocol": protocol, "port": first}),
        PortMatch::Range { first, last } => json!({"protocol": protocol, "port": first, "endPort": last}),
    }
}

fn service(service: &Service) -> Value {
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| {
            let target = match &port.target {
                TargetPort::Number(number) => json!(number),
                TargetPort::Named(name) => json!(name),
            };
            let mut item = json!({"port": port.port, "protocol": port.protocol.name(), "targetPort": target});
            put_name(&mut item, port.name.as_ref());
            item
        })
        .collect();
    let mut spec = json!({
        "selector": service.selector,
        "ports": ports,
        "publishNotReadyAddresses": service.publish_not_ready,
    });
    if let Some(policy) = service.families.policy {
        spec["ipFamilyPolicy"] = json!(policy.name());
    }
    if !service.families.named.is_empty() {
        spec["ipFamilies"] = service.families.named.iter().map(|family| family.name()).collect();
    }
    match &service.kind {
        ServiceKind::Cluster(addresses) => spec["clusterIPs"] = json!(addresses),
        ServiceKind::Headless => spec["clusterIP"] = json!("None"),
        ServiceKind::External(name) => {
            spec["type"] = json!("ExternalName");
            spec["externalName"] = json!(name);
        }
    }
    if let Some(seconds) = service.affinity_secs {
        spec["sessionAffinity"] = json!("ClientIP");
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    }
    let metadata = json!({"namespace": service.key.namespace, "name": service.key.name});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

fn endpoint_slice(slice: &EndpointSlice) -> Value {
    let ports: Vec<Value> = slice
        .ports
        .iter()
        .map(|port| {
            let mut item = json!({"port": port.port, "protocol": port.protocol.name()});
            put_name(&mut item, port.name.as_ref());
            item
        })
        .collect();
    let endpoints: Vec<Value> = slice.endpoints.iter().map(endpoint).collect();
    let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).next();
    let family = if addresses.is_none_or(IpAddr::is_ipv4) { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": slice.key.namespace,
            "name": slice.key.name,
            "labels": {SERVICE_NAME_LABEL: slice.service.name},
        },
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints,
    })
}

fn endpoint(endpoint: &ServiceEndpoint) -> Value {
    let (ready, serving) = match endpoint.condition {
        Condition::Ready => (true, true),
        Condition::Terminating => (false, true),
        Condition::NotReady => (false, false),
    };
    let terminating = endpoint.condition == Condition::Terminating;
    let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
    let mut item = json!({"addresses": endpoint.addresses, "conditions": conditions});
    if let Some(pod) = &endpoint.pod {
        item["targetRef"] = json!({"kind": "Pod", "namespace": pod.namespace, "name": pod.name});
    }
    if let Some(hostname) = &endpoint.hostname {
        item["hostname"] = json!(hostname);
    }
    item
}

fn put_name(item: &mut Value, name: Option<&String>) {
    if let Some(name) = name {
        item["name"] = json!(name);
    }
}

fn selector(selector: &Selector) -> Value {
    let mut equal = Labels::new();
    let mut expressions = Vec::new();
    for requirement in selector.requirements() {
        let key = &requirement.key;
        expressions.push(match &requirement.operator {
            // One value under a key twice is no map any more.
            Operator::In(values) if values.len() == 1 && !equal.contains_key(key) => {
                equal.extend(values.iter().map(|value| (key.clone(), value.clone())));
                continue;
            }
            Operator::In(values) => json!({"key": key, "operator": "In", "values": values}),
            Operator::NotIn(values) => json!({"key": key, "operator": "NotIn", "values": values}),
            Operator::Exists => json!({"key": key, "operator": "Exists"}),
            Operator::DoesNotExist => json!({"key": key, "operator": "DoesNotExist"}),
        });
    }
    let mut written = Map::new();
    if !equal.is_empty() {
        written.insert("matchLabels".to_owned(), json!(equal));
    }
    if !expressions.is_empty() {
        written.insert("matchExpressions".to_owned(), expressions.into());
    }
    written.into()
}
