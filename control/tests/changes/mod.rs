//! Changes of a cluster, of what its gateway sees, and of how it is read.

use std::net::IpAddr;

use podgate_control::compile::*;
use podgate_control::model::*;
use podgate_dataplane::mac::Mac;
use podgate_dataplane::tag::PortId;
use podgate_flowtable::Epoch;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::random::{NAMESPACES, NODES, labels, phase, pod, policy, v4, v6};

/// One change of something.
#[derive(Clone, Debug)]
pub enum Change {
    PutPod(Pod),
    RemovePod(Index),
    Relabel(Index, Labels),
    Phase(Index, Phase),
    /// The one gets the addresses of the other, which may keep them.
    Move(Index, Index, bool),
    Bind(Index, Option<&'static str>),
    HostNetwork(Index),
    PutPolicy(NetworkPolicy),
    RemovePolicy(Index),
    /// Another's rules, under its own name and selector.
    EditPolicy(Index, NetworkPolicy),
    RelabelNamespace(&'static str, Labels),
    RemoveNamespace(&'static str),
    PutNode(&'static str, Vec<IpAddr>),
    RemoveNode(&'static str),
    Plug(u16, Index, Vec<IpAddr>),
    Unplug(Index),
    OwnAddresses(Vec<IpAddr>),
    OwnName(Option<&'static str>),
    /// Everything is read anew: equal, but nothing is the same object.
    Reread,
    /// The next compilation has no room.
    Squeeze,
}

/// Any change.
pub fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    let node = || select(vec!["n1", "n2", "n3", "n4"]);
    let address = || prop_oneof![2 => (0..10_u8).prop_map(v4), 1 => (0..10_u8).prop_map(v6)];
    let link_local = Just("fe80::1".parse::<IpAddr>().unwrap());
    let plugged = vec(prop_oneof![3 => address(), 1 => link_local], 0..3);
    prop_oneof![
        4 => pod().prop_map(Change::PutPod),
        3 => index().prop_map(Change::RemovePod),
        4 => (index(), labels()).prop_map(|(at, labels)| Change::Relabel(at, labels)),
        2 => (index(), phase()).prop_map(|(at, phase)| Change::Phase(at, phase)),
        3 => (index(), index(), any::<bool>()).prop_map(|(to, from, keep)| Change::Move(to, from, keep)),
        2 => (index(), option::of(node())).prop_map(|(at, node)| Change::Bind(at, node)),
        1 => index().prop_map(Change::HostNetwork),
        5 => policy().prop_map(Change::PutPolicy),
        3 => index().prop_map(Change::RemovePolicy),
        4 => (index(), policy()).prop_map(|(at, policy)| Change::EditPolicy(at, policy)),
        3 => (select(NAMESPACES.to_vec()), labels()).prop_map(|(name, labels)| Change::RelabelNamespace(name, labels)),
        1 => select(NAMESPACES.to_vec()).prop_map(Change::RemoveNamespace),
        2 => (node(), vec(address(), 0..3)).prop_map(|(name, addresses)| Change::PutNode(name, addresses)),
        1 => node().prop_map(Change::RemoveNode),
        4 => (1..6_u16, index(), plugged).prop_map(|(port, at, seen)| Change::Plug(port, at, seen)),
        2 => index().prop_map(Change::Unplug),
        1 => vec(address(), 0..3).prop_map(Change::OwnAddresses),
        1 => option::of(select(NODES.to_vec())).prop_map(Change::OwnName),
        2 => Just(Change::Reread),
        1 => Just(Change::Squeeze),
    ]
}

/// What there is, as a source and a gateway would have it.
#[derive(Clone, Debug)]
pub struct World {
    pub cluster: Cluster,
    pub locality: Locality,
    pub ports: Vec<PortAssignment>,
    pub limits: Limits,
    pub epoch: u32,
}

impl World {
    /// Does it.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::PutPod(pod) => self.cluster.put_pod(pod.clone()),
            Change::RemovePod(at) => {
                self.key(*at).map(|key| self.cluster.remove_pod(&key));
            }
            Change::Relabel(at, labels) => self.edit(*at, |pod| pod.labels.clone_from(labels)),
            Change::Phase(at, phase) => self.edit(*at, |pod| pod.phase = *phase),
            Change::Bind(at, node) => self.edit(*at, |pod| pod.node = node.map(str::to_owned)),
            Change::HostNetwork(at) => self.edit(*at, |pod| pod.host_network = !pod.host_network),
            Change::Move(to, from, keep) => {
                let moved = self.key(*from).map(|key| self.cluster.pods()[&key].addresses.clone());
                if !keep {
                    self.edit(*from, |pod| pod.addresses.clear());
                }
                self.edit(*to, |pod| pod.addresses = moved.unwrap_or_default());
            }
            Change::PutPolicy(policy) => self.cluster.put_policy(policy.clone()),
            Change::RemovePolicy(at) => {
                self.policy(*at).map(|policy| self.cluster.remove_policy(&policy.key));
            }
            Change::EditPolicy(at, other) => {
                if let Some(policy) = self.policy(*at) {
                    let (key, pod_selector) = (policy.key, policy.pod_selector);
                    self.cluster.put_policy(NetworkPolicy { key, pod_selector, ..other.clone() });
                }
            }
            Change::RelabelNamespace(name, labels) => {
                self.cluster.put_namespace(Namespace::new(*name, labels.clone()));
            }
            Change::RemoveNamespace(name) => drop(self.cluster.remove_namespace(name)),
            Change::PutNode(name, addresses) => {
                let (name, addresses) = ((*name).to_owned(), addresses.clone());
                self.cluster.put_node(Node { name, labels: Labels::new(), addresses, pod_nets: Vec::new() });
            }
            Change::RemoveNode(name) => drop(self.cluster.remove_node(name)),
            Change::Plug(number, at, addresses) => {
                let (port, mac) = (PortId::new(*number).unwrap(), Mac([2, 0, 0, 0, 0, *number as u8]));
                self.ports.retain(|other| other.port != port);
                if let Some(pod) = self.key(*at) {
                    self.ports.push(PortAssignment { port, pod, mac, addresses: addresses.clone() });
                }
            }
            Change::Unplug(at) if !self.ports.is_empty() => {
                self.ports.remove(at.index(self.ports.len()));
            }
            Change::Unplug(_) => {}
            Change::OwnAddresses(addresses) => {
                if let Locality::Node { own_addresses, .. } = &mut self.locality {
                    own_addresses.clone_from(addresses);
                }
            }
            Change::OwnName(own) => {
                if let Locality::Node { name, .. } = &mut self.locality {
                    *name = own.map(str::to_owned);
                }
            }
            Change::Reread => self.reread(),
            Change::Squeeze => self.limits = Limits { identities: 3, cells: 5 },
        }
    }

    fn reread(&mut self) {
        let old = std::mem::take(&mut self.cluster);
        let implied: Vec<&str> = old.implied_namespaces().collect();
        let declared = old.namespaces().values().filter(|namespace| !implied.contains(&namespace.name()));
        declared.for_each(|namespace| self.cluster.put_namespace(Namespace::clone(namespace)));
        old.nodes().values().for_each(|node| self.cluster.put_node(Node::clone(node)));
        old.pods().values().for_each(|pod| self.cluster.put_pod(Pod::clone(pod)));
        old.policies().values().for_each(|policy| self.cluster.put_policy(NetworkPolicy::clone(policy)));
    }

    fn key(&self, at: Index) -> Option<ObjectKey> {
        let pods = self.cluster.pods();
        (!pods.is_empty()).then(|| pods.keys().nth(at.index(pods.len())).unwrap().clone())
    }

    fn policy(&self, at: Index) -> Option<NetworkPolicy> {
        let policies = self.cluster.policies();
        let policy = (!policies.is_empty()).then(|| policies.values().nth(at.index(policies.len())).unwrap());
        policy.map(|policy| NetworkPolicy::clone(policy))
    }

    fn edit(&mut self, at: Index, change: impl FnOnce(&mut Pod)) {
        if let Some(key) = self.key(at) {
            let mut pod = Pod::clone(&self.cluster.pods()[&key]);
            change(&mut pod);
            self.cluster.put_pod(pod);
        }
    }

    /// What to compile it with.
    pub fn settings(&self) -> Settings {
        Settings { limits: self.limits, ..Settings::new(Epoch(self.epoch), 7) }
    }
}
