//! The nodes of a case with their gateways, in memory: packets go where bridges and routes would
//! take them, and meet every gate on their way.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use podgate_dataplane::events::{Event, EventKind};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::snapshot::{Snapshot, Switches};
use podgate_dataplane::tag::{MAX_PORTS, Passage, PortId, Tag};
use podgate_dataplane::verdict::Verdict;
use podgate_flowtable::{Epoch, FlowId, Time};

use super::frame::Route;
use super::gate::{GateState, tagged};
use super::{Flags, Forwarding, Transport, World};
use crate::compile::{CompileError, Limits, Locality, PortAssignment, Settings, compile};
use crate::model::ObjectKey;

/// What a frame that is for nobody on the link is sent to.
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

/// Flows that a gateway in memory has room for, and events.
const FLOWS: usize = 256;
const EVENTS: usize = 64;

/// Every node of a cluster, with a gateway on it.
pub struct Cable {
    nodes: BTreeMap<String, CableNode>,
    switches: Switches,
    epoch: u32,
}

/// One of them.
pub struct CableNode {
    /// What its gateway keeps.
    pub state: GateState,
    /// What is in force there.
    pub snapshot: Snapshot,
    ports: BTreeMap<ObjectKey, PortId>,
}

/// A packet between two addresses of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Source address.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
    /// By what.
    pub protocol: Transport,
    /// Source port; the identifier for ICMP.
    pub source_port: u16,
    /// Destination port; nothing for ICMP.
    pub destination_port: u16,
    /// TCP flags; nothing for other protocols.
    pub flags: Flags,
}

/// What became of a packet.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Whether it came through.
    pub forwarding: Forwarding,
    /// How each gate judged that it met, in order, with the node's name.
    pub gates: Vec<(String, Verdict)>,
    /// What the gates had to tell of it.
    pub told: Vec<(String, Event)>,
}

/// Why a world cannot be put in force.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CableError {
    /// It does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A node has more pods than a gateway has ports.
    #[error(
        "node {node} has more pods than a gateway has ports ({}); put some on another node",
        MAX_PORTS - 1
    )]
    Ports {
        /// The node.
        node: String,
    },
}

impl Cable {
    /// Gateways that have just been started: connections from before are still taken up.
    pub fn new(world: &World, switches: Switches) -> Result<Self, CableError> {
        let mut cable = Self { nodes: BTreeMap::new(), switches, epoch: 0 };
        cable.publish(world)?;
        Ok(cable)
    }

    /// Puts the world as it is now in force, everywhere.
    pub fn publish(&mut self, world: &World) -> Result<(), CableError> {
        self.epoch += 1;
        let cluster = world.cluster();
        self.nodes.retain(|name, _| cluster.nodes().contains_key(name));
        for (name, node) in cluster.nodes() {
            let mut ports = self.nodes.get(name).map(|node| node.ports.clone()).unwrap_or_default();
            for key in pods_of(world, name) {
                // As devices come: one that is known keeps its number, and none is given anew.
                let next = ports.values().map(|port| port.number()).max().unwrap_or(0) + 1;
                if let Entry::Vacant(new) = ports.entry(key) {
                    new.insert(PortId::new(next).ok_or_else(|| CableError::Ports { node: name.clone() })?);
                }
            }
            let assignments = assignments(world, &ports);
            let own_addresses = node.addresses.clone();
            let locality = Locality::Node { name: Some(name.clone()), own_addresses };
            let (epoch, switches) = (Epoch(self.epoch), self.switches);
            let settings = Settings { epoch, switches, seed: 7, limits: Limits::default() };
            let snapshot = compile(cluster, &locality, &assignments, settings)?.snapshot;
            match self.nodes.get_mut(name) {
                Some(node) => (node.snapshot, node.ports) = (snapshot, ports),
                None => {
                    let state = GateState::picking_up(FLOWS, EVENTS, Time::from_nanos(u64::MAX));
                    self.nodes.insert(name.clone(), CableNode { state, snapshot, ports });
                }
            }
        }
        Ok(())
    }

    /// The nodes there are.
    pub fn nodes(&self) -> impl Iterator<Item = &CableNode> {
        self.nodes.values()
    }

    /// The gateway of a node.
    pub fn node(&self, name: &str) -> Option<&CableNode> {
        self.nodes.get(name)
    }

    /// Ends every flow, so that what comes next is judged by itself.
    pub fn forget_flows(&self) {
        for node in self.nodes.values() {
            let ids: Vec<FlowId> = node.state.flows.views().map(|view| view.id).collect();
            for id in ids {
                node.state.flows.remove(id);
            }
        }
    }

    /// Sends a packet on its way; it is forwarded if every gate forwards it.
    pub fn send(&self, world: &World, packet: &Packet, now: Time) -> Journey {
        let (sender, receiver) = (self.place(world, packet.from), self.place(world, packet.to));
        let on_one_bridge = matches!((&sender, &receiver), (Some((a, _)), Some((b, _))) if a == b);
        let mac = |place: &Option<(&str, PortId)>| place.as_ref().map_or(ROUTER, |(_, port)| mac_of(*port));
        let route = Route {
            from_mac: mac(&sender),
            to_mac: if on_one_bridge { mac(&receiver) } else { ROUTER },
            from: packet.from,
            to: packet.to,
        };
        let mut journey = Journey { forwarding: Forwarding::Forward, gates: Vec::new(), told: Vec::new() };
        if let Some((node, port)) = sender {
            match self.pass(node, Tag::from_pod(port), &route, packet, now, &mut journey) {
                Verdict::Drop(_) | Verdict::Reject(_) => return journey,
                Verdict::Forward(tag) if tag.passage == Passage::ToPod => return journey,
                Verdict::Forward(_) => {}
            }
        }
        if let Some((node, port)) = receiver {
            let from_mac = if on_one_bridge { route.from_mac } else { ROUTER };
            let route = Route { from_mac, to_mac: mac_of(port), ..route };
            self.pass(node, Tag::to_pod(port), &route, packet, now, &mut journey);
        }
        journey
    }

    fn pass(
        &self,
        name: &str,
        tag: Tag,
        route: &Route,
        packet: &Packet,
        now: Time,
        journey: &mut Journey,
    ) -> Verdict {
        let node = &self.nodes[name];
        let mut frame = tagged(tag, &written(route, packet));
        let verdict = node.state.gate(&node.snapshot).step(&mut frame, now);
        journey.gates.push((name.to_owned(), verdict));
        let told = std::iter::from_fn(|| node.state.events.pop());
        journey.told.extend(told.map(|event| (name.to_owned(), event)));
        if matches!(verdict, Verdict::Drop(_) | Verdict::Reject(_)) {
            journey.forwarding = Forwarding::Drop;
        }
        verdict
    }

    /// The node and port of whoever has an address; `None` for whoever has no port.
    fn place(&self, world: &World, address: IpAddr) -> Option<(&str, PortId)> {
        let pod = world.holder(address)?;
        let (name, node) = self.nodes.get_key_value(pod.node.as_ref()?)?;
        Some((name, *node.ports.get(&pod.key)?))
    }
}

impl Journey {
    /// The event of the gate that had the last word, if it had anything to tell.
    pub fn last_told(&self) -> Option<&(String, Event)> {
        let (last, verdict) = self.gates.last()?;
        let is_it = |(node, event): &&(String, Event)| node == last && event.verdict == *verdict;
        self.told.iter().rev().find(is_it)
    }

    /// Whether it opened no flow and was dropped by none: it was part of one.
    pub fn is_of_known_flow(&self) -> bool {
        !self.gates.is_empty() && !self.told.iter().any(|(_, event)| event.kind == EventKind::FlowOpened)
    }
}

fn written(route: &Route, packet: &Packet) -> Vec<u8> {
    let (from, to) = (packet.source_port, packet.destination_port);
    match packet.protocol {
        Transport::Udp => route.udp(from, to, b"case"),
        Transport::Tcp => route.tcp(from, to, packet.flags),
        Transport::Sctp => route.sctp_init(from, to),
        Transport::Icmp => route.echo(from),
    }
}

fn pods_of(world: &World, node: &str) -> Vec<ObjectKey> {
    let pods = world.cluster().pods().iter();
    let here = pods.filter(|(_, pod)| pod.node.as_deref() == Some(node) && !pod.host_network);
    here.map(|(key, _)| key.clone()).collect()
}

fn mac_of(port: PortId) -> Mac {
    let [high, low] = port.number().to_be_bytes();
    Mac([2, 0x0c, 0, 0, high, low])
}

fn assignments(world: &World, ports: &BTreeMap<ObjectKey, PortId>) -> Vec<PortAssignment> {
    let bound = |(key, port): (&ObjectKey, &PortId)| {
        let addresses = world.cluster().pods().get(key)?.addresses.clone();
        Some(PortAssignment { port: *port, pod: key.clone(), mac: mac_of(*port), addresses })
    };
    ports.iter().filter_map(bound).collect()
}
