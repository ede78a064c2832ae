//! The trunk is the gateway's own: who could write to its far side could deliver unfiltered frames.

use std::time::Duration;

use podgate_dataplane::mac::Mac;
use podgate_netns_tests::frame::{Route, Wire, tagged};
use podgate_netns_tests::manifest::deny_ingress;
use podgate_netns_tests::traffic::Sink;
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

/// Devices of the node that a trunk consists of.
fn trunks(node: &Node) -> Vec<String> {
    let links = node.space.sh("ip -o link");
    let names = links.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next());
    names.filter(|name| name.starts_with("pg")).map(str::to_owned).collect()
}

#[test]
fn the_far_side_is_in_no_namespace_that_anybody_else_has() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/one"]);
    let gateway = Gateway::start(&node, "", &["--workers", "2"]);
    let near = trunks(&node);
    assert_eq!(near.len(), 2, "a normal and a heavy lane: {near:?}");
    for name in &near {
        assert!(name.ends_with('0'), "{name}: only the kernel's side is here");
        let link = node.space.link(name);
        let peer = link["link_netnsid"].as_i64().expect("its peer is in another namespace");
        assert_ne!(link["link_netnsid"], node.space.link(&node.pod("a/one").port)["link_netnsid"]);
        let named = node.space.sh("ip -j netns list-id");
        let ids: serde_json::Value = serde_json::from_str(&named).expect("JSON");
        let entry = ids.as_array().into_iter().flatten().find(|entry| entry["nsid"] == peer);
        assert!(entry.is_none_or(|entry| entry["name"].is_null()), "{named}");
        // A full ring pushes back instead of dropping.
        let qdiscs = node.space.sh(&format!("tc qdisc show dev {name}"));
        assert_eq!(qdiscs.matches("pfifo").count(), 2, "{qdiscs}");
        assert!(qdiscs.contains("limit 1000p"), "{qdiscs}");
    }
    let far = podgate_control::net::Netns::open_at(
        &gateway.run_dir().join(&gateway.instance.name).join("trunk.netns"),
    );
    let inside = far.expect("the trunk's namespace").run(|| {
        std::fs::read_dir("/proc/thread-self/net/dev_snmp6")
            .expect("devices")
            .flatten()
            .map(|entry| entry.file_name().into_string().expect("a name"))
            .collect::<Vec<_>>()
    });
    let inside = inside.expect("it can be entered by root");
    assert!(inside.iter().all(|name| name == "lo" || name.ends_with('1')), "{inside:?}");
}

#[test]
fn what_the_node_writes_to_its_side_is_not_delivered() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/one", "shut/two"]);
    let gateway = Gateway::start(&node, &deny_ingress("shut/deny-all"), &[]);
    let two = node.pod("shut/two");
    let sink = Sink::open(&two.space, 9, None);
    let port = gateway.instance.port_of("shut/two").port;
    // As if it were decided: tagged for delivery to the closed pod, from a pod of this node.
    let forged = Route {
        from_mac: Mac([2, 0, 0, 0, 0, 1]),
        to_mac: two.mac,
        from: node.pod("a/one").v4.into(),
        to: two.v4.into(),
    };
    let frame = tagged(&forged.udp(7, 9, b"forged"), 0x8100, port | 0x0800);
    let before = gateway.instance.status().workers[0].received;
    for trunk in trunks(&node) {
        let wire = Wire::open(&node.space, &trunk);
        for _ in 0..10 {
            wire.send(&frame);
        }
    }
    wait_until("the frames went up to the workers instead", Duration::from_secs(5), || {
        gateway.instance.status().workers[0].received >= before + 20
    });
    assert_eq!(sink.settled(Duration::from_millis(200)), 0);
}
