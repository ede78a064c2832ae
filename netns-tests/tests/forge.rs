//! A pod with all capabilities tries to pass for a decided frame.

use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use podgate_netns_tests::foreign::{Foreign, pinned_config};
use podgate_netns_tests::frame::{Route, Wire};
use podgate_netns_tests::manifest::policy;
use podgate_netns_tests::traffic::{Sink, ping};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

const SOON: Duration = Duration::from_secs(5);
/// Word of the pinned configuration that holds the mark.
const MARK: usize = 3;

/// A pod that may not send anything, and wants to reach its node.
struct Scene {
    gateway: Gateway,
    node: Node,
}

impl Scene {
    fn new() -> Self {
        let node = Node::with_pods(&["a/villain", "b/other"]);
        let no_egress = policy("a/no-egress", "{podSelector: {}, policyTypes: [Egress]}");
        let gateway = Gateway::start(&node, &no_egress, &[]);
        let villain = &node.pod("a/villain").space;
        villain.sh("ip link add x0 type veth peer name x1");
        villain.sh("ip link set x0 up");
        villain.sh("ip link set x1 up");
        Self { gateway, node }
    }

    /// Sends ten frames by way of a program of the pod's own that marks them and puts them straight
    /// onto the node's side of its veth: the one way on which marks survive.
    fn send_marked(&self, mark: u32) {
        let villain = self.node.pod("a/villain");
        let way_out = villain.space.link("eth0")["ifindex"].as_u64().expect("a number") as u32;
        let _forger = Foreign::forger(&villain.space, "x1", way_out, mark);
        let bridge = self.node.space.link("cni0");
        let to_mac = podgate_netns_tests::pod::parse_mac(bridge["address"].as_str().expect("a MAC address"));
        let route = Route { from_mac: villain.mac, to_mac, from: villain.v4.into(), to: Node::V4.into() };
        let wire = Wire::open(&villain.space, "x0");
        for _ in 0..10 {
            wire.send(&route.udp(7, 9, b"forged"));
        }
    }

    /// By policy where there is no mark, and for the mark where there is one.
    fn denied(&self) -> u64 {
        let drops = self.gateway.instance.port_of("a/villain").drops;
        ["policy-egress", "forged-mark"].iter().filter_map(|&reason| drops.get(reason)).sum()
    }
}

#[test]
fn a_guessed_mark_opens_nothing_and_the_real_one_would() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let sink = Sink::open(&scene.node.space, 9, None);
    let config = pinned_config(&scene.gateway.pins());
    let secret = config[MARK];
    assert_ne!(secret, 0);
    // Neighbours in value, bits of it, what other software uses, and everything and nothing.
    let guesses = [
        0,
        1,
        u32::MAX,
        secret ^ 1,
        secret ^ (1 << 31),
        secret & 0xffff,
        secret << 16,
        !secret,
        secret.swap_bytes(),
        0x4000,
        0x8000,
        0x0f00,
        0x1234_5678,
    ];
    // And whatever else is in the configuration.
    for guess in guesses.into_iter().chain(config).filter(|&guess| guess != secret) {
        let before = scene.denied();
        scene.send_marked(guess);
        wait_until(
            &format!("guess {guess:#x} is denied; {:?}", scene.gateway.instance.port_of("a/villain")),
            SOON,
            || scene.denied() >= before + 10,
        );
    }
    assert_eq!(sink.count(), 0);
    // The test's own test: with the secret of this moment, which no pod can read, the same way is
    // open.
    let secret = pinned_config(&scene.gateway.pins())[MARK];
    scene.send_marked(secret);
    wait_until("the real mark passes", SOON, || sink.count() == 10);
}

#[test]
fn the_secret_changes_while_frames_pass() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::start(&node, "", &[]);
    let secret = || pinned_config(&gateway.pins())[MARK];
    let first = secret();
    let pinged = ping(&node.pod("a/client").space, node.pod("a/server").v4, "-c 600 -i 0.005 -W 2");
    assert_eq!(pinged.lost(), 0, "{pinged:?}");
    assert_ne!(secret(), first);
}

#[test]
fn the_secret_is_another_one_after_every_start() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/one"]);
    let mut gateway = Gateway::start(&node, "", &[]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let config = pinned_config(&gateway.pins());
        seen.push(config[MARK]);
        gateway.end(nix::sys::signal::Signal::SIGKILL);
        gateway.launch();
        wait_until("a new start draws anew", SOON, || {
            gateway.instance.try_status().is_some() && pinned_config(&gateway.pins())[MARK] != config[MARK]
        });
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:x?}");
}

#[test]
fn a_socket_with_a_mark_opens_nothing() {
    let _turn = Turn::shared();
    let scene = Scene::new();
    let villain = scene.node.pod("a/villain");
    let sink = Sink::open(&scene.node.space, 9, None);
    let secret = pinned_config(&scene.gateway.pins())[MARK];
    // Even the real one: the kernel clears marks on the way out of a namespace.
    for mark in [secret, 1, u32::MAX] {
        let socket = villain.space.run(|| std::net::UdpSocket::bind("0.0.0.0:0")).expect("a socket");
        setsockopt(&socket, sockopt::Mark, &mark).expect("a pod with CAP_NET_ADMIN may set marks");
        let before = scene.denied();
        for _ in 0..5 {
            let _ = socket.send_to(b"forged", (Node::V4, 9));
        }
        wait_until(&format!("mark {mark:#x} is denied"), SOON, || scene.denied() > before);
    }
    assert_eq!(sink.count(), 0);
}
