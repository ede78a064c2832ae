//! Ports come and go while others are in use.

use std::time::Duration;

use podgate_netns_tests::manifest::deny_ingress;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Blast, Conversation, DENIED_AFTER, Pace, Reach, Server, Sink, ping, reach, reach_within,
    reaches_udp,
};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

#[test]
fn ports_come_and_go_without_disturbing_others() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::start(&node, &deny_ingress("closed/deny"), &[]);
    let sink = Sink::open(&node.pod("a/server").space, 9, None);
    let _server = Server::start(node.pod("a/server"), 80);
    let mut talk = Conversation::open(&node.pod("a/client").space, node.pod("a/server").v4, 80);
    let blast =
        Blast::start(&node.pod("a/client").space, node.pod("a/server").v4, 9, Pace::PerSecond(500), None);

    for round in 0..5 {
        node.add("b/late");
        node.add("closed/late");
        gateway.refresh(&node);
        let (late, closed) = (node.pod("b/late"), node.pod("closed/late"));
        let _servers = [Server::start(late, 80), Server::start(closed, 80)];
        let client = &node.pod("a/client").space;
        assert_eq!(reach(client, late.v4, 80), Reach::Connected, "round {round}");
        assert_eq!(reach(client, late.v6, 80), Reach::Connected, "round {round}");
        assert_eq!(reach_within(client, closed.v4, 80, DENIED_AFTER), Reach::TimedOut, "round {round}");
        node.remove("b/late");
        node.remove("closed/late");
        gateway.refresh(&node);
        wait_until("the ports are gone from status", ALLOWED_WITHIN, || {
            gateway.instance.status().ports.len() == node.pods.len()
        });
        assert!(talk.exchange(ALLOWED_WITHIN), "round {round}");
    }
    let sent = blast.stop();
    wait_until("not one datagram of the others was lost", Duration::from_secs(5), || sink.count() == sent);
    assert!(gateway.instance.status().alarms.is_empty(), "{:?}", gateway.instance.status().alarms);
}

#[test]
fn a_pod_nobody_knows_gets_nothing() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["a/client"]);
    let gateway = Gateway::start(&node, "", &[]);
    node.add("a/stranger");
    let device = node.pod("a/stranger").port.clone();
    wait_until("the new port is guarded", ALLOWED_WITHIN, || {
        gateway.instance.status().ports.iter().any(|port| port.device == device)
    });
    let _server = Server::start(node.pod("a/client"), 80);
    let stranger = &node.pod("a/stranger").space;
    assert_eq!(ping(stranger, node.pod("a/client").v4, "-c 1 -W 0.4").received, 0);
    assert!(!reaches_udp(stranger, node.pod("a/client").v6, 80, DENIED_AFTER));
    wait_until("its frames are counted under their reason", ALLOWED_WITHIN, || {
        let status = gateway.instance.status();
        let port = status.ports.iter().find(|port| port.device == device).expect("its port");
        port.pod.is_none() && port.drops.get("unknown-endpoint").is_some_and(|&drops| drops > 0)
    });
    let alarms = gateway.instance.status().alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains(&device)), "{alarms:?}");
    gateway.refresh(&node);
    assert_eq!(reach(stranger, node.pod("a/client").v4, 80), Reach::Connected);
}

#[test]
fn a_hundred_neighbours_resolve_at_once() {
    let _turn = Turn::alone();
    let mut node = Node::new();
    for number in 0..100 {
        node.add(&format!("a/pod{number}"));
    }
    let gateway = Gateway::start(&node, "", &[]);
    for pod in &node.pods {
        pod.space.sh("ip neigh flush dev eth0");
    }
    let lost: Vec<_> = std::thread::scope(|scope| {
        let pings: Vec<_> = node
            .pods
            .iter()
            .enumerate()
            .map(|(number, pod)| {
                let next = &node.pods[(number + 1) % node.pods.len()];
                scope.spawn(move || {
                    let v4 = ping(&pod.space, next.v4, "-c 1 -W 5");
                    let v6 = ping(&pod.space, next.v6, "-c 1 -W 5");
                    (v4.lost() + v6.lost() > 0).then_some((&pod.key, v4, v6))
                })
            })
            .collect();
        pings.into_iter().filter_map(|thread| thread.join().expect("a ping")).collect()
    });
    assert!(lost.is_empty(), "{} of 100 lost: {lost:?}\n{:?}", lost.len(), gateway.instance.status().drops);
}
