//! Who is there, and what policy says of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;

use podgate_control::compile::{Compiled, Locality, PortAssignment, Settings, compile};
use podgate_control::model::{
    Cluster, ContainerPort, Labels, Namespace, Node, ObjectKey, Phase, Pod, Protocol,
};
use podgate_control::model::{NetworkPolicy, PolicyTypes, Selector};
use podgate_control::oracle::{Flow, Verdict, judge};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::snapshot::{Snapshot, Switches};
use podgate_dataplane::tag::{Passage, PortId, Tag};
use podgate_flowtable::{Epoch, Tuple};
use podgate_netns_tests::frame::Route;

use crate::draw::Draw;
use crate::random::{NODES, policy, v4, v6};
use crate::talk::Packet;
use crate::wire::Frame;

/// Pods behind ports: `PortId` 1 to this.
const LOCAL: usize = 7;
/// These, two pods of the other node, this node, and somebody outside.
pub const ACTORS: usize = LOCAL + 4;

const NODE_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);
const NAMESPACES: [&str; 3] = ["x", "y", "z"];

pub struct Cast {
    cluster: Cluster,
    locality: Locality,
    switches: Switches,
    compiled: Compiled,
    /// The evaluator's answers under the snapshot in force.
    answers: RefCell<HashMap<Tuple, Verdict>>,
}

impl Cast {
    pub fn new(recheck_live_flows: bool, draw: &mut Draw) -> Self {
        let mut cluster = Cluster::new();
        for (number, name) in (1_u8..).zip(NODES) {
            let addresses = vec![IpAddr::from([192, 168, 0, number]), v6(100 + number)];
            cluster.put_node(Node {
                name: name.to_owned(),
                labels: Labels::new(),
                addresses,
                pod_nets: Vec::new(),
            });
        }
        let locality =
            Locality::Node { name: Some(NODES[0].to_owned()), own_addresses: addresses(LOCAL + 2) };
        for actor in 0..LOCAL + 2 {
            cluster.put_pod(pod(actor, draw));
        }
        let switches = Switches { recheck_live_flows, ..Switches::default() };
        let compiled = in_force(&cluster, &locality, switches, Epoch(1));
        Self { cluster, locality, switches, compiled, answers: RefCell::default() }
    }

    /// Puts another policy in force, or other labels.
    pub fn change(&mut self, draw: &mut Draw) {
        match draw.below(6) {
            0 => self.forget_policies(),
            1 => {
                for namespace in NAMESPACES {
                    self.cluster.put_policy(deny_all(namespace));
                }
            }
            2 => {
                self.cluster.put_namespace(Namespace::new(draw.pick(&NAMESPACES), labels(draw)));
                self.cluster.put_pod(pod(draw.below(LOCAL + 2), draw));
            }
            3 => self.cluster.put_policy(draw.value(&policy())),
            _ => {
                self.forget_policies();
                for _ in 0..draw.below(5) {
                    self.cluster.put_policy(draw.value(&policy()));
                }
            }
        }
        let epoch = Epoch(self.compiled.snapshot.epoch.0 + 1);
        self.compiled = in_force(&self.cluster, &self.locality, self.switches, epoch);
        self.answers.borrow_mut().clear();
    }

    fn forget_policies(&mut self) {
        let keys: Vec<ObjectKey> = self.cluster.policies().keys().cloned().collect();
        for key in keys {
            self.cluster.remove_policy(&key);
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.compiled.snapshot
    }

    pub fn rechecks(&self) -> bool {
        self.switches.recheck_live_flows
    }

    /// What the naive evaluator says of a new flow, now.
    pub fn verdict(&self, tuple: &Tuple) -> Verdict {
        let mut answers = self.answers.borrow_mut();
        let answer = answers.entry(*tuple).or_insert_with(|| {
            let flow = Flow {
                from: tuple.source.to_ip(),
                to: tuple.destination.to_ip(),
                protocol: tuple.protocol,
                port: tuple.destination_port,
            };
            judge(&self.cluster, &self.locality, flow)
        });
        answer.clone()
    }

    pub fn allows(&self, tuple: &Tuple) -> bool {
        self.verdict(tuple).allows()
    }
}

/// The packet's frame where it first meets the gate: as its pod sends it, straight to another
/// pod or to the gateway, or as the bridge brings it. Now and then a pod lies about its address.
pub fn emit(packet: &Packet, draw: &mut Draw) -> Frame {
    let via_gateway = draw.one_in(5);
    let (tag, route) = match (port(packet.from), port(packet.to)) {
        (Some(sender), receiver) => {
            let to_mac = receiver.filter(|_| !via_gateway).map_or(NODE_MAC, mac);
            (Tag::from_pod(sender), (mac(sender), to_mac))
        }
        (None, Some(receiver)) => (Tag::to_pod(receiver), (NODE_MAC, mac(receiver))),
        (None, None) => unreachable!("one end of every conversation is a pod of this node"),
    };
    let is_spoofed = tag.passage == Passage::FromPod && draw.one_in(50);
    let from = if is_spoofed { (packet.from + 1) % LOCAL } else { packet.from };
    let route = Route {
        from_mac: route.0,
        to_mac: route.1,
        from: address(from, packet.is_v6),
        to: address(packet.to, packet.is_v6),
    };
    Frame::new(tag, &route, *packet, is_spoofed)
}

/// Where a forwarded frame meets the gate again: the bridge or the host brings it to the pod it
/// is for. `None`: it is where it was to go.
pub fn next_stop(frame: &Frame, out: Tag) -> Option<Frame> {
    let receiver = port(frame.packet.to)?;
    (out.passage == Passage::FromPod).then(|| frame.brought_to(receiver, NODE_MAC, mac(receiver)))
}

/// The port of an actor, if it is a pod of this node.
pub fn port(actor: usize) -> Option<PortId> {
    (actor < LOCAL).then(|| PortId::new(actor as u16 + 1).expect("ports begin at 1"))
}

pub fn address(actor: usize, is_v6: bool) -> IpAddr {
    addresses(actor)[usize::from(is_v6)]
}

fn addresses(actor: usize) -> Vec<IpAddr> {
    match actor.checked_sub(LOCAL) {
        None | Some(0 | 1) => vec![v4(actor as u8), v6(actor as u8)],
        Some(2) => vec![IpAddr::from([192, 168, 0, 1]), v6(101)],
        _ => vec!["203.0.113.10".parse().unwrap(), "2001:db8::1".parse().unwrap()],
    }
}

fn mac(port: PortId) -> Mac {
    Mac([2, 0, 0, 0, 0, port.number() as u8])
}

fn key(actor: usize) -> ObjectKey {
    ObjectKey::new(NAMESPACES[actor % NAMESPACES.len()], format!("p{actor}"))
}

fn pod(actor: usize, draw: &mut Draw) -> Pod {
    let port = |name: &str, port, protocol| ContainerPort { name: Some(name.to_owned()), port, protocol };
    Pod {
        labels: labels(draw),
        node: Some(NODES[usize::from(actor >= LOCAL)].to_owned()),
        addresses: addresses(actor),
        phase: Phase::Running,
        ports: vec![port("web", 80, Protocol::Tcp), port("dns", 53, Protocol::Udp)],
        ..Pod::new(key(actor))
    }
}

fn labels(draw: &mut Draw) -> Labels {
    ["a", "b", "c"].map(|key| (key.to_owned(), draw.pick(&["", "1", "2"]).to_owned())).into()
}

fn deny_all(namespace: &str) -> NetworkPolicy {
    NetworkPolicy {
        key: ObjectKey::new(namespace, "deny-all"),
        pod_selector: Selector::everything(),
        types: PolicyTypes { ingress: true, egress: true },
        ingress: Vec::new(),
        egress: Vec::new(),
    }
}

fn in_force(cluster: &Cluster, locality: &Locality, switches: Switches, epoch: Epoch) -> Compiled {
    let assign = |actor| {
        let port = port(actor)?;
        Some(PortAssignment { port, pod: key(actor), mac: mac(port), addresses: addresses(actor) })
    };
    let ports: Vec<_> = (0..LOCAL).filter_map(assign).collect();
    let settings = Settings { switches, ..Settings::new(epoch, 7) };
    let compiled = compile(cluster, locality, &ports, settings).unwrap();
    assert_eq!(compiled.notes, []);
    compiled
}
