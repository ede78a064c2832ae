//! Pods behind veths that are ports of no bridge (CNI plugin `ptp`) are guarded like those of a bridge, and fenced.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::sys::signal::Signal;
use podgate_dataplane::mac::Mac;
use podgate_netns_tests::cni::{Container, Network, OURS};
use podgate_netns_tests::frame::{Arp, BROADCAST, Route};
use podgate_netns_tests::manifest::{self, deny_ingress, policy};
use podgate_netns_tests::node::NODE_NAME;
use podgate_netns_tests::pod::parse_mac;
use podgate_netns_tests::program::PATIENCE;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Ear, Iperf, IperfServer, Load, Means, Presser, Reach, Server,
    Sink, Spinner, ask_udp, ping, reach, reach_within,
};
use podgate_netns_tests::{Footprint, Gateway, RoutedNode, Space, Turn, wait_until};
use serde_json::json;

const KEYS: [&str; 3] = ["shop/client", "shop/server", "other/guest"];

#[test]
fn policy_holds_between_pods_the_node_and_what_is_outside() {
    let _turn = Turn::shared();
    let node = RoutedNode::with_pods(&KEYS);
    let outside = Space::create(&format!("{}-out", node.space.name()));
    node.space.ip_batch(&format!(
        "link add up0 type veth peer name eth0 netns {}\naddr add 192.168.9.1/24 dev up0\nlink set up0 up\n",
        outside.name()
    ));
    outside
        .ip_batch("addr add 192.168.9.2/24 dev eth0\nlink set eth0 up\nroute add default via 192.168.9.1\n");
    // Detection of duplicates is over, and the groups that follow it are joined.
    wait_until("the node's devices have settled", PATIENCE, || {
        let addresses = node.space.sh("ip -o -6 addr show scope link");
        addresses.lines().filter(|line| !line.contains("tentative")).count() == KEYS.len() + 1
    });
    let before = Footprint::of(&node.space);
    let mut gateway = Gateway::start_routed(&node, "", &[]);
    let [client, server, guest] = KEYS.map(|key| node.pod(key));
    let _servers = [
        Server::start(server, 80),
        Server::start_in(&node.space, "node", 81),
        Server::start_in(&outside, "outside", 82),
    ];
    let out = Ipv4Addr::new(192, 168, 9, 2);
    for to in server.addresses() {
        for from in [&client.space, &guest.space, &node.space] {
            // The node asks for no neighbour before its own address on the device is past duplicate detection.
            wait_until(&format!("{to} answers {}", from.name()), PATIENCE, || {
                ask_udp(from, to, 80, DENIED_AFTER).as_deref() == Some("shop/server\n")
            });
            assert_eq!(reach(from, to, 80), Reach::Connected, "{to}");
        }
    }
    assert_eq!(reach(&outside, server.v4, 80), Reach::Connected);
    assert_eq!(reach(&client.space, RoutedNode::V4, 81), Reach::Connected);
    assert_eq!(reach(&client.space, RoutedNode::V6, 81), Reach::Connected);
    assert_eq!(reach(&client.space, out, 82), Reach::Connected);
    let mut talk = Conversation::open(&client.space, server.v4, 80);
    assert!(talk.exchange(ALLOWED_WITHIN));

    let allow = policy(
        "shop/from-client",
        "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}",
    );
    gateway.apply(&(deny_ingress("shop/deny-all") + &allow));
    for to in server.addresses() {
        assert_eq!(reach(&client.space, to, 80), Reach::Connected, "{to}");
        assert_eq!(reach_within(&guest.space, to, 80, DENIED_AFTER), Reach::TimedOut, "{to}");
        assert_eq!(reach(&node.space, to, 80), Reach::Connected, "{to}: the node may always");
    }
    assert!(talk.exchange(ALLOWED_WITHIN), "it lives on");
    assert_eq!(reach_within(&outside, server.v4, 80, DENIED_AFTER), Reach::TimedOut);
    assert!(gateway.drops(server, "policy-ingress") > 0);
    gateway.apply(&policy(
        "shop/no-egress",
        "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}",
    ));
    for (to, port) in [(server.v4, 80), (RoutedNode::V4, 81), (out, 82)] {
        assert_eq!(reach_within(&client.space, to, port, DENIED_AFTER), Reach::TimedOut, "{to}");
    }
    assert_eq!(reach(&node.space, client.v4, 80), Reach::Refused, "nobody listens there");
    let status = gateway.instance.status();
    assert_eq!(status.bridge, "routed veth*");
    assert!(status.alarms.is_empty(), "{:?}", status.alarms);

    // A restart takes the guard over, and a detach leaves nothing.
    gateway.end(Signal::SIGKILL);
    assert_eq!(reach_within(&guest.space, server.v4, 80, DENIED_AFTER), Reach::TimedOut);
    gateway.launch();
    gateway.instance.wait_for_pods(KEYS);
    assert_eq!(reach(&guest.space, server.v4, 80), Reach::Connected);
    gateway.end(Signal::SIGTERM);
    gateway.detach();
    before.assert_same(&Footprint::of(&node.space));
}

#[test]
fn a_pod_speaks_for_itself_only() {
    let _turn = Turn::shared();
    let node = RoutedNode::with_pods(&KEYS);
    let gateway = Gateway::start_routed(&node, "", &[]);
    let [client, server, guest] = KEYS.map(|key| node.pod(key));
    let sink = Sink::open(&server.space, 9, None);
    assert_eq!(ping(&guest.space, server.v4, "-c 1 -W 2").received, 1, "as itself");
    guest.space.sh(&format!("ip addr add {}/32 dev eth0", client.v4));
    assert_eq!(ping(&guest.space, server.v4, &format!("-c 2 -i 0.1 -W 0.4 -I {}", client.v4)).received, 0);
    assert!(gateway.drops(guest, "spoofed-ip") > 0);
    // Another's address in ARP, to the node: it keeps the client's.
    let wire = podgate_netns_tests::frame::Wire::open(&guest.space, "eth0");
    let claim = Arp { operation: 2, sender: (guest.mac, client.v4), target: (Mac([0; 6]), RoutedNode::V4) };
    for to in [BROADCAST, node_mac(&node, "other/guest")] {
        wire.send(&claim.frame(guest.mac, to));
    }
    // And a frame with another's MAC address.
    let route = Route {
        from_mac: client.mac,
        to_mac: node_mac(&node, "other/guest"),
        from: guest.v4.into(),
        to: server.v4.into(),
    };
    wire.send(&route.udp(9, 9, b"x"));
    wait_until("all are counted", ALLOWED_WITHIN, || {
        gateway.drops(guest, "spoofed-arp") >= 2 && gateway.drops(guest, "spoofed-mac") >= 1
    });
    assert_eq!(sink.count(), 0);
    assert_eq!(ping(&node.space, client.v4, "-c 1 -W 2").received, 1);
}

fn node_mac(node: &RoutedNode, key: &str) -> Mac {
    parse_mac(node.space.link(&node.pod(key).port)["address"].as_str().expect("a MAC address"))
}

#[test]
fn a_pod_that_comes_while_no_gateway_runs_is_closed() {
    let _turn = Turn::shared();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut node = RoutedNode::with_pods(&["a/client"]);
        let mut gateway = Gateway::start_routed(&node, "", &[]);
        gateway.end(signal);
        node.add("a/late");
        node.add("a/later");
        let (client, late, later) = (node.pod("a/client"), node.pod("a/late"), node.pod("a/later"));
        for to in [
            IpAddr::V4(RoutedNode::V4),
            RoutedNode::V6.into(),
            client.v4.into(),
            later.v4.into(),
            later.v6.into(),
        ] {
            assert_eq!(ping(&late.space, to, "-c 2 -i 0.1 -W 0.3").received, 0, "{to}");
        }
        for to in late.addresses() {
            assert_eq!(ping(&node.space, to, "-c 2 -i 0.1 -W 0.3").received, 0, "{to}");
        }
        let known = node.space.sh(&format!("ip neigh show dev {}", late.port));
        assert!(!known.contains("lladdr"), "not even ARP: {known}");
        gateway.write("cluster.yaml", &node.manifest());
        gateway.launch();
        gateway.instance.wait_for_pods(["a/client", "a/late", "a/later"]);
        for to in [IpAddr::V4(RoutedNode::V4), client.v4.into(), later.v6.into()] {
            wait_until("an answer comes", ALLOWED_WITHIN, || {
                ping(&late.space, to, "-c 1 -W 1").received == 1
            });
        }
        node.space.sh("nft flush ruleset");
        wait_until("the fence is put back", ALLOWED_WITHIN, || {
            gateway.instance.status().fence.is_some_and(|fence| fence.is_whole && fence.put_back == 1)
        });
        assert_eq!(reach(&late.space, later.v4, 80), Reach::Refused, "nobody listens there");
    }
}

/// The destination is the node itself: nobody else would drop what came out.
#[test]
fn pods_that_the_plugin_ptp_makes_obey_policy_from_their_first_datagram() {
    const NEW: &str = "shop/new";
    let _turn = Turn::shared();
    let node = RoutedNode::with_pods(&["shop/peer"]);
    let rights = policy(
        "shop/rights",
        "{podSelector: {matchLabels: {app: new}}, policyTypes: [Ingress, Egress], \
         ingress: [{from: [{podSelector: {matchLabels: {app: peer}}}]}], \
         egress: [{to: [{podSelector: {matchLabels: {app: peer}}}], ports: [{port: 80}]}]}",
    );
    let gateway = Gateway::start_routed(&node, &rights, &[]);
    // The API says that it is to be here, and no address.
    let new = manifest::Pod::new(NEW, NODE_NAME).phase("Pending");
    gateway.write("cluster.yaml", &(node.manifest() + &new.to_string()));
    wait_until("it is known", PATIENCE, || {
        gateway.instance.in_force().objects.to_string().contains(r#""name":"new""#)
    });
    let peer = node.pod("shop/peer");
    let _servers = [80, 81].map(|port| Server::start(peer, port));
    let ear = Ear::open(&node.space, 9);
    let network = Network::made_by(&gateway, "1.0.0", json!({"type": "ptp"}), &json!({}));
    let port = |device: &str| gateway.instance.status().ports.into_iter().find(|port| port.device == device);
    for _ in 0..5 {
        let container = Container::of(NEW);
        let to: [SocketAddr; 2] = [(RoutedNode::V4, 9).into(), (RoutedNode::V6, 9).into()];
        let spinner = Spinner::start(&container.space, Means::Sockets, &to, 1);
        let added = network.add(&node, &container).unwrap_or_else(|failure| panic!("{failure:?}"));
        spinner.say(2);
        let guarded = port(&added.device()).expect("it is guarded");
        assert_eq!(guarded.pod.as_deref(), Some(NEW));
        assert_eq!(guarded.cni.map(|told| told.name.container_id).as_ref(), Some(&container.id));
        let pod = added.pod(&container);
        assert_eq!(reach(&pod.space, peer.v4, 80), Reach::Connected);
        assert_eq!(reach_within(&pod.space, peer.v4, 81, DENIED_AFTER), Reach::TimedOut);
        // The node's own address on the new device is past duplicate detection a second later.
        wait_until("IPv6 passes too", PATIENCE, || {
            reach_within(&pod.space, peer.v6, 80, DENIED_AFTER) == Reach::Connected
        });
        assert_eq!(reach_within(&pod.space, peer.v6, 81, DENIED_AFTER), Reach::TimedOut);
        assert_eq!(reach(&peer.space, pod.v4, 9), Reach::Refused, "the peer may ask it, and nobody listens");
        wait_until("what it says is taken up and dropped", PATIENCE, || {
            gateway.instance.drops_of(NEW, "policy-egress") > 0
        });
        assert!(spinner.stop() > 0);
        network.check(&node, &container, &added).unwrap();
        network.del(&node, &container, Some(&added)).unwrap();
        wait_until("its port is gone", PATIENCE, || port(&added.device()).is_none());
    }
    assert_eq!([1, 2].map(|word| ear.heard(word)), [0; 2], "before ADD, and after");
    let status = gateway.instance.status();
    assert!(status.ports.iter().all(|port| port.cni.is_none()), "{:?}", status.ports);

    // What it does not guard does not start.
    let bridge = json!({"type": "bridge", "bridge": "cni1"});
    let network = Network::made_by(&gateway, "1.0.0", bridge, &json!({}));
    let container = Container::of(NEW);
    let failure = network.add(&node, &container).unwrap_err();
    assert_eq!((failure.plugin.as_str(), failure.code()), (OURS, 100), "{failure:?}");
    assert!(failure.message().contains("the veths veth* that are ports of no bridge"), "{failure:?}");
    network.del(&node, &container, None).unwrap();
}

/// A pod that speaks from the moment its device is there, before the gateway has heard of that.
#[test]
fn not_one_datagram_passes_before_the_guard() {
    const ROUNDS: u8 = 30;
    let _turn = Turn::alone();
    let node = RoutedNode::with_pods(&["a/client"]);
    let gateway = Gateway::start_routed(&node, "", &[]);
    let sink = Sink::open(&node.space, 4001, None);
    let mut spoken = 0;
    for round in 0..ROUNDS {
        let (space, port) =
            (Space::create(&format!("{}-{round}", node.space.name())), format!("vethsp{round}"));
        // It comes from the pod's namespace, and is up in the instant in which it is there.
        space.ip_batch(&format!(
            "link add {port} address 02:98:00:00:00:{round:02x} type veth peer name eth0 address \
             02:99:00:00:00:{round:02x}\nlink set eth0 up\n"
        ));
        let (mac, to_mac) = (Mac([2, 0x99, 0, 0, 0, round]), Mac([2, 0x98, 0, 0, 0, round]));
        let from = Ipv4Addr::new(10, 44, 99, round);
        let to = |to_mac| Route { from_mac: mac, to_mac, from: from.into(), to: RoutedNode::V4.into() };
        let frames = vec![to(to_mac).udp(4000, 4001, b"first"), to(BROADCAST).udp(4000, 4001, b"first")];
        let spinner = Presser::start(&space, "eth0", frames);
        space.sh(&format!("ip link set {port} netns {} up", node.space.name()));
        wait_until("it is guarded, and has spoken on", ALLOWED_WITHIN, || {
            gateway.instance.status().ports.iter().any(|found| found.device == port && found.lifted > 1000)
        });
        assert_eq!(sink.count(), 0, "round {round}");
        spoken += spinner.sent();
        drop(spinner);
        node.space.sh(&format!("ip link del {port}"));
    }
    let fence = gateway.instance.status().fence.expect("a fence");
    println!(
        "{ROUNDS} rounds: of {spoken} frames none passed; the fence stopped {}",
        fence.dropped_from_pods
    );
}

/// Large segments, both ways.
#[test]
fn tcp_flows_between_routed_pods() {
    let _turn = Turn::alone();
    let node = RoutedNode::with_pods(&KEYS);
    let _gateway = Gateway::start_routed(&node, "", &[]);
    let (client, server) = (node.pod("shop/client"), node.pod("shop/server"));
    let _server = Server::start(server, 80);
    let mut talk = Conversation::open(&client.space, server.v6, 80);
    for _ in 0..200 {
        assert!(talk.exchange(ALLOWED_WITHIN));
    }
    for (port, options) in [(5201, &[][..]), (5202, &["-R"])] {
        let _iperf = IperfServer::start(&server.space, port);
        let load = Iperf::run(&client.space, server.v4, port, Load::Tcp, 1, options).expect("a connection");
        println!("{options:?}: {:.0} Mbit/s, {} sent again", load.received_bps / 1e6, load.retransmits);
        assert!(load.received_bps > 0.0);
    }
}
