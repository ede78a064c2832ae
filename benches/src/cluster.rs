//! Clusters of any size, and what they compile to.
//!
//! Pod number *i* is in namespace *i* modulo their number, under one of [`APPS`] apps; policies go
//! round the namespaces and then the apps, so that the first of them select the first pods. Every
//! policy isolates for ingress and every other one for egress, and allows an app of some team's
//! namespaces on a port of its own; every fourth has an `ipBlock` with an except of its own.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use podgate_control::compile::{Compiled, Compiler, Locality, PortAssignment, Settings};
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

    /// Compiles all of it, from scratch.
    pub fn compile(&self) -> Compiled {
        self.compile_after(&mut Compiler::new())
    }

    /// Compiles what differs from what `compiler` knows, as after a change.
    pub fn compile_after(&self, compiler: &mut Compiler) -> Compiled {
        let settings = Settings::new(Epoch(1), 7);
        let compiled = compiler.compile(&self.cluster, &self.locality, &self.ports, settings);
        let compiled = compiled.expect("it fits the table");
        assert!(compiled.notes.is_empty(), "{:?}", compiled.notes);
        compiled
    }

    /// The same with one change; all else is shared.
    pub fn with(&self, change: &Change) -> Self {
        let mut site = self.clone();
        let namespaces = site.cluster.namespaces().len() as u32;
        match *change {
            Change::Relabel(number) => site.edit_pod(number, |pod| {
                pod.labels.insert("app".to_owned(), format!("a{}", (number / namespaces + 7) % APPS));
            }),
            Change::Readdress(number) => {
                site.edit_pod(number, |pod| pod.addresses = vec![address(number + 0x8000).into()]);
            }
            Change::Create(number) => site.cluster.put_pod(pod(number, namespaces, false)),
            Change::Delete(number) => {
                site.cluster.remove_pod(&pod(number, namespaces, false).key);
            }
            Change::EditPolicy(number) => {
                let mut policy = policy(number, namespaces);
                if let Ports::AnyOf(specs) = &mut policy.ingress[0].ports {
                    specs[0].port = PortMatch::Range { first: 9000, last: 9100 };
                }
                site.cluster.put_policy(policy);
            }
            Change::AddPolicy(number) => site.cluster.put_policy(policy(number, namespaces)),
            Change::RemovePolicy(number) => {
                site.cluster.remove_policy(&policy(number, namespaces).key);
            }
            Change::RelabelNamespace(number) => {
                let labels = labels(&[("team", format!("t{}", (number + 1) % TEAMS))]);
                site.cluster.put_namespace(Namespace::new(namespace(number), labels));
            }
            Change::Reread => {
                let pods: Vec<Pod> = site.cluster.pods().values().map(|pod| Pod::clone(pod)).collect();
                for pod in pods {
                    site.cluster.put_pod(pod);
                }
            }
        }
        site
    }

    fn edit_pod(&mut self, number: u32, change: impl FnOnce(&mut Pod)) {
        let namespaces = self.cluster.namespaces().len() as u32;
        let key = pod(number, namespaces, false).key;
        let mut pod = Pod::clone(&self.cluster.pods()[&key]);
        change(&mut pod);
        self.cluster.put_pod(pod);
    }
}

/// One change of a site, to the object of this number.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// A pod gets another app.
    Relabel(u32),
    /// A pod of another node gets another address.
    Readdress(u32),
    /// A pod of another node comes.
    Create(u32),
    /// A pod goes.
    Delete(u32),
    /// Another port in a rule of a policy.
    EditPolicy(u32),
    /// A policy comes.
    AddPolicy(u32),
    /// A policy goes.
    RemovePolicy(u32),
    /// A namespace passes to another team.
    RelabelNamespace(u32),
    /// Every pod is another object that says the same.
    Reread,
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
        labels,
        node: Some(if is_local { OWN_NODE } else { "n1" }.to_owned()),
        addresses: vec![address(number).into()],
        phase: Phase::Running,
        ..Pod::new(ObjectKey::new(namespace(number % namespaces), format!("p{number}")))
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
