//! Devices, queues and features, as the kernel and the usual tools see them.
#![allow(missing_docs)]

mod common;

use std::num::NonZeroU32;

use common::Scratch;
use podgate_control::net::{
    AdminState, BridgeOptions, Ethtool, LinkKind, NapiChange, NapiThread, Napis, NetError, Netlink, Pfifo,
    Queueing, Route, Snooping, Switch, VethEnd, offload,
};
use podgate_dataplane::mac::Mac;

fn queues(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

#[tokio::test]
async fn a_pair_has_its_queues_addresses_and_places_on_both_ends() {
    let (near, far) = (Scratch::new(), Scratch::new());
    let (here, there) =
        (Netlink::connect_in(&near).expect("connected"), Netlink::connect_in(&far).expect("connected"));
    let mac = Mac([2, 0, 0, 0, 0, 7]);
    let trunk0 = VethEnd::new("trunk0").up().mtu(3498).group(77);
    let trunk1 = VethEnd::new("trunk1").up().mtu(3498).mac(mac).in_netns(&far);
    here.create_veth(queues(3), &trunk0, &trunk1).await.expect("created");

    let near_end = here.link_named("trunk0").await.expect("found");
    let far_end = there.link_named("trunk1").await.expect("found");
    assert_eq!((near_end.tx_queues, near_end.rx_queues), (3, 3));
    assert_eq!((far_end.tx_queues, far_end.rx_queues), (3, 3));
    assert_eq!((near_end.mtu, far_end.mtu), (3498, 3498));
    assert_eq!((&near_end.kind, near_end.state, near_end.group), (&LinkKind::Veth, AdminState::Up, 77));
    assert_eq!(far_end.mac, Some(mac));
    assert!(near_end.is_running && far_end.is_running);
    let peer = near_end.peer.expect("a peer");
    assert_eq!(peer.index, far_end.index);
    let netns_id = peer.netns_id.expect("in another namespace");
    assert_eq!(here.link_in(netns_id, peer.index).await.expect("found").mac, Some(mac));
    // `ethtool -l` counts the queues in use, not those allocated.
    for (netns, device) in [(&near, "trunk0"), (&far, "trunk1")] {
        let shown = netns.output("ethtool", &["-l", device]);
        assert_eq!(channels(&shown), ["3", "3"], "{device}");
    }

    let twice = here.create_veth(queues(1), &trunk0, &VethEnd::new("x")).await.expect_err("there already");
    assert!(twice.to_string().contains("trunk0"), "{twice}");
    here.delete_link(near_end.index).await.expect("deleted");
    assert!(matches!(there.link_named("trunk1").await, Err(NetError::NoSuchDevice { .. })));
}

fn channels(text: &str) -> Vec<&str> {
    let current = text.split("Current hardware settings:").nth(1).expect("settings");
    let lines = current.lines().filter(|line| line.starts_with("RX:") || line.starts_with("TX:"));
    lines.map(|line| line[3..].trim()).collect()
}

#[tokio::test]
async fn devices_are_changed_and_the_change_read_back() {
    let netns = Scratch::new();
    let netlink = Netlink::connect_in(&netns).expect("connected");
    let options = BridgeOptions {
        mac: Some(Mac([2, 1, 2, 3, 4, 5])),
        mtu: Some(1400),
        multicast_snooping: Snooping::Off,
        group: Some(9),
    };
    netlink.create_bridge("cni0", &options).await.expect("created");
    netlink.create_veth(queues(1), &VethEnd::new("a"), &VethEnd::new("b")).await.expect("created");
    let bridge = netlink.link_named("cni0").await.expect("found");
    assert_eq!((&bridge.kind, bridge.mtu, bridge.group), (&LinkKind::Bridge, 1400, 9));
    let details = netns.output("ip", &["-d", "link", "show", "cni0"]);
    for setting in ["stp_state 0", "forward_delay 0", "mcast_snooping 0"] {
        assert!(details.contains(setting), "{setting} in {details}");
    }

    let a = netlink.link_named("a").await.expect("found").index;
    netlink.set_mac(a, Mac([2, 0, 0, 0, 0, 1])).await.expect("set");
    netlink.set_mtu(a, 1300).await.expect("set");
    netlink.set_master(a, Some(bridge.index)).await.expect("set");
    netlink.set_state(a, AdminState::Up).await.expect("set");
    let link = netlink.link(a).await.expect("found");
    assert_eq!((link.mac, link.mtu, link.master), (Some(Mac([2, 0, 0, 0, 0, 1])), 1300, Some(bridge.index)));
    assert_eq!((link.state, link.is_running), (AdminState::Up, false), "its peer is down");
    assert_eq!(link.peer.expect("a peer").netns_id, None);
    // The bridge keeps the address it was given, though its port's is lower.
    assert_eq!(netlink.link(bridge.index).await.expect("found").mac, options.mac);
    netlink.set_master(a, None).await.expect("set");
    netlink.set_state(a, AdminState::Down).await.expect("set");
    let link = netlink.link(a).await.expect("found");
    assert_eq!((link.state, link.master), (AdminState::Down, None));

    let error = netlink.set_mtu(a, 70_000).await.expect_err("too large");
    assert!(error.to_string().contains("mtu greater than device maximum"), "{error}");
    let error = netlink.set_mtu(9999, 1500).await.expect_err("no such device");
    assert!(error.is_gone(), "{error}");
    let error = netlink.create_bridge("sixteen-letters!", &options).await.expect_err("too long");
    assert!(matches!(error, NetError::BadName { .. }), "{error}");
}

#[tokio::test]
async fn a_group_of_devices_is_deleted_at_once() {
    let netns = Scratch::new();
    let netlink = Netlink::connect_in(&netns).expect("connected");
    for number in 0..3 {
        let ends = (VethEnd::new(format!("n{number}")).group(5), VethEnd::new(format!("f{number}")));
        netlink.create_veth(queues(1), &ends.0, &ends.1).await.expect("created");
    }
    netlink.create_bridge("stays", &BridgeOptions::default()).await.expect("created");
    netlink.delete_group(5).await.expect("deleted");
    let left: Vec<String> =
        netlink.links().await.expect("listed").into_iter().map(|link| link.name).collect();
    assert_eq!(left, ["lo", "stays"]);
    netlink.delete_group(5).await.expect("none there is no error");
}

#[tokio::test]
async fn addresses_routes_neighbours_and_mark_rules() {
    let (near, far) = (Scratch::new(), Scratch::new());
    let (here, there) =
        (Netlink::connect_in(&near).expect("connected"), Netlink::connect_in(&far).expect("connected"));
    let far_end = VethEnd::new("eth0").up().in_netns(&far);
    here.create_veth(queues(1), &VethEnd::new("v0").up(), &far_end).await.expect("created");
    let v0 = here.link_named("v0").await.expect("found").index;
    let eth0 = there.link_named("eth0").await.expect("found");
    for (netlink, index, last) in [(&here, v0, 1), (&there, eth0.index, 2)] {
        let address = format!("10.9.0.{last}/24").parse().expect("a prefix");
        netlink.add_address(index, address).await.expect("added");
        let address = format!("fd09::{last}/64").parse().expect("a prefix");
        netlink.add_address(index, address).await.expect("added");
    }
    let found = here.host_addresses().await.expect("listed");
    for wanted in ["10.9.0.1", "fd09::1"] {
        assert!(found.contains(&wanted.parse().expect("an address")), "{wanted} in {found:?}");
    }
    assert!(!netns_has_tentative(&near), "no duplicate address detection");

    // Usable at once, in both families.
    near.output("ping", &["-c1", "-W2", "10.9.0.2"]);
    near.output("ping", &["-c1", "-W2", "fd09::2"]);
    let neighbours = here.neighbours().await.expect("listed");
    for wanted in ["10.9.0.2", "fd09::2"] {
        let wanted: std::net::IpAddr = wanted.parse().expect("an address");
        let neighbour = neighbours.iter().find(|known| known.address == wanted).expect("a neighbour");
        assert_eq!((neighbour.index, neighbour.mac), (v0, eth0.mac));
    }

    let routes = [
        ("10.8.0.0/16", None, Some("10.9.0.1")),
        ("192.0.2.0/24", Some("10.9.0.2"), None),
        ("0.0.0.0/0", Some("10.9.0.2"), None),
        ("fd08::/64", None, None),
        ("::/0", Some("fd09::2"), None),
    ];
    for (destination, via, source) in routes {
        let address = |text: &str| text.parse().expect("an address");
        let destination = destination.parse().expect("a prefix");
        let route = Route { destination, index: v0, via: via.map(address), source: source.map(address) };
        here.add_route(&route).await.expect("added");
    }
    let table = near.output("ip", &["route"]) + &near.output("ip", &["-6", "route"]);
    for wanted in [
        "10.8.0.0/16 dev v0 proto static scope link src 10.9.0.1",
        "192.0.2.0/24 via 10.9.0.2 dev v0",
        "default via 10.9.0.2 dev v0",
        "fd08::/64 dev v0",
        "default via fd09::2 dev v0",
    ] {
        assert!(table.contains(wanted), "{wanted} in {table}");
    }

    assert_eq!(here.mark_rules().await.expect("listed"), []);
    near.output("ip", &["rule", "add", "fwmark", "0x10/0xf0", "table", "100", "priority", "50"]);
    near.output("ip", &["-6", "rule", "add", "fwmark", "7", "table", "300", "priority", "60"]);
    let rules: Vec<_> = here.mark_rules().await.expect("listed").iter().map(parts).collect();
    assert_eq!(rules, [(50, 0x10, 0xf0, 100), (60, 7, u32::MAX, 300)]);

    let address = "10.9.0.1/24".parse().expect("a prefix");
    here.delete_address(v0, address).await.expect("deleted");
    assert!(!here.host_addresses().await.expect("listed").contains(&address.addr()));
}

fn parts(rule: &podgate_control::net::MarkRule) -> (u32, u32, u32, u32) {
    (rule.priority, rule.mark, rule.mask, rule.table)
}

fn netns_has_tentative(netns: &Scratch) -> bool {
    netns.output("ip", &["addr", "show", "dev", "v0", "tentative"]).contains("fd09::")
}

#[tokio::test]
async fn every_queue_gets_its_pfifo() {
    let netns = Scratch::new();
    let netlink = Netlink::connect_in(&netns).expect("connected");
    netlink
        .create_veth(queues(2), &VethEnd::new("m0").up(), &VethEnd::new("m1").up())
        .await
        .expect("created");
    netlink.create_veth(queues(1), &VethEnd::new("s0"), &VethEnd::new("s1")).await.expect("created");
    let (multi, single) =
        (netlink.link_named("m0").await.expect("found"), netlink.link_named("s0").await.expect("found"));
    assert_eq!(netlink.queueing(&multi).await.expect("read"), Queueing::Other("noqueue".into()));

    // The second time changes what the first made.
    for limit_frames in [500, 4096] {
        netlink.set_pfifo(&multi, limit_frames).await.expect("set");
        netlink.set_pfifo(&single, limit_frames).await.expect("set");
        let pfifo = Pfifo { limit_frames };
        assert_eq!(netlink.queueing(&multi).await.expect("read"), Queueing::Multi(vec![pfifo; 2]));
        assert_eq!(netlink.queueing(&single).await.expect("read"), Queueing::Single(pfifo));
    }
    let shown = netns.output("tc", &["qdisc", "show", "dev", "m0"]);
    for wanted in ["qdisc mq 1: root", "parent 1:1 limit 4096p", "parent 1:2 limit 4096p"] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
    // They stay when the device goes down and up.
    netlink.set_state(multi.index, AdminState::Down).await.expect("set");
    netlink.set_state(multi.index, AdminState::Up).await.expect("set");
    let pfifo = Pfifo { limit_frames: 4096 };
    assert_eq!(netlink.queueing(&multi).await.expect("read"), Queueing::Multi(vec![pfifo; 2]));
}

#[tokio::test]
async fn features_are_switched_as_ethtool_does() {
    let netns = Scratch::new();
    let netlink = Netlink::connect_in(&netns).expect("connected");
    netlink.create_veth(queues(1), &VethEnd::new("t0"), &VethEnd::new("t1")).await.expect("created");
    let ethtool = Ethtool::connect_in(&netns).await.expect("connected");
    let before = ethtool.features("t0").await.expect("read");
    assert_eq!(before["tx-checksum-ip-generic"].active, Switch::On);
    assert_eq!(before["tx-tcp-segmentation"].active, Switch::On);
    assert_eq!(before["rx-gro"].active, Switch::Off);
    assert!(before["tx-gso-robust"].is_fixed && !before["rx-gro"].is_fixed);

    ethtool.set_features("t0", offload::TX_CHECKSUM, Switch::Off).await.expect("off");
    ethtool.set_features("t0", offload::TX_VLAN, Switch::Off).await.expect("off");
    ethtool.set_features("t0", offload::GRO, Switch::On).await.expect("on");
    let shown = netns.output("ethtool", &["-k", "t0"]);
    for wanted in [
        "tx-checksumming: off",
        "tx-checksum-sctp: off",
        "tx-tcp-segmentation: off [requested on]",
        "tx-vlan-offload: off",
        "generic-receive-offload: on",
    ] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
    let after = ethtool.features("t0").await.expect("read");
    let segmentation = after["tx-tcp-segmentation"];
    assert_eq!((segmentation.active, segmentation.wanted), (Switch::Off, Switch::On), "it only follows");
    let untouched = ethtool.features("t1").await.expect("read");
    assert_eq!(untouched["tx-checksum-ip-generic"].active, Switch::On);

    let fixed = ethtool.set_features("t0", &["tx-gso-robust"], Switch::On).await.expect_err("fixed");
    assert!(matches!(fixed, NetError::NotApplied { .. }), "{fixed}");
    let unknown = ethtool.set_features("t0", &["tx-nothing"], Switch::Off).await.expect_err("unknown");
    assert!(unknown.to_string().contains("tx-nothing"), "{unknown}");
    let missing = ethtool.features("nope").await.expect_err("missing");
    assert!(missing.is_gone(), "{missing}");
}

#[tokio::test]
async fn queues_get_polling_threads() {
    let netns = Scratch::new();
    let netlink = Netlink::connect_in(&netns).expect("connected");
    netlink
        .create_veth(queues(2), &VethEnd::new("t0").up(), &VethEnd::new("t1").up())
        .await
        .expect("created");
    let device = netlink.link_named("t0").await.expect("found");
    // A veth polls its queues only with XDP or GRO.
    let ethtool = Ethtool::connect_in(&netns).await.expect("connected");
    ethtool.set_features("t0", offload::GRO, Switch::On).await.expect("on");
    let napis = Napis::connect_in(&netns).await.expect("connected");
    let threads = async || {
        let found = napis.of(&device).await.expect("listed");
        found.into_iter().map(|napi| napi.thread).collect::<Vec<_>>()
    };
    assert_eq!(threads().await, [NapiThread::SoftIrq; 2]);
    let change = NapiChange {
        thread: Some(NapiThread::Own),
        defer_hard_irqs: Some(2),
        gro_flush_timeout_ns: Some(200_000),
    };
    napis.set(&device, change).await.expect("set");
    assert_eq!(threads().await, [NapiThread::Own; 2]);
    napis
        .set(&device, NapiChange { thread: Some(NapiThread::SoftIrq), ..NapiChange::default() })
        .await
        .expect("set");
    assert_eq!(threads().await, [NapiThread::SoftIrq; 2]);
}
