//! The endpoints behind one port of a Service.
//!
//! Where lists are kept for the Service (EndpointSlices), they say it. Where none is, as in a
//! directory of manifests, they are derived as the endpoint slice controller does: pods of the
//! Service's namespace that have all labels of its selector, and an address.

use std::net::IpAddr;

use crate::model::{
    Cluster, Condition, ContainerPort, EndpointSlice, Labels, ObjectKey, Pod, Service, ServiceKind,
    ServicePort, TargetPort,
};

/// Where connections to one port of a Service may be sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Backend {
    /// The endpoint's address.
    pub address: IpAddr,
    /// The endpoint's own port.
    pub port: u16,
    /// What it can be used for.
    pub condition: Condition,
    /// The pod, if it is one.
    pub pod: Option<ObjectKey>,
}

/// All endpoints behind `port` of `service`, of the families that it has, in the order of their addresses,
/// each once; an alias has none.
pub fn backends(cluster: &Cluster, service: &Service, port: &ServicePort) -> Vec<Backend> {
    let slices = cluster.endpoint_slices().range(ObjectKey::new(&service.key.namespace, "")..);
    let slices = slices
        .take_while(|(key, _)| key.namespace == service.key.namespace)
        .map(|(_, slice)| slice.as_ref())
        .filter(|slice| slice.service == service.key);
    backends_among(cluster, service, port, &slices)
}

/// The same where the Service's lists of endpoints have been found already.
pub(super) fn backends_among<'a>(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    slices: &(impl Iterator<Item = &'a EndpointSlice> + Clone),
) -> Vec<Backend> {
    if matches!(service.kind, ServiceKind::External(_)) {
        return Vec::new();
    }
    let mut found: Vec<Backend> = slices.clone().flat_map(|slice| listed(slice, port)).collect();
    if slices.clone().next().is_none() && !service.selector.is_empty() {
        found = derived(cluster, service, port);
    }
    found.retain(|backend| service.has_family_of(backend.address));
    // An endpoint may be in two lists for a moment, while it moves from one to the other: the better
    // word counts.
    found.sort_unstable();
    found.dedup_by(|next, before| (next.address, next.port) == (before.address, before.port));
    found
}

fn listed<'a>(slice: &'a EndpointSlice, port: &ServicePort) -> impl Iterator<Item = Backend> + use<'a> {
    let number = slice
        .ports
        .iter()
        .find(|listed| listed.name == port.name && listed.protocol == port.protocol)
        .map(|listed| listed.port);
    slice.endpoints.iter().flat_map(move |endpoint| {
        let backend = move |address: &IpAddr| {
            let (condition, pod) = (endpoint.condition, endpoint.pod.clone());
            Some(Backend { address: *address, port: number?, condition, pod })
        };
        endpoint.addresses.iter().filter_map(backend)
    })
}

fn derived(cluster: &Cluster, service: &Service, port: &ServicePort) -> Vec<Backend> {
    let pods = cluster.pods().range(ObjectKey::new(&service.key.namespace, "")..);
    let pods = pods.take_while(|(key, _)| key.namespace == service.key.namespace).map(|(_, pod)| pod);
    let mut found = Vec::new();
    for pod in pods.filter(|pod| pod.is_live() && has_all(&pod.labels, &service.selector)) {
        let Some(number) = target(pod, port) else { continue };
        let condition = condition(pod, service.publish_not_ready);
        found.extend(addresses(cluster, pod).iter().map(|address| Backend {
            address: *address,
            port: number,
            condition,
            pod: Some(pod.key.clone()),
        }));
    }
    found
}

pub(super) fn has_all(labels: &Labels, selector: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// The pod's own port behind `port`; a pod that has no port of the name is no backend of it.
fn target(pod: &Pod, port: &ServicePort) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Named(name) => {
            let is_it =
                |own: &&ContainerPort| own.name.as_deref() == Some(name) && own.protocol == port.protocol;
            pod.ports.iter().find(is_it).map(|own| own.port)
        }
    }
}

pub(super) fn condition(pod: &Pod, publish_not_ready: bool) -> Condition {
    match (pod.ready, pod.terminating) {
        _ if publish_not_ready => Condition::Ready,
        (true, false) => Condition::Ready,
        (true, true) => Condition::Terminating,
        (false, _) => Condition::NotReady,
    }
}

/// A pod on its node's network is reached at the node.
pub(super) fn addresses<'a>(cluster: &'a Cluster, pod: &'a Pod) -> &'a [IpAddr] {
    if pod.host_network && pod.addresses.is_empty() {
        let node = pod.node.as_ref().and_then(|name| cluster.nodes().get(name));
        return node.map_or(&[], |node| &node.addresses);
    }
    &pod.addresses
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::{Strictness, read_manifests};

    fn cluster(text: &str) -> Cluster {
        let reading = read_manifests(text, Path::new("test"), Strictness::New);
        assert_eq!(reading.errors, []);
        let mut cluster = Cluster::new();
        reading.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
        cluster
    }

    fn shown(cluster: &Cluster, service: &str, port: u16) -> Vec<String> {
        let service = &cluster.services()[&service.parse().unwrap()];
        let port = service.ports.iter().find(|found| found.port == port).unwrap();
        let show = |backend: &Backend| {
            let pod = backend.pod.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            format!("{}:{} {pod} {:?}", backend.address, backend.port, backend.condition)
        };
        backends(cluster, service, port).iter().map(show).collect()
    }

    const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: web, tier: front}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}, {name: http, containerPort: 9, protocol: UDP}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x, labels: {app: web}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}
status: {phase: Running, podIP: 10.0.0.2, conditions: [{type: Ready, status: 'False'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: c, namespace: x, labels: {app: web}, deletionTimestamp: '2026-01-01T00:00:00Z'}
spec: {containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: d, namespace: x, labels: {app: web}}
status: {phase: Succeeded, podIP: 10.0.0.4}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: y, labels: {app: web}}
status: {phase: Running, podIP: 10.0.0.5}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: x}
spec:
  selector: {app: web}
  clusterIPs: [10.96.0.10, 'fd00:96::a']
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: plain, port: 81}
";

    #[test]
    fn a_selector_finds_pods_of_its_namespace_and_each_ones_own_port() {
        let cluster = cluster(PODS);
        assert_eq!(
            shown(&cluster, "x/web", 80),
            ["10.0.0.1:8080 x/a Ready", "10.0.0.2:80 x/b NotReady", "fd00::1:8080 x/a Ready"]
        );
        assert_eq!(
            shown(&cluster, "x/web", 81),
            [
                "10.0.0.1:81 x/a Ready",
                "10.0.0.2:81 x/b NotReady",
                "10.0.0.3:81 x/c Terminating",
                "fd00::1:81 x/a Ready"
            ]
        );
    }

    #[test]
    fn lists_of_endpoints_say_it_where_there_are_any() {
        let slices = "
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: x, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.9.1], conditions: {ready: true}, targetRef: {kind: Pod, name: a, namespace: x}}
- {addresses: [10.0.9.2], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.0.9.3], conditions: {ready: false}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, namespace: x, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.9.3]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: y, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.9.4]}]
";
        let cluster = cluster(&format!("{PODS}{slices}"));
        assert_eq!(
            shown(&cluster, "x/web", 80),
            ["10.0.9.1:8080 x/a Ready", "10.0.9.2:8080 - Terminating", "10.0.9.3:8080 - Ready"]
        );
        assert!(shown(&cluster, "x/web", 81).is_empty(), "no list has a port of that name");
    }
}
