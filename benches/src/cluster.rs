//! Clusters of any size, and what they compile to.
//!
//! Pod number *i* is in namespace *i* modulo their number, under one of [`APPS`] apps; policies go
//! round the namespaces and then the apps, so that the first of them select the first pods. Every
//! policy isolates for ingress and every other one for egress, and allows an app of some team's
//! namespaces on a port of its own; every fourth has an `ipBlock` with an except of its own.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use podgate_control::compile::{Compiled, Locality, PortAssignment, Settings, compile};
use podgate_control::model::{
    Cluster, IpBlock, Labels, Namespace, NamespaceScope, NetworkPolicy, Node, ObjectKey, Operator, Peer,
    Peers, Phase, Pod, PodPeer, PolicyTypes, PortMatch, PortSpec, Ports, Protocol, Requirement, Rule,
    Selector,
};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::tag::PortId;
use podgate_flowtable::Epoch;

/// Apps in a namespace.
const APPS: u32 = 20;
/// Teams that namespaces belong to.
const TEAMS: u32 = 10;
/// The first port that policies speak of; each of them of one of the next hundred.
pub const FIRST_PORT: u16 = 8000;
const OWN_NODE: &str = "n0";
const OWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Namespaces.
    pub namespaces: u32,
    /// Pods.
    pub pods: u32,
    /// How many of them, the first ones, are behind ports of this node.
    pub local: u16,
    /// Policies.
    pub policies: u32,
}

/// A cluster, seen from one of its nodes.
#[derive(Clone, Debug)]
pub struct Site {
    /// Everything.
    pub cluster: Cluster,
    locality: Locality,
    ports: Vec<PortAssignment>,
}

impl Site {
    /// With everything in it that `size` asks for.
    pub fn new(size: Size) -> Self {
        let mut cluster = Cluster::new();
        for (name, address) in [(OWN_NODE, OWN_ADDRESS), ("n1", [192, 168, 0, 2].into())] {
            let (name, addresses) = (name.to_owned(), vec![address]);
            cluster.put_node(Node { name, labels: Labels::new(), addresses, pod_nets: Vec::new() });
        }
        for number in 0..size.namespaces {
            let labels = labels(&[("team", format!("t{}", number % TEAMS))]);
            cluster.put_namespace(Namespace::new(namespace(number), labels));
        }
        let mut ports = Vec::new();
        for number in 0..size.pods {
            let port = u16::try_from(number).ok().filter(|number| *number < size.local);
            let pod = pod(number, size.namespaces, port.is_some());
            if let Some(port) = port.and_then(|number| PortId::new(number + 1)) {
                let (pod, addresses) = (pod.key.clone(), pod.addresses.clone());
                ports.push(PortAssignment { port, pod, mac: mac(port), addresses });
            }
            cluster.put_pod(pod);
        }
        for number in 0..size.policies {
            cluster.put_policy(policy(number, size.namespaces));
        }
        let locality = Locality::Node { name: Some(OWN_NODE.to_owned()), own_addresses: vec![OWN_ADDRESS] };
        Self { cluster, locality, ports }
    }

    /// Compiles all of it, as after every change.
    pub fn compile(&self) -> Compiled {
        let compiled = compile(&self.cluster, &self.locality, &self.ports, Settings::new(Epoch(1), 7));
        let compiled = compiled.expect("it fits the table");
        assert!(compiled.notes.is_empty(), "{:?}", compiled.notes);
        compiled
    }
}

/// Address of pod number `number`.
pub fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a40_0000 + number)
}

/// MAC address of the pod behind `port`.
pub fn mac(port: PortId) -> Mac {
    let [high, low] = port.number().to_be_bytes();
    Mac([2, 0, 0, 0, high, low])
}

/// A policy in `namespace` that isolates app number `app` both ways and lets it talk with the
/// others of the namespace on `ports` of UDP.
pub fn open_within(namespace: &str, app: u32, ports: (u16, u16)) -> NetworkPolicy {
    let everyone = PodPeer { namespaces: NamespaceScope::Own, pods: Selector::everything() };
    let range = PortMatch::Range { first: ports.0, last: ports.1 };
    let rule = Rule {
        peers: Peers::AnyOf(vec![Peer::Pods(everyone)]),
        ports: Ports::AnyOf(vec![PortSpec { protocol: Protocol::Udp, port: range }]),
    };
    NetworkPolicy {
        key: ObjectKey::new(namespace, "open-within"),
        pod_selector: one_of("app", format!("a{app}")),
        types: PolicyTypes { ingress: true, egress: true },
        ingress: vec![rule.clone()],
        egress: vec![rule],
    }
}

/// Name of namespace number `number`.
pub fn namespace(number: u32) -> String {
    format!("ns{number}")
}

fn pod(number: u32, namespaces: u32, is_local: bool) -> Pod {
    let labels = labels(&[
        ("app", format!("a{}", number / namespaces % APPS)),
        // As on a Deployment's pods; no policy asks for it.
        ("pod-template-hash", format!("{:08x}", number.wrapping_mul(0x9e37_79b9))),
    ]);
    Pod {
        key: ObjectKey::new(namespace(number % namespaces), format!("p{number}")),
        labels,
        node: Some(if is_local { OWN_NODE } else { "n1" }.to_owned()),
        addresses: vec![address(number).into()],
        host_network: false,
        phase: Phase::Running,
        ready: true,
        terminating: false,
        ports: Vec::new(),
    }
}

fn policy(number: u32, namespaces: u32) -> NetworkPolicy {
    let peer = PodPeer {
        namespaces: NamespaceScope::Matching(one_of("team", format!("t{}", number / 7 % TEAMS))),
        pods: one_of("app", format!("a{}", number / 3 % APPS)),
    };
    let mut peers = vec![Peer::Pods(peer)];
    if number.is_multiple_of(4) {
        // 172.16.0.0/12 in /24s, and then again.
        let net = Ipv4Net::new_assert(Ipv4Addr::from_bits(0xac10_0000 + ((number / 4 % 0x1000) << 8)), 24);
        let except = Ipv4Net::new_assert(net.network(), 28);
        peers.push(Peer::Block(IpBlock::new(IpNet::V4(net), &[IpNet::V4(except)]).expect("a strict subset")));
    }
    let port = FIRST_PORT + (number % 100) as u16;
    let spec = |protocol| PortSpec { protocol, port: PortMatch::Range { first: port, last: port } };
    let rule = Rule {
        peers: Peers::AnyOf(peers),
        ports: Ports::AnyOf(vec![spec(Protocol::Tcp), spec(Protocol::Udp)]),
    };
    let has_egress = number.is_multiple_of(2);
    NetworkPolicy {
        key: ObjectKey::new(namespace(number % namespaces), format!("np{number}")),
        pod_selector: one_of("app", format!("a{}", number / namespaces % APPS)),
        types: PolicyTypes { ingress: true, egress: has_egress },
        ingress: vec![rule.clone()],
        egress: if has_egress { vec![rule] } else { Vec::new() },
    }
}

fn labels(pairs: &[(&str, String)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn one_of(key: &str, value: String) -> Selector {
    Selector::new(vec![Requirement { key: key.to_owned(), operator: Operator::In([value].into()) }])
}
