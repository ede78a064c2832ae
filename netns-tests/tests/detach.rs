//! After a detach the box is as it was.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use podgate_netns_tests::foreign::{Foreign, Hook, chain};
use podgate_netns_tests::traffic::{Reach, Server, reach};
use podgate_netns_tests::{Footprint, Gateway, Node, Turn};

/// A node with all sorts of things on its ports that are none of the gateway's business.
fn furnished() -> (Node, Foreign) {
    let node = Node::with_pods(&["a/one", "a/two"]);
    let (one, two) = (&node.pod("a/one").port, &node.pod("a/two").port);
    node.space.sh(&format!("tc qdisc add dev {one} root tbf rate 100mbit burst 64kb latency 50ms"));
    node.space.sh(&format!("tc qdisc add dev {two} clsact"));
    node.space
        .sh(&format!("tc filter add dev {two} ingress prio 7 protocol ip u32 match u32 0 0 flowid 1:1"));
    node.space.sh(&format!("bridge link set dev {one} hairpin on"));
    node.space.sh(&format!("bridge link set dev {two} isolated off learning on"));
    let foreign = Foreign::ahead(&node.space, one, Hook::Egress, "clear_mark");
    (node, foreign)
}

fn left_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

fn mounts_below(dir: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    let dir = dir.display().to_string();
    mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect()
}

#[test]
fn detach_leaves_the_box_as_it_was() {
    let _turn = Turn::shared();
    let (node, _foreign) = furnished();
    let before = Footprint::of(&node.space);
    let mut gateway = Gateway::start(&node, "", &[]);
    let _server = Server::start(node.pod("a/two"), 80);
    assert_eq!(reach(&node.pod("a/one").space, node.pod("a/two").v4, 80), Reach::Connected);
    assert!(before != Footprint::of(&node.space), "it is attached");
    assert_eq!(chain(&node.space, &node.pod("a/one").port, Hook::Egress), ["to_pod", "clear_mark"]);

    assert_eq!(gateway.end(Signal::SIGTERM).code(), Some(0));
    assert!(!chain(&node.space, &node.pod("a/one").port, Hook::Ingress).is_empty(), "held by default");
    let pins = gateway.pins();
    gateway.detach();
    before.assert_same(&Footprint::of(&node.space));
    assert!(!pins.exists(), "{}", pins.display());
    assert_eq!(left_in(&gateway.run_dir()), Vec::<String>::new());
    assert_eq!(mounts_below(&gateway.run_dir()), Vec::<String>::new());
    assert_eq!(reach(&node.pod("a/one").space, node.pod("a/two").v4, 80), Reach::Connected);
    gateway.detach();
}

#[test]
fn told_to_detach_on_exit_it_does() {
    let _turn = Turn::shared();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (node, _foreign) = furnished();
        let before = Footprint::of(&node.space);
        let mut gateway = Gateway::start(&node, "", &["--on-exit", "detach", "--workers", "2"]);
        assert_eq!(gateway.end(signal).code(), Some(0), "{}", gateway.log());
        before.assert_same(&Footprint::of(&node.space));
        assert_eq!(left_in(&gateway.run_dir()), Vec::<String>::new());
    }
}

#[test]
fn after_a_kill_detach_cleans_up_too() {
    let _turn = Turn::shared();
    let (node, _foreign) = furnished();
    let before = Footprint::of(&node.space);
    let mut gateway = Gateway::start(&node, "", &[]);
    gateway.end(Signal::SIGKILL);
    gateway.detach();
    before.assert_same(&Footprint::of(&node.space));
    assert_eq!(left_in(&gateway.run_dir()), Vec::<String>::new());
    assert_eq!(mounts_below(&gateway.run_dir()), Vec::<String>::new());
}

#[test]
fn an_error_half_way_undoes_what_was_done() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/one", "a/two"]);
    let before = Footprint::of(&node.space);
    let mut gateway = Gateway::prepare(&node, "", &[]);
    // In the way of its socket, which comes after both ports: neither must stay guarded.
    std::fs::create_dir_all(gateway.socket()).expect("a directory");
    gateway.launch();
    let status = gateway.wait_for_end();
    assert_eq!(status.code(), Some(2), "{}", gateway.log());
    let log = gateway.log();
    for part in ["guarding device", &gateway.socket().display().to_string()] {
        assert!(log.contains(part), "{part} in: {log}");
    }
    before.assert_same(&Footprint::of(&node.space));
    assert_eq!(left_in(&gateway.run_dir()), Vec::<String>::new());
}
