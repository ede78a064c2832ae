//! Tunnels from pods to node addresses: what the node would unwrap carries a source of the pod's
//! own choice.

use std::time::Duration;

use etherparse::IpNumber;
use podgate_netns_tests::frame::{Route, Wire};
use podgate_netns_tests::pod::parse_mac;
use podgate_netns_tests::traffic::{DENIED_AFTER, Server, ask_udp, ping};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

const SOON: Duration = Duration::from_secs(5);

/// Frames that a node might unwrap: VXLAN, its old port, Geneve, WireGuard, IPIP, 6in4, GRE.
fn tunnels(node: &Node, v6: bool) -> Vec<(&'static str, Vec<u8>)> {
    let pod = node.pod("a/pod");
    let bridge = node.space.link("cni0");
    let to_mac = parse_mac(bridge["address"].as_str().expect("a MAC address"));
    let v4 = Route { from_mac: pod.mac, to_mac, from: pod.v4.into(), to: Node::V4.into() };
    let route = if v6 { Route { from: pod.v6.into(), to: Node::V6.into(), ..v4 } } else { v4 };
    let inner = Route { from: [10, 44, 0, 77].into(), ..v4 }.udp(7, 9, b"inner");
    let mut vxlan = vec![8, 0, 0, 0, 0, 0, 1, 0];
    vxlan.extend(&inner);
    let mut geneve = vec![0, 0, 0x65, 0x58, 0, 0, 1, 0];
    geneve.extend(&inner);
    let mut gre = vec![0, 0, 0x65, 0x58];
    gre.extend(&inner);
    vec![
        ("VXLAN", route.udp(40000, 4789, &vxlan)),
        ("VXLAN on Flannel's port", route.udp(40000, 8472, &vxlan)),
        ("Geneve", route.udp(40000, 6081, &geneve)),
        ("WireGuard", route.udp(40000, 51820, &[1; 148])),
        ("IPIP", route.packet(IpNumber::IPV4, &inner[14..])),
        ("IPv6 in IP", route.packet(IpNumber::IPV6, &[0x60; 60])),
        ("GRE", route.packet(IpNumber::GRE, &gre)),
    ]
}

#[test]
fn tunnels_to_the_node_are_dropped() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/pod", "a/other"]);
    let gateway = Gateway::start(&node, "", &[]);
    let pod = node.pod("a/pod");
    let (wire, ear) = (Wire::open(&pod.space, "eth0"), Wire::open(&node.space, "cni0"));
    for v6 in [false, true] {
        for (kind, frame) in tunnels(&node, v6) {
            let before = gateway.drops(pod, "tunnel-to-node");
            wire.send(&frame);
            wait_until(&format!("{kind} (IPv6: {v6}) is dropped"), SOON, || {
                gateway.drops(pod, "tunnel-to-node") == before + 1
            });
        }
    }
    let inner = |frame: &[u8]| frame.windows(5).any(|part| part == b"inner").then_some(());
    assert!(ear.find(Duration::from_millis(100), inner).is_none());
}

#[test]
fn what_a_vxlan_device_would_unwrap_does_not_arrive() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/pod", "a/other"]);
    node.space.sh("ip link add vx0 type vxlan id 1 dstport 4789 local 10.44.0.1 dev cni0");
    node.space.sh("ip link set vx0 up");
    node.space.sh("ip addr add 10.55.0.1/24 dev vx0");
    let pod = &node.pod("a/pod").space;
    pod.sh("ip link add vx0 type vxlan id 1 dstport 4789 remote 10.44.0.1 dev eth0");
    pod.sh("ip link set vx0 up");
    pod.sh("ip addr add 10.55.0.2/24 dev vx0");
    let gateway = Gateway::start(&node, "", &[]);
    assert_eq!(ping(pod, [10, 55, 0, 1], "-c 1 -W 0.5").received, 0);
    drop(gateway);
    let gateway = Gateway::start(&node, "", &["--tunnels-to-nodes", "allow"]);
    assert_eq!(ping(pod, [10, 55, 0, 1], "-c 2 -i 0.1 -W 5").lost(), 0, "the operator's choice");
    assert_eq!(gateway.drops(node.pod("a/pod"), "tunnel-to-node"), 0);
}

#[test]
fn tunnels_between_pods_are_their_own_business() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/pod", "a/other"]);
    let _gateway = Gateway::start(&node, "", &[]);
    let _server = Server::start(node.pod("a/other"), 4789);
    assert!(ask_udp(&node.pod("a/pod").space, node.pod("a/other").v4, 4789, SOON).is_some());
    // To the node, any other UDP port is as open as ever.
    let _server = Server::start_in(&node.space, "node", 4790);
    assert!(ask_udp(&node.pod("a/pod").space, Node::V4, 4790, SOON).is_some());
    assert!(ask_udp(&node.pod("a/pod").space, Node::V4, 4789, DENIED_AFTER).is_none());
}
