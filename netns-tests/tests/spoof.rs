//! A pod that sends what it may not: other pods' addresses, other pods' names for addresses, tags.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use podgate_dataplane::mac::Mac;
use podgate_netns_tests::frame::{Arp, BROADCAST, Route, Wire, advertisement, router_advertisement, tagged};
use podgate_netns_tests::traffic::{Sink, ping};
use podgate_netns_tests::{Gateway, Node, Pod, Turn, wait_until};

const SOON: Duration = Duration::from_secs(5);
const FORGED: &[u8] = b"forged";

struct Scene {
    /// Ends before its node does.
    gateway: Gateway,
    node: Node,
}

impl Scene {
    fn new() -> Self {
        let node = Node::with_pods(&["a/villain", "a/victim", "a/friend"]);
        let gateway = Gateway::start(&node, "", &[]);
        Self { gateway, node }
    }

    fn villain(&self) -> &Pod {
        self.node.pod("a/villain")
    }

    fn victim(&self) -> &Pod {
        self.node.pod("a/victim")
    }

    fn friend(&self) -> &Pod {
        self.node.pod("a/friend")
    }

    /// What an honest datagram from the villain to the victim would claim.
    fn honest(&self) -> Route {
        Route {
            from_mac: self.villain().mac,
            to_mac: self.victim().mac,
            from: self.villain().v4.into(),
            to: self.victim().v4.into(),
        }
    }

    fn honest_v6(&self) -> Route {
        Route { from: self.villain().v6.into(), to: self.victim().v6.into(), ..self.honest() }
    }

    /// Sends `frames`, and asserts that each is counted under `reason` at the villain's port and
    /// that nobody hears any of them.
    #[track_caller]
    fn assert_dropped(&self, reason: &str, frames: &[Vec<u8>]) {
        let ears = [self.victim(), self.friend()].map(|pod| Wire::open(&pod.space, "eth0"));
        let node_ear = Wire::open(&self.node.space, "cni0");
        let before = self.gateway.drops(self.villain(), reason);
        let wire = Wire::open(&self.villain().space, "eth0");
        for frame in frames {
            wire.send(frame);
        }
        let wanted = before + frames.len() as u64;
        wait_until(
            &format!(
                "{} dropped as {reason}; {:?}",
                frames.len(),
                self.gateway.instance.port_of("a/villain")
            ),
            SOON,
            || self.gateway.drops(self.villain(), reason) >= wanted,
        );
        for ear in ears.iter().chain([&node_ear]) {
            let heard = ear.find(Duration::from_millis(50), |heard| {
                frames.iter().any(|frame| heard.ends_with(&frame[12..])).then(|| heard.to_vec())
            });
            assert_eq!(heard, None, "{reason}");
        }
    }
}

#[test]
fn honest_frames_by_hand_arrive() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let sink = Sink::open(&scene.victim().space, 9, None);
    let wire = Wire::open(&scene.villain().space, "eth0");
    wire.send(&scene.honest().udp(7, 9, b"honest"));
    wire.send(&scene.honest_v6().udp(7, 9, b"honest"));
    wait_until("both arrive", SOON, || sink.count() == 2);
}

#[test]
fn forged_mac_and_ip_addresses_are_dropped() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let friend = scene.friend();
    let other_macs = [friend.mac, scene.victim().mac, Mac([2, 0, 0, 0, 0, 0x99])];
    let frames: Vec<_> = other_macs
        .into_iter()
        .flat_map(|from_mac| [Route { from_mac, ..scene.honest() }, Route { from_mac, ..scene.honest_v6() }])
        .map(|route| route.udp(7, 9, FORGED))
        .collect();
    scene.assert_dropped("spoofed-mac", &frames);

    let others: [IpAddr; 6] = [
        friend.v4.into(),
        Node::V4.into(),
        [8, 8, 8, 8].into(),
        friend.v6.into(),
        Node::V6.into(),
        friend.link_local().into(),
    ];
    let frames: Vec<_> = others
        .into_iter()
        .map(|from| {
            if from.is_ipv4() {
                Route { from, ..scene.honest() }
            } else {
                Route { from, ..scene.honest_v6() }
            }
        })
        .map(|route| route.udp(7, 9, FORGED))
        .collect();
    scene.assert_dropped("spoofed-ip", &frames);
}

#[test]
fn forged_arp_is_dropped() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let (villain, victim, friend) = (scene.villain(), scene.victim(), scene.friend());
    let claim = |operation, address| Arp {
        operation,
        sender: (villain.mac, address),
        target: (victim.mac, victim.v4),
    };
    let mut frames = Vec::new();
    for operation in [1, 2] {
        // "Your friend is at my MAC address", "the node is", "I am nobody in particular".
        for address in [friend.v4, Node::V4, Ipv4Addr::new(10, 44, 77, 77)] {
            frames.push(claim(operation, address).frame(villain.mac, victim.mac));
            frames.push(claim(operation, address).frame(villain.mac, BROADCAST));
        }
        // The right address, at another one's MAC address.
        let lie = Arp { sender: (friend.mac, villain.v4), ..claim(operation, villain.v4) };
        frames.push(lie.frame(villain.mac, victim.mac));
    }
    scene.assert_dropped("spoofed-arp", &frames);
    assert_eq!(ping(&victim.space, friend.v4, "-c 2 -i 0.05 -W 2").lost(), 0);
    let neighbours = victim.space.sh("ip neigh show");
    let poisoned = format!("{:?}", villain.mac);
    assert!(!neighbours.contains(&poisoned) || neighbours.contains(&villain.v4.to_string()), "{neighbours}");
}

#[test]
fn forged_neighbour_discovery_is_dropped() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let (villain, victim, friend) = (scene.villain(), scene.victim(), scene.friend());
    let route = Route { from: villain.v6.into(), to: victim.v6.into(), ..scene.honest() };
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let to_all = Route { to_mac: Mac([0x33, 0x33, 0, 0, 0, 1]), to: all_nodes.into(), ..route };
    let mut frames = Vec::new();
    for target in [friend.v6, Node::V6, friend.link_local()] {
        frames.push(advertisement(&route, target, villain.mac));
        frames.push(advertisement(&to_all, target, villain.mac));
    }
    frames.push(advertisement(&route, villain.v6, friend.mac));
    // A router advertisement: whoever believes it sends everything to the villain.
    let own_link_local = villain.link_local().into();
    frames.push(router_advertisement(&Route { from: own_link_local, ..to_all }));
    scene.assert_dropped("spoofed-nd", &frames);
}

#[test]
fn frames_with_tags_of_the_pod_are_dropped() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let honest = scene.honest().udp(7, 9, FORGED);
    let victim_port = scene.gateway.instance.port_of("a/victim").port;
    let mut frames = Vec::new();
    for ethertype in [0x8100, 0x88a8] {
        // The victim's tag on the trunk, both passages; a priority tag; the highest VID.
        for tci in [victim_port, victim_port | 0x0800, 0, 0xe000, 0x0fff] {
            frames.push(tagged(&honest, ethertype, tci));
        }
        let inner = tagged(&honest, 0x8100, victim_port | 0x0800);
        frames.push(tagged(&inner, ethertype, 5));
    }
    scene.assert_dropped("vlan-tagged", &frames);
}

#[test]
fn what_is_neither_ip_nor_arp_is_dropped() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let honest = scene.honest().udp(7, 9, FORGED);
    // MPLS, PPPoE session, MACsec, LLDP, and a length (LLC).
    let frames = [0x8847_u16, 0x8864, 0x88e5, 0x88cc, 0x0030].map(|ethertype| {
        let mut frame = honest.clone();
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        frame
    });
    scene.assert_dropped("unknown-ethertype", &frames);
}
