//! What else is on a port keeps its meaning, and cannot take podgate's place.

use std::time::Duration;

use podgate_netns_tests::foreign::{Foreign, Hook, chain};
use podgate_netns_tests::manifest::deny_ingress;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, DENIED_AFTER, Iperf, IperfServer, Load, Reach, Server, reach, reach_within, reaches_udp,
};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

#[test]
fn a_shaper_on_a_port_still_shapes() {
    let _turn = Turn::alone();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    node.space.sh(&format!("tc qdisc add dev {} root tbf rate 10mbit burst 32kb latency 100ms", server.port));
    let _gateway = Gateway::start(&node, "", &[]);
    let _server = IperfServer::start(&server.space, 5201);
    let run = Iperf::run(&client.space, server.v4, 5201, Load::Tcp, 2, &[]).expect("TCP flows");
    let mbit = run.received_bps / 1e6;
    println!("through a shaper of 10 Mbit/s: {mbit:.1} Mbit/s");
    assert!(run.received_bps > 0.0);
    // The shaper's own bound with its burst and headers; not a statement about speed.
    assert!(mbit < 12.0, "{mbit} Mbit/s went past a shaper of 10");
}

#[test]
fn a_program_put_ahead_is_found_reported_and_overtaken() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "shut/server"]);
    let gateway = Gateway::start(&node, &deny_ingress("shut/deny-all"), &[]);
    let (client, server) = (node.pod("a/client"), node.pod("shut/server"));
    let _server = Server::start(server, 80);
    let _foreign = [
        Foreign::ahead(&node.space, &client.port, Hook::Ingress, "accept_all"),
        Foreign::ahead(&node.space, &server.port, Hook::Egress, "accept_all"),
    ];
    let took = wait_until("podgate is at the head again", ALLOWED_WITHIN, || {
        chain(&node.space, &client.port, Hook::Ingress) == ["from_pod", "accept_all"]
            && chain(&node.space, &server.port, Hook::Egress) == ["to_pod", "accept_all"]
    });
    println!("at the head again after {took:?}");
    wait_until("an alarm names the device and the program", ALLOWED_WITHIN, || {
        let alarms = gateway.instance.status().alarms;
        [&client.port, &server.port].iter().all(|port| {
            alarms.iter().any(|alarm| alarm.contains(port.as_str()) && alarm.contains("accept_all"))
        })
    });
    assert_eq!(reach_within(&client.space, server.v4, 80, DENIED_AFTER), Reach::TimedOut);
    assert!(!reaches_udp(&client.space, server.v6, 80, DENIED_AFTER));
}

#[test]
fn a_frame_whose_mark_is_cleared_does_not_go_round() {
    let _turn = Turn::alone();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::start(&node, "", &[]);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    let _server = Server::start(server, 80);
    // Until podgate is at the head again, every decided frame comes by without its mark.
    let lapped = |gateway: &Gateway| gateway.drops(server, "lap") + gateway.drops(client, "lap");
    let lifted = |gateway: &Gateway| {
        gateway.instance.port_of("a/server").lifted + gateway.instance.port_of("a/client").lifted
    };
    let mut sent = 0;
    let before = lifted(&gateway);
    wait_until("a decided frame came by without its mark", Duration::from_secs(15), || {
        let _foreign = Foreign::ahead(&node.space, &server.port, Hook::Egress, "clear_mark");
        for _ in 0..20 {
            sent += 1;
            let _ = reaches_udp(&client.space, server.v4, 80, Duration::from_millis(2));
        }
        lapped(&gateway) > 0
    });
    // A frame is lifted when it is sent and when it is answered, and not again.
    let lifted = lifted(&gateway) - before;
    assert!(lifted < sent * 8 + 100, "{sent} questions were lifted {lifted} times");
    wait_until("podgate is back at the head", ALLOWED_WITHIN, || {
        chain(&node.space, &server.port, Hook::Egress).first().is_some_and(|first| first == "to_pod")
    });
    assert_eq!(reach(&client.space, server.v4, 80), Reach::Connected);
}
