//! Traffic of all sorts, both ways, for a while; then every frame is accounted for and every
//! checksum was right, and no segment of a connection was taken for a forged one.
//! `PODGATE_SOAK_SECONDS` says how long (10 by default).

use podgate_netns_tests::manifest::{deny_ingress, policy};
use podgate_netns_tests::program::PATIENCE;
use podgate_netns_tests::traffic::{
    Blast, ChecksumErrors, Iperf, IperfServer, Load, Pace, Sink, checksum_errors,
};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

#[test]
fn after_a_soak_nothing_is_leaked_or_spoiled() {
    let _turn = Turn::alone();
    let seconds = std::env::var("PODGATE_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let node = Node::with_pods(&["a/one", "a/two", "b/three", "b/four", "shut/five"]);
    let allow = policy(
        "b/from-a",
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}}, {podSelector: {}}]}]}",
    );
    let gateway = Gateway::start(&node, &(allow.clone() + &deny_ingress("shut/deny-all")), &[]);
    let [one, two, three, four, five] = [0, 1, 2, 3, 4].map(|at| &node.pods[at]);
    let _servers: Vec<_> = [(two, 5201), (three, 5201), (three, 5202), (four, 5201)]
        .map(|(pod, port)| IperfServer::start(&pod.space, port))
        .into();
    let denied = Sink::open(&five.space, 9, None);
    let reports: Vec<(&str, Result<Iperf, String>)> = std::thread::scope(|scope| {
        let run = |what, from: &'static str, to: std::net::IpAddr, port, load| {
            let space = &node.pod(from).space;
            scope.spawn(move || (what, Iperf::run(space, to, port, load, seconds, &["--bidir"])))
        };
        let runs = vec![
            run("TCP over IPv4", "a/one", two.v4.into(), 5201, Load::Tcp),
            run("TCP over IPv6", "a/two", three.v6.into(), 5201, Load::Tcp),
            run("UDP over IPv4", "a/one", three.v4.into(), 5202, Load::UdpMbit(40)),
            run("UDP over IPv6", "b/three", four.v6.into(), 5201, Load::UdpMbit(40)),
        ];
        // Meanwhile policy changes, and somebody knocks on a closed door.
        let knocking = Blast::start(&one.space, five.v4, 9, Pace::PerSecond(1000), None);
        let mut edits = 0;
        while !runs.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            edits += 1;
            let noise = deny_ingress(&format!("nobody/edit-{edits}"));
            gateway.apply(&(allow.clone() + &deny_ingress("shut/deny-all") + &noise));
        }
        println!("{edits} edits, {} knocks", knocking.stop());
        runs.into_iter().map(|run| run.join().expect("iperf3 runs")).collect()
    });
    for (what, report) in &reports {
        let run = report.as_ref().unwrap_or_else(|error| panic!("{what}: {error}"));
        println!(
            "{what}: {:.2} Gbit/s, {} retransmits, {} of {} lost",
            run.received_bps / 1e9,
            run.retransmits,
            run.lost,
            run.datagrams
        );
        assert!(run.received_bps > 0.0, "{what}: {run:?}");
    }
    assert_eq!(denied.count(), 0);
    for space in node.pods.iter().map(|pod| &pod.space).chain([&node.space]) {
        assert_eq!(checksum_errors(space), ChecksumErrors::default(), "{}", space.name());
    }
    wait_until("every frame is in its place", PATIENCE, || {
        gateway.instance.status().workers.iter().all(|worker| worker.leaked == 0)
    });
    let status = gateway.instance.status();
    assert!(status.workers.iter().all(|worker| worker.alive), "{status:?}");
    // Every segment was a real connection's, and none came before or after it.
    for reason in ["tcp-invalid", "no-flow"] {
        assert_eq!(status.drops.get(reason), None, "{:?}", status.drops);
    }
    println!("drops: {:?}, events lost: {}", status.drops, status.events_lost);
}
