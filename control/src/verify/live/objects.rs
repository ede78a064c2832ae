//! A world as manifests.

use serde_json::{Value, json};

use super::super::World;

/// Its objects as a stream of documents, and a policy about nobody, so that there is always something
/// new to wait for.
pub(super) fn manifests(world: &World, number: u32) -> String {
    let marker = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "podgate-verify", "name": format!("shown-{number}")},
        "spec": {"podSelector": {}},
    });
    let objects = objects(world);
    let all = objects.iter().chain(world.policies().values()).chain([&marker]);
    let documents: Vec<String> = all.map(ToString::to_string).collect();
    documents.join("\n---\n") + "\n"
}

fn objects(world: &World) -> Vec<Value> {
    let cluster = world.cluster();
    let mut objects = Vec::new();
    for namespace in cluster.namespaces().values() {
        let metadata = json!({"name": namespace.name(), "labels": namespace.labels()});
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
    }
    for node in cluster.nodes().values() {
        let address = |ip| json!({"type": "InternalIP", "address": ip});
        let addresses: Vec<Value> = node.addresses.iter().map(address).collect();
        let metadata = json!({"name": node.name, "labels": node.labels});
        let status = json!({"addresses": addresses});
        objects.push(json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}));
    }
    for (key, pod) in cluster.pods() {
        let ports = pod.ports.iter().map(
            |port| json!({"name": port.name, "containerPort": port.port, "protocol": port.protocol.name()}),
        );
        let ips: Vec<Value> = pod.addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let containers = json!([{"name": "c", "image": "any", "ports": ports.collect::<Vec<_>>()}]);
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": key.namespace, "name": key.name, "labels": pod.labels},
            "spec": {"nodeName": pod.node, "hostNetwork": pod.host_network, "containers": containers},
            "status": {"phase": pod.phase.name(), "podIPs": ips},
        }));
    }
    objects
}
