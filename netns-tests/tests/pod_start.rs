//! A new pod is closed both ways, whatever comes first, until all of it is there; then policy holds.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::node::NODE_NAME;
use podgate_netns_tests::traffic::{ALLOWED_WITHIN, DENIED_AFTER, Talker, ping};
use podgate_netns_tests::{Gateway, Node, Pod, Space, Turn, wait_until};

const NEW_V4: Ipv4Addr = Ipv4Addr::new(10, 44, 1, 1);
const NEW_V6: Ipv6Addr = Ipv6Addr::new(0xfd44, 0, 0, 0, 0, 0, 1, 1);

/// `shop/new` takes UDP 80 from `shop/peer` only, and may ask anybody.
fn rights() -> String {
    policy(
        "shop/new",
        "{podSelector: {matchLabels: {app: new}}, ingress: [{from: [{podSelector: {matchLabels: {app: peer}}}], \
         ports: [{protocol: UDP, port: 80}]}]}",
    )
}

/// The manifests of the node without the new pod, or with it and these addresses.
fn manifests(node: &Node, new: Option<&[IpAddr]>) -> String {
    let others = node.pods.iter().filter(|pod| pod.key != "shop/new");
    let mut text = manifest::node(NODE_NAME, &[Node::V4.into(), Node::V6.into()]);
    text += &manifest::namespace("shop");
    text.extend(others.map(|pod| manifest::Pod::of(pod, NODE_NAME).to_string()));
    if let Some(addresses) = new {
        let pod = manifest::Pod::new("shop/new", NODE_NAME);
        text += &addresses.iter().copied().fold(pod, manifest::Pod::address).to_string();
    }
    text
}

/// Gives the new pod's device its addresses.
fn address(pod: &Pod) {
    pod.space.ip_batch(&format!("addr add {NEW_V4}/16 dev eth0\naddr add {NEW_V6}/64 dev eth0 nodad\n"));
}

/// A peer that speaks and listens all the time, whatever there is of the new pod.
struct Peer {
    asks: Talker,
    asked: Talker,
    addresses: [IpAddr; 2],
}

impl Peer {
    fn of(node: &Node) -> Self {
        let pod = node.pod("shop/peer");
        let [asks, asked] = [5000, 90].map(|port| Talker::open(&pod.space, port));
        Self { asks, asked, addresses: pod.addresses() }
    }

    fn speak(&self) {
        for port in [80, 81] {
            self.asks.say(port as u8, NEW_V4, port);
            self.asks.say(port as u8 + 100, NEW_V6, port);
        }
    }
}

/// The new pod's side.
struct New {
    asks: Talker,
    asked: [Talker; 2],
}

impl New {
    fn of(space: &Space) -> Self {
        Self { asks: Talker::open(space, 5000), asked: [80, 81].map(|port| Talker::open(space, port)) }
    }

    /// What either has heard of the other, the new one's part first, when both have spoken for a while.
    fn exchange(&self, peer: &Peer, heard: &mut [BTreeSet<u8>; 2]) {
        peer.speak();
        for (word, address) in (1..).zip(peer.addresses) {
            self.asks.say(word, address, 90);
        }
        heard[0].extend(self.asked.iter().flat_map(Talker::heard));
        heard[1].extend(peer.asked.heard());
    }

    #[track_caller]
    fn is_closed(&self, peer: &Peer, when: &str) {
        let (start, mut heard) = (std::time::Instant::now(), <[BTreeSet<u8>; 2]>::default());
        wait_until("some time has passed", ALLOWED_WITHIN, || {
            self.exchange(peer, &mut heard);
            start.elapsed() > DENIED_AFTER
        });
        assert_eq!(heard, <[BTreeSet<u8>; 2]>::default(), "{when}");
    }

    /// Open as its policy says, and not further.
    #[track_caller]
    fn is_open(&self, peer: &Peer, when: &str) {
        let mut heard = <[BTreeSet<u8>; 2]>::default();
        let expected = [BTreeSet::from([80, 180]), BTreeSet::from([1, 2])];
        wait_until(when, ALLOWED_WITHIN, || {
            self.exchange(peer, &mut heard);
            expected.iter().zip(&heard).all(|(expected, heard)| expected.is_subset(heard))
        });
        for _ in 0..20 {
            self.exchange(peer, &mut heard);
        }
        assert_eq!(heard, expected, "{when}");
    }
}

#[track_caller]
fn wait_for_port(gateway: &Gateway, device: &str) {
    wait_until("the new port is guarded", ALLOWED_WITHIN, || {
        gateway.instance.status().ports.iter().any(|port| port.device == device)
    });
}

#[test]
fn the_port_comes_before_the_manifest() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["shop/peer"]);
    let gateway = Gateway::start(&node, &rights(), &[]);
    let peer = Peer::of(&node);
    let at = node.plug_in("shop/new", NEW_V4, NEW_V6);
    let pod = &node.pods[at];
    wait_for_port(&gateway, &pod.port);
    let new = New::of(&pod.space);
    // A device that has an address of its own making only.
    assert_eq!(ping(&pod.space, node.pods[0].link_local(), "-c 1 -W 0.4 -I eth0").received, 0);
    new.is_closed(&peer, "neither address nor manifest");
    address(pod);
    new.is_closed(&peer, "no manifest");
    gateway.write("cluster.yaml", &manifests(&node, Some(&[])));
    new.is_closed(&peer, "a manifest without an address");
    let port = |name: &str| gateway.instance.status().ports.into_iter().find(|port| port.device == name);
    assert_eq!(port(&pod.port).and_then(|port| port.pod), None);
    assert!(gateway.instance.status().drops["unknown-endpoint"] > 0);
    assert_eq!(gateway.instance.status().time_to_policy, None);

    gateway.write("cluster.yaml", &manifests(&node, Some(&[NEW_V4.into(), NEW_V6.into()])));
    new.is_open(&peer, "all is there");
    assert_eq!(ping(&pod.space, node.pods[0].link_local(), "-c 1 -W 2 -I eth0").received, 1);
    let status = gateway.instance.status();
    let took = status.ports.iter().find_map(|port| port.time_to_policy_ms).expect("it was timed");
    let all = status.time_to_policy.expect("one was timed");
    assert_eq!(all.pods, 1);
    assert!(took > 0.0 && took < 5000.0 && (all.max_ms - took).abs() < 1.0, "{took} {all:?}");
    // The peer was there from the start.
    assert_eq!(status.ports.iter().filter(|port| port.time_to_policy_ms.is_some()).count(), 1);
}

#[test]
fn the_manifest_comes_before_the_port_and_the_port_before_its_address() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["shop/peer"]);
    let gateway = Gateway::start(&node, &rights(), &[]);
    let peer = Peer::of(&node);
    let epoch = gateway.instance.status().epoch;
    gateway.write("cluster.yaml", &manifests(&node, Some(&[NEW_V4.into(), NEW_V6.into()])));
    wait_until("the manifest is known", ALLOWED_WITHIN, || gateway.instance.status().epoch > epoch);
    peer.speak();
    let at = node.plug_in("shop/new", NEW_V4, NEW_V6);
    let pod = &node.pods[at];
    wait_for_port(&gateway, &pod.port);
    let new = New::of(&pod.space);
    assert_eq!(ping(&pod.space, node.pods[0].link_local(), "-c 1 -W 0.4 -I eth0").received, 0);
    // An address that no manifest gives it, as from a router's advertisement.
    pod.space.sh("ip addr add fd44::77/64 dev eth0 nodad");
    new.is_closed(&peer, "another address than its own");
    address(pod);
    new.is_open(&peer, "its address is there");
    assert_eq!(gateway.instance.status().time_to_policy.map(|all| all.pods), Some(1));
}

/// A port that is not guarded yet is as one that never is, for others: an address out of the node's range
/// that no pod is known for is closed at the guarded end.
#[test]
fn before_its_port_is_guarded_it_reaches_no_pod() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["shop/peer"]);
    let at = node.plug_in("shop/new", NEW_V4, NEW_V6);
    let pod = &node.pods[at];
    address(pod);
    let ranges = |text: String| {
        text.replace(
            "status:\n  addresses:\n",
            "spec: {podCIDR: 10.44.0.0/16, podCIDRs: [10.44.0.0/16, 'fd44::/64']}\nstatus:\n  addresses:\n",
        )
    };
    let gateway = Gateway::prepare(&node, "", &["--except", &pod.port]);
    gateway.write("cluster.yaml", &ranges(manifests(&node, None)));
    let mut gateway = gateway;
    gateway.launch();
    gateway.instance.wait_for_pods(["shop/peer"]);
    let (peer, new) = (Peer::of(&node), New::of(&pod.space));
    new.is_closed(&peer, "in the range of the node's pods, and unknown");
    let drops = gateway.instance.status().drops;
    assert!(drops["unknown-endpoint"] > 0, "{drops:?}");
    // The node itself is no pod, though its addresses are in the range.
    assert_eq!(ping(&node.space, node.pods[0].v4, "-c 2 -i 0.05 -W 2").lost(), 0);
    assert_eq!(ping(&node.pods[0].space, Node::V6, "-c 2 -i 0.05 -W 2").lost(), 0);
    // Without the range, it is somebody outside.
    gateway.write("cluster.yaml", &manifests(&node, None));
    let mut heard = <[BTreeSet<u8>; 2]>::default();
    wait_until("anybody reaches a pod that nothing isolates", ALLOWED_WITHIN, || {
        new.exchange(&peer, &mut heard);
        heard.iter().all(|heard| heard.len() >= 2)
    });
}
