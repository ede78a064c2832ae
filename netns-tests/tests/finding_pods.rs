//! Which pod is behind a port is told by the kernel and the manifests, and is so once: what a pod does to its own
//! addresses and devices takes nothing from others and gives it nothing.

use std::net::{IpAddr, Ipv4Addr};

use nix::sys::signal::Signal;
use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::node::BRIDGE;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, DENIED_AFTER, Reach, Server, ask_udp, ping, reach, reach_within, reaches_udp,
};
use podgate_netns_tests::{Gateway, Node, Space, Turn, wait_until};

const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 44, 77, 7);

/// `a/owner` takes connections from `a/client` only; `a/thief` may be asked by nobody.
fn rights() -> String {
    policy(
        "a/owner",
        "{podSelector: {matchLabels: {app: owner}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}",
    ) + &policy("a/thief", "{podSelector: {matchLabels: {app: thief}}, policyTypes: [Ingress]}")
}

fn node() -> Node {
    Node::with_pods(&["a/client", "a/owner", "a/thief"])
}

/// With a pod on another node.
fn manifest(node: &Node) -> String {
    node.manifest() + &manifest::Pod::new("a/remote", "node-2").address(REMOTE.into()).to_string()
}

fn start(node: &Node) -> Gateway {
    let mut gateway = Gateway::prepare(node, &rights(), &[]);
    gateway.write("cluster.yaml", &manifest(node));
    gateway.launch();
    gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    gateway
}

/// Everybody is who they were: the owner answers its client, and nobody else gets to the owner or the thief.
#[track_caller]
fn assert_nothing_gained(node: &Node, gateway: &Gateway, when: &str) {
    let (client, owner, thief) = (node.pod("a/client"), node.pod("a/owner"), node.pod("a/thief"));
    let _servers = [Server::start(owner, 80), Server::start(thief, 80)];
    client.space.sh("ip neigh flush dev eth0");
    for to in owner.addresses() {
        wait_until("the owner answers", ALLOWED_WITHIN, || {
            ask_udp(&client.space, to, 80, ALLOWED_WITHIN).as_deref() == Some("a/owner\n")
        });
    }
    assert_ne!(reach_within(&client.space, thief.v4, 80, DENIED_AFTER), Reach::Connected, "{when}");
    for pod in ["a/client", "a/owner"] {
        assert_eq!(gateway.instance.port_of(pod).device, node.pod(pod).port, "{when}");
    }
}

/// Asks from an address that is not its own: nothing comes back, and it is counted.
#[track_caller]
fn assert_spoofing_fails(node: &Node, gateway: &Gateway, from: IpAddr, to: IpAddr) {
    let spoofed = || -> u64 {
        let ports = gateway.instance.status().ports;
        let port = ports.into_iter().find(|port| port.device == node.pod("a/thief").port).expect("its port");
        port.drops.iter().filter(|(reason, _)| reason.starts_with("spoofed")).map(|(_, count)| count).sum()
    };
    let before = spoofed();
    let thief = &node.pod("a/thief").space;
    assert_eq!(ping(thief, to, &format!("-c 2 -i 0.1 -W 0.4 -I {from}")).received, 0, "from {from}");
    assert!(spoofed() > before, "from {from}");
}

#[track_caller]
fn wait_for_alarm(gateway: &Gateway, parts: &[&str]) {
    wait_until(&format!("an alarm says {parts:?}"), ALLOWED_WITHIN, || {
        let alarms = gateway.instance.status().alarms;
        alarms.iter().any(|alarm| parts.iter().all(|part| alarm.contains(part)))
    });
}

#[test]
fn the_address_of_another_local_pod_stays_that_pods() {
    let _turn = Turn::shared();
    let node = node();
    let mut gateway = start(&node);
    let (client, owner, thief) = (node.pod("a/client"), node.pod("a/owner"), node.pod("a/thief"));
    thief
        .space
        .ip_batch(&format!("addr add {}/16 dev eth0\naddr add {}/64 dev eth0 nodad\n", owner.v4, owner.v6));
    let parts = [thief.port.as_str(), "a/thief", "a/owner", owner.port.as_str(), "10.44.0.11"];
    wait_for_alarm(&gateway, &parts);
    assert_spoofing_fails(&node, &gateway, owner.v4.into(), client.v4.into());
    assert_spoofing_fails(&node, &gateway, owner.v6.into(), client.v6.into());
    assert_nothing_gained(&node, &gateway, "while it runs");
    // After a crash, two ports have the address. The one that was its keeps it.
    for (signal, own) in
        [(Signal::SIGKILL, "both"), (Signal::SIGKILL, "only the other's"), (Signal::SIGTERM, "")]
    {
        gateway.end(signal);
        if own == "only the other's" {
            thief.space.ip_batch(&format!(
                "addr del {}/16 dev eth0\naddr del {}/64 dev eth0\naddr replace {}/16 dev eth0\n",
                thief.v4, thief.v6, owner.v4
            ));
        }
        gateway.launch();
        gateway.instance.wait_for_pods(["a/client", "a/owner"]);
        assert_nothing_gained(&node, &gateway, own);
        assert_eq!(ping(&thief.space, client.v4, &format!("-c 1 -W 0.4 -I {}", owner.v4)).received, 0);
    }
    wait_for_alarm(&gateway, &[thief.port.as_str(), "a/owner", "a/thief"]);
}

#[test]
fn the_addresses_of_a_remote_pod_and_of_the_node_are_nothing_to_take() {
    let _turn = Turn::shared();
    let node = node();
    let gateway = start(&node);
    let (client, thief) = (node.pod("a/client"), node.pod("a/thief"));
    thief.space.ip_batch(&format!("addr add {REMOTE}/16 dev eth0\naddr add {}/16 dev eth0\n", Node::V4));
    wait_for_alarm(&gateway, &[&thief.port, "a/thief", &REMOTE.to_string()]);
    assert_spoofing_fails(&node, &gateway, REMOTE.into(), client.v4.into());
    assert_spoofing_fails(&node, &gateway, Node::V4.into(), client.v4.into());
    // Who asks for the node's address gets the node's answer.
    client.space.sh("ip neigh flush dev eth0");
    let _at_node = Server::start_in(&node.space, "node", 81);
    let _at_thief = Server::start(thief, 81);
    assert_eq!(ask_udp(&client.space, Node::V4, 81, ALLOWED_WITHIN).as_deref(), Some("node\n"));
    assert_eq!(ask_udp(&client.space, REMOTE, 81, DENIED_AFTER), None);
    assert_nothing_gained(&node, &gateway, "with the addresses of others elsewhere");
    thief.space.ip_batch(&format!("addr del {REMOTE}/16 dev eth0\naddr del {}/16 dev eth0\n", Node::V4));
    wait_until("the alarm goes", ALLOWED_WITHIN, || gateway.instance.status().alarms.is_empty());
}

#[test]
fn a_pod_without_its_own_address_is_still_that_pod() {
    let _turn = Turn::shared();
    let node = node();
    let mut gateway = start(&node);
    let owner = node.pod("a/owner");
    owner.space.sh(&format!("ip addr del {}/16 dev eth0", owner.v4));
    assert!(!reaches_udp(&node.pod("a/client").space, owner.v4, 80, DENIED_AFTER));
    assert_eq!(gateway.instance.port_of("a/owner").device, owner.port);
    // Somebody else takes it up: it is not free.
    let thief = node.pod("a/thief");
    thief.space.sh(&format!("ip addr add {}/16 dev eth0", owner.v4));
    let server = Server::start(thief, 80);
    node.pod("a/client").space.sh("ip neigh flush dev eth0");
    assert_eq!(ask_udp(&node.pod("a/client").space, owner.v4, 80, DENIED_AFTER), None);
    gateway.end(Signal::SIGKILL);
    gateway.launch();
    gateway.instance.wait_for_pods(["a/client", "a/owner"]);
    assert_eq!(ask_udp(&node.pod("a/client").space, owner.v4, 80, DENIED_AFTER), None);
    thief.space.sh(&format!("ip addr del {}/16 dev eth0", owner.v4));
    owner.space.sh(&format!("ip addr add {}/16 dev eth0", owner.v4));
    drop(server);
    assert_nothing_gained(&node, &gateway, "with its address back");
}

#[test]
fn a_pod_in_a_nested_namespace_is_still_that_pod() {
    let _turn = Turn::shared();
    let node = node();
    let mut gateway = start(&node);
    let (client, owner, thief) = (node.pod("a/client"), node.pod("a/owner"), node.pod("a/thief"));
    let nested = Space::create(&format!("{}-in", thief.space.name()));
    thief.space.sh(&format!("ip link set eth0 netns {}", nested.name()));
    let addresses = |v4: Ipv4Addr| format!("link set eth0 up\naddr add {v4}/16 dev eth0\n");
    nested.ip_batch(&addresses(thief.v4));
    let _server = Server::start(client, 80);
    for round in 0..2 {
        // With its own address it has its own rights, ...
        assert_eq!(reach(&nested, client.v4, 80), Reach::Connected, "round {round}");
        assert_ne!(reach_within(&nested, owner.v4, 80, DENIED_AFTER), Reach::Connected, "round {round}");
        assert!(!reaches_udp(&client.space, thief.v4, 80, DENIED_AFTER));
        // ... and with another's none.
        nested.ip_batch(&format!("addr flush dev eth0 scope global\naddr add {}/16 dev eth0\n", owner.v4));
        assert_eq!(ping(&nested, client.v4, "-c 1 -W 0.4").received, 0, "round {round}");
        nested.ip_batch(&format!("addr flush dev eth0 scope global\naddr add {}/16 dev eth0\n", thief.v4));
        assert_eq!(gateway.instance.port_of("a/thief").device, thief.port);
        gateway.end(Signal::SIGKILL);
        gateway.launch();
        gateway.instance.wait_for_pods(["a/client", "a/owner", "a/thief"]);
    }
}

#[test]
fn of_two_namespaces_with_one_address_the_first_keeps_it_and_of_two_unknown_ones_neither_gets_it() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["a/client", "a/owner"]);
    let twin = |node: &mut Node| {
        let owner = node.pod("a/owner").addresses();
        let at = node.attach("a/twin", &owner);
        node.pods.remove(at)
    };
    let only_two = node.manifest();
    let mut gateway = Gateway::start(&node, "", &[]);
    let second = twin(&mut node);
    let owner_port = node.pod("a/owner").port.clone();
    wait_for_alarm(&gateway, &[&second.port, "a/owner", &owner_port]);
    let asked = |node: &Node| {
        node.pod("a/client").space.sh("ip neigh flush dev eth0");
        ask_udp(&node.pod("a/client").space, node.pod("a/owner").v4, 80, DENIED_AFTER)
    };
    let servers = [Server::start(node.pod("a/owner"), 80), Server::start_in(&second.space, "twin", 80)];
    for _ in 0..5 {
        assert_eq!(asked(&node).as_deref(), Some("a/owner\n"));
    }
    // Nothing is known of which was first.
    gateway.end(Signal::SIGTERM);
    gateway.detach();
    gateway.write("cluster.yaml", &only_two);
    gateway.launch();
    gateway.instance.wait_for_pods(["a/client"]);
    wait_for_alarm(&gateway, &[&owner_port, &second.port, "a/owner"]);
    assert_eq!(asked(&node), None);
    node.space.sh(&format!("ip link del {}", second.port));
    gateway.instance.wait_for_pods(["a/client", "a/owner"]);
    wait_until("the one that is left answers", ALLOWED_WITHIN, || {
        asked(&node).as_deref() == Some("a/owner\n")
    });
    assert!(node.space.sh(&format!("ip -o link show master {BRIDGE}")).contains(&owner_port));
    drop(servers);
}
