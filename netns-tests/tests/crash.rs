//! A gateway that dies leaves its fallback verdict in force, and a restart takes over.

use std::time::Duration;

use nix::sys::signal::Signal;
use podgate_netns_tests::manifest::deny_ingress;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Blast, Conversation, DENIED_AFTER, Pace, Reach, Server, Sink, ping, reach, reach_within,
};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

const QUIET: Duration = Duration::from_millis(300);

#[test]
fn killed_under_traffic_nothing_leaks_and_a_restart_serves_again() {
    let _turn = Turn::alone();
    let node = Node::with_pods(&["a/client", "open/server", "shut/server"]);
    let mut gateway = Gateway::start(&node, &deny_ingress("shut/deny-all"), &[]);
    let (client, open, shut) = (node.pod("a/client"), node.pod("open/server"), node.pod("shut/server"));
    let (allowed, denied) = (Sink::open(&open.space, 9, None), Sink::open(&shut.space, 9, None));
    let _server = Server::start(open, 80);
    let mut talk = Conversation::open(&client.space, open.v4, 80);
    let to_open = Blast::start(&client.space, open.v4, 9, Pace::PerSecond(2000), None);
    let to_shut = Blast::start(&client.space, shut.v4, 9, Pace::PerSecond(2000), None);
    wait_until("allowed traffic flows", ALLOWED_WITHIN, || allowed.count() > 500);

    for round in 0..3 {
        gateway.end(Signal::SIGKILL);
        allowed.settled(QUIET);
        let (before, sent) = (allowed.count(), to_open.sent());
        wait_until("more is sent", ALLOWED_WITHIN, || to_open.sent() > sent + 500);
        assert_eq!(allowed.count(), before, "round {round}: closed means that nothing passes");
        assert_eq!(denied.count(), 0, "round {round}");
        gateway.launch();
        let back = wait_until("the restarted gateway serves", ALLOWED_WITHIN, || allowed.count() > before);
        println!("round {round}: served again {back:?} after the start");
        gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
        assert!(talk.exchange(Duration::from_secs(10)), "round {round}: a connection from before lives on");
        assert_eq!(denied.count(), 0, "round {round}");
    }
    let (sent_denied, _) = (to_shut.stop(), to_open.stop());
    assert!(sent_denied > 2000);
    assert_eq!(denied.settled(QUIET), 0, "not one denied frame of {sent_denied}");
    let status = gateway.instance.status();
    assert_eq!(status.workers.iter().map(|worker| worker.leaked).sum::<u64>(), 0);
    assert!(status.alarms.is_empty(), "{:?}", status.alarms);
}

#[test]
fn a_polite_end_holds_the_guard() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let mut gateway = Gateway::start(&node, "", &[]);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    let _server = Server::start(server, 80);
    assert_eq!(reach(&client.space, server.v4, 80), Reach::Connected);
    assert_eq!(gateway.end(Signal::SIGTERM).code(), Some(0));
    assert_eq!(reach_within(&client.space, server.v4, 80, DENIED_AFTER), Reach::TimedOut);
    assert_eq!(reach_within(&client.space, server.v6, 80, DENIED_AFTER), Reach::TimedOut);
    // A pod that comes while nobody is there is taken up by the next gateway; one that goes is let go.
    gateway.launch();
    gateway.instance.wait_for_pods(["a/client", "a/server"]);
    assert_eq!(reach(&client.space, server.v6, 80), Reach::Connected);
}

#[test]
fn a_restart_finds_other_pods_than_it_left() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["a/client", "a/server", "a/leaver"]);
    let mut gateway = Gateway::start(&node, "", &[]);
    gateway.end(Signal::SIGKILL);
    node.remove("a/leaver");
    node.add("a/comer");
    gateway.write("cluster.yaml", &node.manifest());
    gateway.launch();
    gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    wait_until("status lists who is there", ALLOWED_WITHIN, || {
        gateway.instance.status().ports.len() == node.pods.len()
    });
    let _server = Server::start(node.pod("a/comer"), 80);
    assert_eq!(reach(&node.pod("a/client").space, node.pod("a/comer").v4, 80), Reach::Connected);
}

#[test]
fn an_open_fallback_passes() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "shut/server"]);
    let mut gateway = Gateway::start(&node, &deny_ingress("shut/deny-all"), &["--fallback", "open"]);
    let (client, server) = (node.pod("a/client"), node.pod("shut/server"));
    let _server = Server::start(server, 80);
    assert_eq!(reach_within(&client.space, server.v4, 80, DENIED_AFTER), Reach::TimedOut);
    gateway.end(Signal::SIGKILL);
    let open = wait_until("the wire opens", ALLOWED_WITHIN, || {
        reach_within(&client.space, server.v4, 80, DENIED_AFTER) == Reach::Connected
    });
    println!("open {open:?} after the kill");
    assert_eq!(ping(&client.space, server.v6, "-c 2 -i 0.05 -W 2").lost(), 0);
    gateway.launch();
    gateway.instance.wait_for_pods(["a/client", "shut/server"]);
    assert_eq!(reach_within(&client.space, server.v4, 80, DENIED_AFTER), Reach::TimedOut);
    assert!(gateway.instance.port_of("a/client").passed_open > 0);
}
