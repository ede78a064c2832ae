//! Random clusters, small enough that everything in them collides with everything else.
#![allow(dead_code)]

use std::net::IpAddr;

use ipnet::IpNet;
use podgate_control::compile::Locality;
use podgate_control::model::*;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub const NODES: [&str; 2] = ["n1", "n2"];

pub const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PORT_NAMES: [&str; 2] = ["web", "dns"];
const NETS: [&str; 14] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/28",
    "10.0.0.4/30",
    "10.0.0.5/32",
    "10.0.0.0/32",
    "192.168.0.0/24",
    "192.168.0.1/32",
    "203.0.113.0/24",
    "::/0",
    "fd00::/124",
    "fd00::4/126",
    "fd00::5/128",
    "2001:db8::/32",
];

/// A pod's address; few of them, so that pods contest some.
pub fn v4(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// Its counterpart.
pub fn v6(number: u8) -> IpAddr {
    IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number])
}

pub fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp), 1 => Just(Protocol::Sctp)]
}

pub fn labels() -> impl Strategy<Value = Labels> {
    btree_map(select(vec!["a", "b", "c"]), select(vec!["", "1", "2"]), 0..3).prop_map(|labels| {
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    })
}

fn values() -> impl Strategy<Value = std::collections::BTreeSet<String>> {
    btree_set(select(vec!["", "1", "2", "3"]).prop_map(str::to_owned), 1..3)
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let operator = prop_oneof![
        3 => values().prop_map(Operator::In),
        2 => values().prop_map(Operator::NotIn),
        1 => Just(Operator::Exists),
        1 => Just(Operator::DoesNotExist),
    ];
    (select(vec!["a", "b", "c"]), operator)
        .prop_map(|(key, operator)| Requirement { key: key.to_owned(), operator })
}

fn selector() -> impl Strategy<Value = Selector> {
    vec(requirement(), 0..3).prop_map(Selector::new)
}

/// Selectors on namespaces: by their labels, and by the label that carries the name.
fn namespace_selector() -> impl Strategy<Value = Selector> {
    let by_name = select(NAMESPACES.to_vec()).prop_map(|name| {
        let operator = Operator::In([name.to_owned()].into());
        Selector::new(vec![Requirement { key: NAMESPACE_NAME_LABEL.to_owned(), operator }])
    });
    prop_oneof![3 => selector(), 1 => by_name]
}

fn block() -> impl Strategy<Value = IpBlock> {
    let nets: Vec<IpNet> = NETS.iter().map(|net| net.parse().unwrap()).collect();
    (select(nets.clone()), vec(select(nets), 0..3)).prop_map(|(cidr, except)| {
        let except: Vec<IpNet> =
            except.into_iter().filter(|net| IpBlock::new(cidr, &[*net]).is_ok()).collect();
        IpBlock::new(cidr, &except).unwrap()
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    let scope =
        prop_oneof![Just(NamespaceScope::Own), namespace_selector().prop_map(NamespaceScope::Matching)];
    prop_oneof![
        2 => (scope, selector()).prop_map(|(namespaces, pods)| Peer::Pods(PodPeer { namespaces, pods })),
        1 => block().prop_map(Peer::Block),
    ]
}

fn port_spec() -> impl Strategy<Value = PortSpec> {
    let port = prop_oneof![
        1 => Just(PortMatch::Every),
        2 => (select(vec![1, 53, 80, 81, 65535]), select(vec![0, 1, 20])).prop_map(|(first, more)| {
            PortMatch::Range { first, last: u16::saturating_add(first, more) }
        }),
        2 => select(PORT_NAMES.to_vec()).prop_map(|name| PortMatch::Named(name.to_owned())),
    ];
    (protocol(), port).prop_map(|(protocol, port)| PortSpec { protocol, port })
}

fn rule() -> impl Strategy<Value = Rule> {
    let peers = prop_oneof![1 => Just(Peers::Any), 4 => vec(peer(), 1..3).prop_map(Peers::AnyOf)];
    let ports = prop_oneof![1 => Just(Ports::Every), 2 => vec(port_spec(), 1..3).prop_map(Ports::AnyOf)];
    (peers, ports).prop_map(|(peers, ports)| Rule { peers, ports })
}

pub fn policy() -> impl Strategy<Value = NetworkPolicy> {
    let types = select(vec![(true, false), (false, true), (true, true)]);
    let name = select(vec!["p", "q", "r", "s"]);
    (select(NAMESPACES.to_vec()), name, selector(), types, vec(rule(), 0..3), vec(rule(), 0..3)).prop_map(
        |(namespace, name, pod_selector, (has_ingress, has_egress), ingress, egress)| NetworkPolicy {
            key: ObjectKey::new(namespace, name),
            pod_selector,
            types: PolicyTypes { ingress: has_ingress, egress: has_egress },
            ingress,
            egress,
        },
    )
}

fn container_port() -> impl Strategy<Value = ContainerPort> {
    (option::of(select(PORT_NAMES.to_vec())), select(vec![53, 80, 81, 8080]), protocol())
        .prop_map(|(name, port, protocol)| ContainerPort { name: name.map(str::to_owned), port, protocol })
}

pub fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        8 => Just(Phase::Running),
        1 => Just(Phase::Pending),
        1 => Just(Phase::Succeeded),
        1 => Just(Phase::Failed),
        1 => Just(Phase::Unknown),
    ]
}

/// A pod; whoever wants one that lives gives it a key, addresses and a phase of its own.
pub fn pod() -> impl Strategy<Value = Pod> {
    let key = (select(NAMESPACES.to_vec()), select(vec!["a", "b", "c", "d"]));
    let addresses = (option::weighted(0.9, 0..10_u8), option::weighted(0.5, 0..10_u8));
    let phase = phase();
    let node = option::weighted(0.9, select(vec!["n1", "n2", "n3"]));
    let uid = option::of(select(vec!["u1", "u2"]));
    (key, uid, labels(), node, addresses, prop::bool::weighted(0.1), phase, vec(container_port(), 0..4))
        .prop_map(|((namespace, name), uid, labels, node, (four, six), host_network, phase, ports)| Pod {
            uid: uid.map(str::to_owned),
            labels,
            node: node.map(str::to_owned),
            addresses: four.map(v4).into_iter().chain(six.map(v6)).collect(),
            host_network,
            phase,
            ports,
            ..Pod::new(ObjectKey::new(namespace, name))
        })
}

/// A cluster. Some namespaces are implied, some addresses contested, some pods over.
pub fn cluster() -> impl Strategy<Value = Cluster> {
    let namespaces = vec((select(NAMESPACES.to_vec()), labels()), 0..3);
    let more = option::of(0..10_u8);
    (namespaces, vec(pod(), 1..8), vec(policy(), 0..6), more).prop_map(
        |(namespaces, pods, policies, more)| {
            let mut cluster = Cluster::new();
            for (name, labels) in namespaces {
                cluster.put_namespace(Namespace::new(name, labels));
            }
            for (number, name) in (1_u8..).zip(NODES) {
                let mut addresses = vec![IpAddr::from([192, 168, 0, number]), v6(100 + number)];
                // Now and then a node claims what may be a pod's.
                addresses.extend(more.filter(|_| number == 2).map(v4));
                cluster.put_node(Node {
                    name: name.to_owned(),
                    labels: Labels::new(),
                    addresses,
                    pod_nets: Vec::new(),
                });
            }
            for pod in pods {
                cluster.put_pod(pod);
            }
            for policy in policies {
                cluster.put_policy(policy);
            }
            cluster
        },
    )
}

/// A point of view.
pub fn locality() -> impl Strategy<Value = Locality> {
    let machine = IpAddr::from([192, 168, 0, 1]);
    prop_oneof![
        2 => Just(Locality::Everything),
        2 => Just(Locality::Node {
            name: Some("n1".to_owned()),
            own_addresses: vec![machine, v4(9), "10.0.0.77".parse().unwrap()],
        }),
        1 => Just(Locality::Node { name: None, own_addresses: vec![machine] }),
        1 => Just(Locality::Node { name: Some("n3".to_owned()), own_addresses: vec![] }),
    ]
}
