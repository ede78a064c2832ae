//! The nodes of a case with their gateways, in memory: packets go where bridges and routes would
//! take them, and meet every gate on their way.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::{IpNumber, TcpHeader};
use podgate_control::compile::{Limits, Locality, PortAssignment, Settings, compile};
use podgate_control::model::{Cluster, ObjectKey};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::snapshot::{Snapshot, Switches};
use podgate_dataplane::tag::{Passage, PortId, Tag};
use podgate_dataplane::verdict::Verdict;
use podgate_flowtable::{Epoch, Time};

use super::{Address, FlowPacket, Forwarding, Transport, World};
use crate::frame::Route;
use crate::gate::{GateState, tagged};

/// What a frame that is for nobody on the link is sent to.
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);

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

impl Cable {
    /// Gateways that have just been started: connections from before are still taken up.
    pub fn new(world: &World, switches: Switches) -> Self {
        let mut cable = Self { nodes: BTreeMap::new(), switches, epoch: 0 };
        for node in world.cluster().nodes().keys() {
            let pods = pods_of(world.cluster(), node);
            let ports = (1..).filter_map(PortId::new).zip(pods).map(|(port, key)| (key, port)).collect();
            let state = GateState::picking_up(256, 256, Time::from_nanos(u64::MAX));
            let snapshot = compiled(world.cluster(), node, &ports, Epoch(0), switches);
            cable.nodes.insert(node.clone(), CableNode { state, snapshot, ports });
        }
        cable.publish(world);
        cable
    }

    /// Puts the world as it is now in force, everywhere.
    pub fn publish(&mut self, world: &World) {
        self.epoch += 1;
        for (name, node) in &mut self.nodes {
            node.snapshot = compiled(world.cluster(), name, &node.ports, Epoch(self.epoch), self.switches);
        }
    }

    /// The nodes there are.
    pub fn nodes(&self) -> impl Iterator<Item = &CableNode> {
        self.nodes.values()
    }

    /// Sends a packet on its way; it is forwarded if every gate forwards it.
    #[track_caller]
    pub fn send(&self, world: &World, packet: &FlowPacket, now: Time) -> Forwarding {
        let resolve = |address| world.resolve(address, None).unwrap_or_else(|error| panic!("{error}"));
        let (from, to) = (resolve(&packet.from), resolve(&packet.to));
        let (sender, receiver) = (self.place(world, &packet.from), self.place(world, &packet.to));
        let on_one_bridge = matches!((&sender, &receiver), (Some((a, _)), Some((b, _))) if a == b);
        let mac = |place: &Option<(String, PortId)>| place.as_ref().map_or(ROUTER, |(_, port)| mac_of(*port));
        let route = Route {
            from_mac: mac(&sender),
            to_mac: if on_one_bridge { mac(&receiver) } else { ROUTER },
            from,
            to,
        };
        if let Some((node, port)) = &sender {
            match self.nodes[node].step(Tag::from_pod(*port), &route, packet, now) {
                Verdict::Drop(_) => return Forwarding::Drop,
                Verdict::Forward(tag) if tag.passage == Passage::ToPod => return Forwarding::Forward,
                Verdict::Forward(_) => {}
            }
        }
        let Some((node, port)) = &receiver else { return Forwarding::Forward };
        let route = Route { from_mac: if on_one_bridge { route.from_mac } else { ROUTER }, ..route };
        let route = Route { to_mac: mac_of(*port), ..route };
        match self.nodes[node].step(Tag::to_pod(*port), &route, packet, now) {
            Verdict::Drop(_) => Forwarding::Drop,
            Verdict::Forward(_) => Forwarding::Forward,
        }
    }

    /// The node and port of a pod; `None` for whoever has no port.
    fn place(&self, world: &World, address: &Address) -> Option<(String, PortId)> {
        let Address::Pod(key) = address else { return None };
        let node = world.cluster().pods().get(key)?.node.clone()?;
        let port = *self.nodes.get(&node)?.ports.get(key)?;
        Some((node, port))
    }
}

impl CableNode {
    fn step(&self, tag: Tag, route: &Route, packet: &FlowPacket, now: Time) -> Verdict {
        let mut frame = tagged(tag, &written(route, packet));
        self.state.gate(&self.snapshot).step(&mut frame, now)
    }
}

/// The packet as a frame. Every sender's sequence numbers start at 1000; its SYN takes one.
fn written(route: &Route, packet: &FlowPacket) -> Vec<u8> {
    match packet.protocol {
        Transport::Udp => route.udp(packet.sport, packet.dport, b"case"),
        Transport::Tcp => {
            let flags = packet.flags.as_deref().unwrap_or_default();
            let has = |name: &str| flags.split(['|', ',', '+']).any(|flag| flag.trim() == name);
            let sequence = if has("SYN") { 1000 } else { 1001 };
            let mut header = TcpHeader::new(packet.sport, packet.dport, sequence, 64_240);
            (header.syn, header.ack, header.fin, header.rst) =
                (has("SYN"), has("ACK"), has("FIN"), has("RST"));
            header.acknowledgment_number = if header.ack { 1001 } else { 0 };
            route.packet(IpNumber::TCP, &header.to_bytes())
        }
        other => panic!("no sequence has {other:?} packets"),
    }
}

fn pods_of(cluster: &Cluster, node: &str) -> Vec<ObjectKey> {
    let here =
        cluster.pods().iter().filter(|(_, pod)| pod.node.as_deref() == Some(node) && !pod.host_network);
    here.map(|(key, _)| key.clone()).collect()
}

fn mac_of(port: PortId) -> Mac {
    let [high, low] = port.number().to_be_bytes();
    Mac([2, 0x0c, 0, 0, high, low])
}

fn compiled(
    cluster: &Cluster,
    node: &str,
    ports: &BTreeMap<ObjectKey, PortId>,
    epoch: Epoch,
    switches: Switches,
) -> Snapshot {
    let bound = |(key, port): (&ObjectKey, &PortId)| {
        let addresses: Vec<IpAddr> = cluster.pods().get(key)?.addresses.clone();
        Some(PortAssignment { port: *port, pod: key.clone(), mac: mac_of(*port), addresses })
    };
    let assignments: Vec<_> = ports.iter().filter_map(bound).collect();
    let own_addresses = cluster.nodes()[node].addresses.clone();
    let locality = Locality::Node { name: Some(node.to_owned()), own_addresses };
    let settings = Settings { epoch, switches, seed: 7, limits: Limits::default() };
    let compiled = compile(cluster, &locality, &assignments, settings);
    compiled.unwrap_or_else(|error| panic!("{node}: {error}")).snapshot
}
