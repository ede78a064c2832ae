//! The pod ends of bridge ports, and what is told as they come and go.
#![allow(missing_docs)]

mod common;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use common::Scratch;
use podgate_control::net::{AdminState, BridgeOptions, Event, Link, Monitor, Netlink, PodEnd, VethEnd};
use podgate_dataplane::mac::Mac;
use tokio::time::timeout;

/// A node with a bridge, and pods on it.
struct Node {
    netns: Scratch,
    netlink: Netlink,
    bridge: u32,
}

impl Node {
    async fn new() -> Self {
        let netns = Scratch::new();
        let netlink = Netlink::connect_in(&netns).expect("connected");
        netlink.create_bridge("cni0", &BridgeOptions::default()).await.expect("created");
        let bridge = netlink.link_named("cni0").await.expect("found").index;
        Self { netns, netlink, bridge }
    }

    async fn add_pod(&self, port: &str, mac: Mac, addresses: &[&str]) -> Scratch {
        let pod = Scratch::new();
        let near = VethEnd::new(port).up().mtu(1400).master(self.bridge);
        let far = VethEnd::new("eth0").up().mtu(1450).mac(mac).in_netns(&pod);
        self.netlink.create_veth(NonZeroU32::MIN, &near, &far).await.expect("created");
        let inside = Netlink::connect_in(&pod).expect("connected");
        let eth0 = inside.link_named("eth0").await.expect("found").index;
        for address in addresses {
            inside.add_address(eth0, address.parse().expect("a prefix")).await.expect("added");
        }
        pod
    }

    async fn port(&self, name: &str) -> Link {
        self.netlink.link_named(name).await.expect("found")
    }

    async fn end(&self, name: &str) -> PodEnd {
        let port = self.port(name).await;
        self.netlink.pod_end(&port).await.expect("looked at").expect("an end")
    }
}

fn v4(end: &PodEnd) -> Vec<String> {
    end.addresses.iter().filter(|address| address.is_ipv4()).map(IpAddr::to_string).collect()
}

#[tokio::test]
async fn the_pod_ends_of_a_bridge_are_found_from_outside() {
    let node = Node::new().await;
    let (a, b) = (Mac([2, 0, 0, 0, 0, 0xa]), Mac([2, 0, 0, 0, 0, 0xb]));
    let _pod_a = node.add_pod("veth-a", a, &["10.244.0.10/16", "10.244.0.11/32", "fd00::a/64"]).await;
    let _pod_b = node.add_pod("veth-b", b, &[]).await;
    // Neither in the bridge nor a veth in it is a pod's.
    node.netlink
        .create_veth(NonZeroU32::MIN, &VethEnd::new("free0"), &VethEnd::new("free1"))
        .await
        .expect("created");

    let ends = node.netlink.pod_ends(node.bridge).await.expect("found");
    let [first, second] = &ends[..] else { panic!("two pods, not {ends:?}") };
    let port = node.port("veth-a").await;
    assert_eq!((first.host_index, first.host_name.as_str()), (port.index, "veth-a"));
    assert_eq!((Some(first.host_mac), first.peer_mac, first.mtu), (port.mac, a, 1450));
    assert_eq!(v4(first), ["10.244.0.10", "10.244.0.11"]);
    assert!(first.addresses.contains(&"fd00::a".parse().expect("an address")));
    assert!(first.addresses.iter().any(|address| address.to_string().starts_with("fe80:")));
    assert_eq!((second.peer_mac, v4(second)), (b, vec![]));
    assert_ne!(first.peer.netns_id, second.peer.netns_id);
}

#[tokio::test]
async fn a_peer_in_the_same_namespace_has_only_its_own_addresses() {
    let node = Node::new().await;
    let near = VethEnd::new("uplink0").master(node.bridge);
    node.netlink.create_veth(NonZeroU32::MIN, &near, &VethEnd::new("uplink1")).await.expect("created");
    let far = node.port("uplink1").await;
    let (own, bridges) = ("10.1.0.1/24", "10.2.0.1/24");
    node.netlink.add_address(far.index, own.parse().expect("a prefix")).await.expect("added");
    node.netlink.add_address(node.bridge, bridges.parse().expect("a prefix")).await.expect("added");
    let end = node.end("uplink0").await;
    assert_eq!((Some(end.peer_mac), end.peer.netns_id), (far.mac, None));
    assert_eq!(end.addresses, ["10.1.0.1".parse::<IpAddr>().expect("an address")]);
}

#[tokio::test]
async fn a_pod_that_has_gone_is_no_error() {
    let node = Node::new().await;
    let pod = node.add_pod("veth-a", Mac([2, 0, 0, 0, 0, 0xa]), &["10.0.0.1/8"]).await;
    let port = node.port("veth-a").await;
    assert!(node.netlink.pod_end(&port).await.expect("looked at").is_some());
    node.netlink.delete_link(port.index).await.expect("deleted");
    assert_eq!(node.netlink.pod_end(&port).await.expect("looked at"), None);
    drop(pod);
    assert_eq!(node.netlink.pod_ends(node.bridge).await.expect("found"), []);
}

/// The next event that the test asks for; the others are passed over.
async fn expect<T>(monitor: &mut Monitor, wanted: impl Fn(&Event) -> Option<T>) -> T {
    let search = async {
        loop {
            let event = monitor.next().await.expect("the monitor goes on");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    timeout(Duration::from_secs(10), search).await.expect("told in time")
}

#[tokio::test]
async fn ports_are_told_as_they_come_change_and_go() {
    let node = Node::new().await;
    let before = node.add_pod("veth-a", Mac([2, 0, 0, 0, 0, 0xa]), &[]).await;
    let mut monitor = Monitor::start_in(&node.netns).expect("started");
    let mut there = Vec::new();
    loop {
        match monitor.next().await.expect("the monitor goes on") {
            Event::Appeared(link) => there.push(link.name),
            Event::Synced => break,
            other => panic!("{other:?}"),
        }
    }
    there.sort();
    assert_eq!(there, ["cni0", "lo", "veth-a"]);

    let _pod = node.add_pod("veth-b", Mac([2, 0, 0, 0, 0, 0xb]), &[]).await;
    let appeared = |event: &Event| match event {
        Event::Appeared(link) if link.name == "veth-b" => Some(link.clone()),
        _ => None,
    };
    let port = expect(&mut monitor, appeared).await;
    assert_eq!(port.master, Some(node.bridge));

    node.netlink.set_master(port.index, None).await.expect("set");
    let left = |event: &Event| match event {
        Event::Changed { before, now } if before.master.is_some() && now.master.is_none() => Some(now.index),
        _ => None,
    };
    assert_eq!(expect(&mut monitor, left).await, port.index);

    node.netlink.set_state(port.index, AdminState::Down).await.expect("set");
    let down = |event: &Event| match event {
        Event::Changed { now, .. } if now.state == AdminState::Down => Some(now.index),
        _ => None,
    };
    assert_eq!(expect(&mut monitor, down).await, port.index);

    // A pod ends as a whole: its namespace goes, and its port with it.
    drop(before);
    let removed = |event: &Event| match event {
        Event::Removed(link) => Some(link.name.clone()),
        _ => None,
    };
    assert_eq!(expect(&mut monitor, removed).await, "veth-a");
}

#[tokio::test]
async fn address_changes_in_pods_are_told_by_the_pods_own_index() {
    let node = Node::new().await;
    let pod = node.add_pod("veth-a", Mac([2, 0, 0, 0, 0, 0xa]), &["10.0.0.1/8"]).await;
    // Looking at the end gives its namespace the number that lets its notifications through.
    let end = node.end("veth-a").await;
    assert_eq!(v4(&end), ["10.0.0.1"]);
    let mut monitor = Monitor::start_in(&node.netns).expect("started");
    expect(&mut monitor, |event| (*event == Event::Synced).then_some(())).await;

    let inside = Netlink::connect_in(&pod).expect("connected");
    inside.add_address(end.peer.index, "10.0.0.2/8".parse().expect("a prefix")).await.expect("added");
    let changed = Event::AddressesChanged { index: end.peer.index };
    expect(&mut monitor, |event| (*event == changed).then_some(())).await;
    assert_eq!(v4(&node.end("veth-a").await), ["10.0.0.1", "10.0.0.2"]);
}
