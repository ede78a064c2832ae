//! Who there is on the stage of a case: its pods, the node whose bridge it is, and everybody else with an
//! address, on the same bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::{Address, Question, Transport, World};
use crate::lab::{Attachment, ExternalSpec, ListenPort, PodSpec, Protocol};
use crate::model::ObjectKey;

/// All of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Cast {
    /// The node whose bridge it is.
    pub(super) node: String,
    node_addresses: Vec<IpAddr>,
    pods: BTreeMap<ObjectKey, Vec<IpAddr>>,
    /// Other nodes, hosts outside, and addresses that are nobody's.
    others: BTreeMap<String, Vec<IpAddr>>,
}

/// Where an address is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Seat {
    /// In the namespace of a pod, or of another host, by its name in the lab.
    Host(String),
    /// On the node itself.
    Node,
}

impl Cast {
    /// For some questions that are asked of one world, with `node` as the node.
    pub(super) fn of(world: &World, node: &str, questions: &[Question]) -> Self {
        let cluster = world.cluster();
        let live = cluster.pods().values().filter(|pod| pod.is_live() && !pod.host_network);
        let mut cast = Self {
            node: node.to_owned(),
            node_addresses: cluster.nodes().get(node).map(|node| node.addresses.clone()).unwrap_or_default(),
            pods: live
                .filter(|pod| !pod.addresses.is_empty())
                .map(|pod| (pod.key.clone(), pod.addresses.clone()))
                .collect(),
            others: BTreeMap::new(),
        };
        for other in cluster.nodes().values().filter(|other| other.name != node) {
            cast.others.insert(format!("node-{}", other.name), other.addresses.clone());
        }
        for (name, addresses) in world.externals() {
            cast.others.insert(format!("ext-{name}"), addresses.clone());
        }
        // Nobody's, as far as the case says: a host is made that has it.
        let asked = questions.iter().flat_map(|question| [&question.from, &question.to]);
        for address in
            asked.filter_map(|end| if let Address::Ip(address) = end { Some(*address) } else { None })
        {
            if cast.seat(address).is_none() {
                let name = format!("ip-{address}").replace(['.', ':'], "-");
                cast.others.insert(name, vec![address]);
            }
        }
        cast
    }

    /// With everyone of both; nothing if they differ in who has an address.
    pub(super) fn with(&self, other: &Self) -> Option<Self> {
        let mut both = self.clone();
        both.pods.extend(other.pods.clone());
        both.others.extend(other.others.clone());
        let is_kept = |of: &Self| {
            of.pods.iter().all(|(key, addresses)| both.pods[key] == *addresses)
                && of.others.iter().all(|(name, addresses)| both.others[name] == *addresses)
        };
        let all: Vec<_> = both.addresses().collect();
        let is_distinct = all.iter().collect::<BTreeSet<_>>().len() == all.len();
        (both.node == other.node && is_distinct && is_kept(self) && is_kept(other)).then_some(both)
    }

    /// Where an address is; nothing if nobody has it.
    pub(super) fn seat(&self, address: IpAddr) -> Option<Seat> {
        if self.node_addresses.contains(&address) {
            return Some(Seat::Node);
        }
        let pods = self.pods.iter().map(|(key, addresses)| (key.to_string(), addresses));
        let others = self.others.iter().map(|(name, addresses)| (name.clone(), addresses));
        let mut hosts = pods.chain(others);
        hosts.find(|(_, addresses)| addresses.contains(&address)).map(|(name, _)| Seat::Host(name))
    }

    /// The node's addresses.
    pub(super) fn node_addresses(&self) -> &[IpAddr] {
        &self.node_addresses
    }

    /// Everybody's addresses.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let hosts = self.pods.values().chain(self.others.values()).flatten();
        hosts.chain(&self.node_addresses).copied()
    }

    /// The pods as a lab makes them; each answers on `ports`.
    pub(super) fn pod_specs(&self, ports: &[ListenPort]) -> Vec<PodSpec> {
        let spec = |(key, addresses): (&ObjectKey, &Vec<IpAddr>)| PodSpec {
            addresses: addresses.clone(),
            ports: ports.to_vec(),
            ..PodSpec::new(&key.namespace, &key.name)
        };
        self.pods.iter().map(spec).collect()
    }

    /// Everybody else as a lab makes them, each answering on `ports`.
    pub(super) fn externals(&self, ports: &[ListenPort]) -> Vec<ExternalSpec> {
        let spec = |(name, addresses): (&String, &Vec<IpAddr>)| ExternalSpec {
            name: name.clone(),
            addresses: addresses.clone(),
            ports: ports.to_vec(),
            attachment: Attachment::Bridged,
        };
        self.others.iter().map(spec).collect()
    }
}

/// The ports that are asked about.
pub(super) fn ports<'a>(questions: impl Iterator<Item = &'a Question>) -> Vec<ListenPort> {
    let listen = |question: &Question| {
        let protocol = match question.protocol {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
            // Heard at the device, or answered by the kernel.
            Transport::Sctp | Transport::Icmp => return None,
        };
        Some(ListenPort { port: question.packet_port(), protocol })
    };
    let mut ports: Vec<ListenPort> = questions.filter_map(listen).filter(|port| port.port != 0).collect();
    ports.sort_by_key(ListenPort::to_string);
    ports.dedup();
    ports
}
