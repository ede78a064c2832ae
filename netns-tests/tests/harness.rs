//! The tools of the live tests, without a gateway: what they say of a bare bridge is right.

use std::time::Duration;

use podgate_netns_tests::foreign::{Foreign, Hook, chain};
use podgate_netns_tests::frame::{BROADCAST, Route, Wire};
use podgate_netns_tests::traffic::{
    Blast, ChecksumErrors, Conversation, Iperf, IperfServer, Load, Pace, Reach, Server, Sink, ask_udp,
    checksum_errors, ping, reach,
};
use podgate_netns_tests::{Footprint, Node, Turn, wait_until};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn probes_tell_what_is_there() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    let _server = Server::start(server, 80);
    for address in server.addresses() {
        assert_eq!(reach(&client.space, address, 80), Reach::Connected);
        assert_eq!(reach(&client.space, address, 81), Reach::Refused);
        assert_eq!(ask_udp(&client.space, address, 80, SOON).as_deref(), Some("a/server\n"));
        assert!(Conversation::open(&client.space, address, 80).exchange(SOON));
        assert_eq!(ping(&client.space, address, "-c 3 -i 0.01 -W 2").lost(), 0);
    }
    assert_eq!(reach(&client.space, [10, 44, 9, 9], 80), Reach::Unreachable);
}

#[test]
fn sinks_count_what_is_sent() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    let sink = Sink::open(&server.space, 9, None);
    let blast = Blast::start(&client.space, server.v4, 9, Pace::PerSecond(2000), None);
    wait_until("a thousand are sent", SOON, || blast.sent() >= 1000);
    let sent = blast.stop();
    wait_until("all arrive", SOON, || sink.count() == sent);

    let route =
        Route { from_mac: client.mac, to_mac: server.mac, from: client.v6.into(), to: server.v6.into() };
    let (near, far) = (Wire::open(&client.space, "eth0"), Wire::open(&server.space, "eth0"));
    let frame = route.udp(7, 9, b"by hand");
    near.send(&frame);
    assert!(far.find(SOON, |seen| (seen == frame).then_some(())).is_some());
    wait_until("it is counted", SOON, || sink.count() == sent + 1);
    near.send(&Route { to_mac: BROADCAST, ..route }.udp(7, 9, b"to all"));
    assert!(far.find(SOON, |seen| seen.ends_with(b"to all").then_some(())).is_some());
}

#[test]
fn iperf_and_checksums_are_read() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    let _server = IperfServer::start(&server.space, 5201);
    let tcp = Iperf::run(&client.space, server.v4, 5201, Load::Tcp, 1, &[]).unwrap();
    assert!(tcp.received_bps > 1e6 && tcp.datagrams == 0, "{tcp:?}");
    let udp = Iperf::run(&client.space, server.v6, 5201, Load::UdpMbit(5), 1, &[]).unwrap();
    assert!(udp.datagrams > 100 && udp.received_bps > 1e6, "{udp:?}");
    assert_eq!(checksum_errors(&server.space), ChecksumErrors::default());
    let route =
        Route { from_mac: client.mac, to_mac: server.mac, from: client.v4.into(), to: server.v4.into() };
    let mut frame = route.udp(7, 5201, b"spoiled");
    *frame.last_mut().unwrap() ^= 1;
    let _sink = Sink::open(&server.space, 5202, None);
    frame = route.udp(7, 5202, b"spoiled");
    *frame.last_mut().unwrap() ^= 1;
    Wire::open(&client.space, "eth0").send(&frame);
    wait_until("the wrong checksum is seen", SOON, || {
        checksum_errors(&server.space).0 == [("UdpInCsumErrors".to_owned(), 1)]
    });
}

#[test]
fn a_footprint_shows_programs_and_settings() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client"]);
    let port = &node.pod("a/client").port;
    let before = Footprint::of(&node.space);
    before.assert_same(&Footprint::of(&node.space));
    let foreign = Foreign::ahead(&node.space, port, Hook::Ingress, "accept_all");
    assert_eq!(chain(&node.space, port, Hook::Ingress), ["accept_all"]);
    assert!(before != Footprint::of(&node.space));
    drop(foreign);
    before.assert_same(&Footprint::of(&node.space));
    node.space.sh(&format!("bridge link set dev {port} hairpin on"));
    assert!(before != Footprint::of(&node.space));
    node.space.sh(&format!("bridge link set dev {port} hairpin off"));
    before.assert_same(&Footprint::of(&node.space));
}
