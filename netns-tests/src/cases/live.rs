//! The cluster of a case on live frames: every pod a namespace on one bridge, other nodes and hosts
//! outside as plain hosts on the same bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podgate_control::model::{Cluster, ObjectKey, Pod};
use serde_json::{Value, json};

use super::{Action, Address, Case, WorldError};
use crate::name::unique;
use crate::node::BRIDGE;
use crate::program::PATIENCE;
use crate::{Gateway, Node, Space, wait_until};

/// Namespaces and a gateway that fit a set of cases with the same hosts.
#[derive(Debug)]
pub struct Stage {
    gateway: Gateway,
    others: BTreeMap<Address, Space>,
    node: Node,
    hosts: Hosts,
    shown: u32,
}

/// Who there is: every pod that a case ever has, and everybody else with an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hosts {
    own_node: String,
    node_addresses: Vec<IpAddr>,
    pods: BTreeMap<ObjectKey, Vec<IpAddr>>,
    others: BTreeMap<Address, Vec<IpAddr>>,
}

impl Hosts {
    /// Of a case; its first node is the one the bridge is on.
    pub fn of(case: &Case) -> Self {
        let created = case.steps.iter().flat_map(|step| &step.actions).filter_map(|action| match action {
            Action::CreatePod(pod) => Some(pod),
            _ => None,
        });
        let own = &case.cluster.nodes[0];
        let nodes = case.cluster.nodes[1..].iter().map(|node| (Address::Node(node.name.clone()), &node.ips));
        let externals =
            case.cluster.externals.iter().map(|host| (Address::External(host.name.clone()), &host.ips));
        Self {
            own_node: own.name.clone(),
            node_addresses: own.ips.clone(),
            pods: case
                .cluster
                .pods
                .iter()
                .chain(created)
                .filter(|pod| !pod.host_network)
                .map(|pod| (pod.key(), pod.ips.clone()))
                .collect(),
            others: nodes.chain(externals).map(|(address, ips)| (address, ips.clone())).collect(),
        }
    }

    /// Whether every address has one holder: a case may hand one on from pod to pod.
    pub fn are_distinct(&self) -> bool {
        let all: Vec<_> = self.pods.values().flatten().collect();
        all.len() == all.iter().collect::<BTreeSet<_>>().len()
    }
}

impl Stage {
    /// Makes everybody's namespace and starts a gateway that knows of nobody yet.
    #[track_caller]
    pub fn set(hosts: Hosts) -> Self {
        let mut node = Node::bare();
        let mut routes = String::new();
        for address in &hosts.node_addresses {
            routes += &given(*address, BRIDGE);
        }
        node.space.ip_batch(&(routes + &all_on_link(BRIDGE)));
        for (key, addresses) in &hosts.pods {
            node.attach(&key.to_string(), addresses);
        }
        let mut others = BTreeMap::new();
        let mut unguarded = Vec::new();
        for (number, (address, ips)) in hosts.others.iter().enumerate() {
            let space = Space::create(&unique("pgo"));
            let port = format!("other{number}");
            node.space.ip_batch(&format!(
                "link add {port} type veth peer name eth0 netns {}\nlink set {port} master {BRIDGE} up\n",
                space.name()
            ));
            let lines: String = ips.iter().map(|ip| given(*ip, "eth0")).collect();
            space.ip_batch(&format!("link set eth0 up\n{lines}{}", all_on_link("eth0")));
            unguarded.extend(["--except".to_owned(), port]);
            others.insert(address.clone(), space);
        }
        unguarded.extend(["--node".to_owned(), hosts.own_node.clone()]);
        let options: Vec<&str> = unguarded.iter().map(String::as_str).collect();
        let mut gateway = Gateway::prepare(&node, "", &options);
        gateway.write("cluster.yaml", "");
        gateway.launch();
        Self { gateway, others, node, hosts, shown: 0 }
    }

    /// Whether it fits a case with these hosts.
    pub fn fits(&self, hosts: &Hosts) -> bool {
        self.hosts == *hosts
    }

    /// Puts a cluster and its policies in force; waits until they are.
    #[track_caller]
    pub fn show(&mut self, cluster: &Cluster, policies: &BTreeMap<ObjectKey, Value>) {
        self.shown += 1;
        let before = self.gateway.instance.try_status().and_then(|status| status.epoch);
        let mut text: String = objects(cluster).iter().chain(policies.values()).map(document).collect();
        // A policy about nobody, so that there is always something new to wait for.
        let marker = crate::manifest::policy(&format!("marker/shown-{}", self.shown), "{podSelector: {}}");
        text += &marker;
        self.gateway.write("cluster.yaml", &text);
        wait_until(&format!("the cluster is in force\n{}", self.gateway.log()), PATIENCE, || {
            let Some(status) = self.gateway.instance.try_status() else { return false };
            status.epoch > before
                && status.policies == policies.len() + 1
                && status.ports.iter().filter(|port| port.pod.is_some()).count() == here(cluster)
        });
    }

    /// Where `address` sends from; `None` if it has no namespace here.
    pub fn space(&self, address: &Address) -> Option<&Space> {
        match address {
            Address::Pod(key) => {
                self.node.pods.iter().find(|pod| pod.key == key.to_string()).map(|pod| &pod.space)
            }
            Address::Node(name) if *name == self.hosts.own_node => Some(&self.node.space),
            other => self.others.get(other),
        }
    }

    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The name of the node whose bridge it is.
    pub fn own_node(&self) -> &str {
        &self.hosts.own_node
    }

    /// The device in a pod's namespace by its address, for frames made by hand.
    pub fn pod(&self, key: &ObjectKey) -> Option<&crate::Pod> {
        self.node.pods.iter().find(|pod| pod.key == key.to_string())
    }
}

/// Policies of a case by name, as its actions change them.
pub fn act_on(policies: &mut BTreeMap<ObjectKey, Value>, action: &Action) -> Result<(), WorldError> {
    match action {
        Action::Apply(policy) => {
            policies.insert(key_of(policy)?, policy.clone());
        }
        Action::Delete { namespace, name, .. } => {
            policies.remove(&ObjectKey::new(namespace, name));
        }
        Action::DeleteNamespace { name } => policies.retain(|key, _| key.namespace != *name),
        _ => {}
    }
    Ok(())
}

/// `namespace/name` of a policy.
pub fn key_of(policy: &Value) -> Result<ObjectKey, WorldError> {
    let metadata = &policy["metadata"];
    let name = metadata["name"].as_str().ok_or_else(|| WorldError::Absent { what: policy.to_string() })?;
    Ok(ObjectKey::new(metadata["namespace"].as_str().unwrap_or("default"), name))
}

fn given(address: IpAddr, device: &str) -> String {
    let flags = if address.is_ipv6() { " nodad" } else { "" };
    format!("addr add {address} dev {device}{flags}\n")
}

fn all_on_link(device: &str) -> String {
    format!("route add default dev {device}\nroute add ::/0 dev {device}\n")
}

fn document(object: impl std::borrow::Borrow<Value>) -> String {
    format!("---\n{}\n", object.borrow())
}

/// Pods of the cluster that have a port here.
fn here(cluster: &Cluster) -> usize {
    let has_port = |pod: &&Pod| pod.is_live() && !pod.host_network && !pod.addresses.is_empty();
    cluster.pods().values().map(AsRef::as_ref).filter(has_port).count()
}

fn objects(cluster: &Cluster) -> Vec<Value> {
    let mut objects = Vec::new();
    for namespace in cluster.namespaces().values() {
        let metadata = json!({"name": namespace.name(), "labels": namespace.labels()});
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
    }
    for node in cluster.nodes().values() {
        let addresses: Vec<_> =
            node.addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
        let metadata = json!({"name": node.name, "labels": node.labels});
        let status = json!({"addresses": addresses});
        objects.push(json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}));
    }
    for (key, pod) in cluster.pods() {
        let ports: Vec<_> = pod
            .ports
            .iter()
            .map(|port| {
                json!({"name": port.name, "containerPort": port.port, "protocol": port.protocol.to_string()})
            })
            .collect();
        let ips: Vec<_> = pod.addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let containers = json!([{"name": "c", "image": "any", "ports": ports}]);
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": key.namespace, "name": key.name, "labels": pod.labels},
            "spec": {"nodeName": pod.node, "hostNetwork": pod.host_network, "containers": containers},
            "status": {"phase": format!("{:?}", pod.phase), "podIPs": ips},
        }));
    }
    objects
}
