//! Segmentation, checksums and large frames.

use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use podgate_netns_tests::traffic::{
    ChecksumErrors, Iperf, IperfServer, Load, Server, Sink, checksum_errors, ping, reaches_udp,
};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn absurdly_small_segments_are_dropped() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/villain", "a/victim"]);
    let gateway = Gateway::start(&node, "", &[]);
    let (villain, victim) = (node.pod("a/villain"), node.pod("a/victim"));
    let sink = Sink::open(&victim.space, 9, None);
    for segment in [1, 8, 87] {
        let socket = villain.space.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
        socket.connect((victim.v4, 9)).expect("a route");
        setsockopt(&socket, sockopt::UdpGsoSegment, &segment).expect("UDP segmentation");
        let before = gateway.drops(villain, "small-gso");
        // The kernel allows 128 segments a send (UDP_MAX_SEGMENTS).
        let payload = vec![0; 64 * segment as usize];
        socket.send(&payload).expect("it is sent");
        wait_until(&format!("segments of {segment} bytes are dropped"), SOON, || {
            gateway.drops(villain, "small-gso") == before + 1
        });
    }
    assert_eq!(sink.count(), 0);
    // At the bound they pass, every segment a datagram.
    let socket = villain.space.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    socket.connect((victim.v4, 9)).expect("a route");
    setsockopt(&socket, sockopt::UdpGsoSegment, &88).expect("UDP segmentation");
    socket.send(&[0; 88 * 16]).expect("it is sent");
    wait_until("sixteen datagrams arrive", SOON, || sink.count() == 16);
    assert_eq!(checksum_errors(&victim.space), ChecksumErrors::default());
}

#[test]
fn the_bound_is_the_operators_to_set() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/villain", "a/victim"]);
    let gateway = Gateway::start(&node, "", &["--min-gso", "500"]);
    let (villain, victim) = (node.pod("a/villain"), node.pod("a/victim"));
    let sink = Sink::open(&victim.space, 9, None);
    let socket = villain.space.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    socket.connect((victim.v4, 9)).expect("a route");
    setsockopt(&socket, sockopt::UdpGsoSegment, &499).expect("UDP segmentation");
    socket.send(&[0; 499 * 2]).expect("it is sent");
    wait_until("499 is dropped", SOON, || gateway.drops(villain, "small-gso") == 1);
    setsockopt(&socket, sockopt::UdpGsoSegment, &500).expect("UDP segmentation");
    socket.send(&[0; 500 * 2]).expect("it is sent");
    wait_until("500 passes", SOON, || sink.count() == 2);
}

#[test]
fn bulk_traffic_has_right_checksums_both_ways() {
    let _turn = Turn::alone();
    let node = Node::with_pods(&["a/one", "a/two"]);
    let gateway = Gateway::start(&node, "", &["--workers", "2"]);
    let (one, two) = (node.pod("a/one"), node.pod("a/two"));
    let _servers = [IperfServer::start(&two.space, 5201), IperfServer::start(&node.space, 5201)];
    for to in two.addresses().into_iter().chain([Node::V4.into(), Node::V6.into()]) {
        for reverse in [&[][..], &["-R"]] {
            let run = Iperf::run(&one.space, to, 5201, Load::Tcp, 1, reverse).expect("TCP flows");
            println!(
                "{to} {reverse:?}: {:.2} Gbit/s, {} retransmits",
                run.received_bps / 1e9,
                run.retransmits
            );
            assert!(run.received_bps > 0.0);
        }
    }
    for space in [&one.space, &two.space, &node.space] {
        assert_eq!(checksum_errors(space), ChecksumErrors::default(), "{}", space.name());
    }
    assert!(gateway.instance.status().workers.iter().all(|worker| worker.leaked == 0));
}

#[test]
fn the_largest_mtu_that_is_not_refused_works() {
    let _turn = Turn::shared();
    let mut node = Node::with_mtu(3498);
    node.add("a/one");
    node.add("a/two");
    let _gateway = Gateway::start(&node, "", &[]);
    let (one, two) = (node.pod("a/one"), node.pod("a/two"));
    for (to, headers) in two.addresses().into_iter().zip([28, 48]) {
        let whole = 3498 - headers;
        assert_eq!(ping(&one.space, to, &format!("-c 3 -i 0.05 -W 2 -M do -s {whole}")).lost(), 0, "{to}");
        // Fragments too.
        assert_eq!(ping(&one.space, to, "-c 3 -i 0.05 -W 2 -s 9000").lost(), 0, "{to}");
    }
    let _server = Server::start(two, 80);
    assert!(reaches_udp(&one.space, two.v4, 80, SOON));
}
