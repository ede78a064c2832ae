//! One pod floods; the other nineteen do not notice.

use std::time::Duration;

use podgate_dataplane::mac::Mac;
use podgate_netns_tests::frame::{BROADCAST, Route, Wire};
use podgate_netns_tests::traffic::{Blast, Conversation, Pace, Ping, Server, ping};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

const SOON: Duration = Duration::from_secs(5);

/// Twenty pods, the first of which floods, and a gateway.
fn twenty(options: &[&str]) -> (Node, Gateway) {
    let mut node = Node::new();
    node.add("a/flooder");
    for number in 1..20 {
        node.add(&format!("a/pod{number}"));
    }
    let gateway = Gateway::start(&node, "", options);
    (node, gateway)
}

/// Pings among the nineteen and talks over TCP while `flood` runs; asserts that nothing was lost.
fn others_are_fine(node: &Node, gateway: &Gateway, what: &str) {
    let calm = &node.pods[1..];
    let _server = Server::start(&calm[0], 80);
    let mut talks: Vec<_> =
        calm[1..4].iter().map(|pod| Conversation::open(&pod.space, calm[0].v4, 80)).collect();
    let pings: Vec<(&str, Ping)> = std::thread::scope(|scope| {
        let pings: Vec<_> = calm
            .iter()
            .enumerate()
            .map(|(number, pod)| {
                let next = &calm[(number + 1) % calm.len()];
                scope.spawn(move || (pod.key.as_str(), ping(&pod.space, next.v4, "-c 20 -i 0.1 -W 5")))
            })
            .collect();
        pings.into_iter().map(|thread| thread.join().expect("a ping")).collect()
    });
    for talk in &mut talks {
        for _ in 0..50 {
            assert!(talk.exchange(SOON), "{what}: TCP lives");
        }
    }
    let lost: u32 = pings.iter().map(|(_, ping)| ping.lost()).sum();
    let worst = pings.iter().map(|(_, ping)| ping.longest_ms).fold(0.0, f64::max);
    println!("{what}: {lost} lost, longest round trip {worst} ms");
    assert_eq!(lost, 0, "{what}: {pings:?}\n{:?}", gateway.instance.status());
}

#[test]
fn a_unicast_flood_starves_nobody() {
    let _turn = Turn::alone();
    let (node, gateway) = twenty(&["--cpus", "1"]);
    let flooder = node.pod("a/flooder");
    // Several sockets: what one has in flight is bounded by its send buffer, and fits the queues.
    let target = node.pod("a/pod19").v4;
    let blasts = [9; 8].map(|port| Blast::start(&flooder.space, target, port, Pace::Flat, None));
    let sent = || blasts.iter().map(Blast::sent).sum::<u64>();
    wait_until("the flood runs", SOON, || sent() > 20_000);
    others_are_fine(&node, &gateway, "unicast flood");
    println!("flooded {}", sent());
    drop(blasts);
    let leaked: u64 = gateway.instance.status().workers.iter().map(|worker| worker.leaked).sum();
    assert_eq!(leaked, 0);
}

#[test]
fn a_broadcast_flood_starves_nobody_and_is_held_to_its_budget() {
    let _turn = Turn::alone();
    let (node, gateway) = twenty(&[]);
    let flooder = node.pod("a/flooder");
    let blast = Blast::start(&flooder.space, [10, 44, 255, 255], 9, Pace::Flat, None);
    wait_until("the budget is used up", SOON, || gateway.drops(flooder, "broadcast-budget") > 1000);
    others_are_fine(&node, &gateway, "broadcast flood");
    drop(blast);
    for pod in &node.pods[1..] {
        assert_eq!(gateway.drops(pod, "broadcast-budget"), 0, "{}: budgets are a pod's own", pod.key);
    }
}

#[test]
fn a_flood_for_nobody_is_copied_to_nobody() {
    let _turn = Turn::alone();
    let (node, gateway) = twenty(&[]);
    let flooder = node.pod("a/flooder");
    let nowhere = Mac([2, 0, 0, 0, 0, 0x99]);
    // Another pod's address, and a MAC address that the bridge has never seen: it would flood them.
    let route =
        Route { from_mac: flooder.mac, to_mac: nowhere, from: flooder.v4.into(), to: node.pods[5].v4.into() };
    let frame = route.udp(7, 9, &[0; 22]);
    let wire = Wire::open(&flooder.space, "eth0");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                wire.try_send(&frame);
            }
        });
        let delivered = |number: u32| gateway.instance.port_of(&format!("a/pod{number}")).delivered;
        let before: Vec<_> = (1..20).map(delivered).collect();
        others_are_fine(&node, &gateway, "unknown-MAC flood");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        // What the pods got is their own few hundred frames, not a copy of tens of thousands.
        for (number, before) in (1..20).zip(before) {
            let got = delivered(number) - before;
            assert!(got < 3000, "a/pod{number} got {got} frames");
        }
    });
}

#[test]
fn a_frame_for_another_mac_reaches_no_pod() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/one", "a/two", "a/three"]);
    let gateway = Gateway::start(&node, "", &[]);
    let (two, three) = (node.pod("a/two"), node.pod("a/three"));
    // From the node itself, so that it is the bridge that floods it.
    let stray = Route {
        from_mac: Mac([2, 0x44, 0, 0, 0, 1]),
        to_mac: Mac([2, 0, 0, 0, 0, 0x99]),
        from: Node::V4.into(),
        to: two.v4.into(),
    };
    let ear = Wire::open(&two.space, "eth0");
    let node_wire = Wire::open(&node.space, "cni0");
    for _ in 0..10 {
        node_wire.send(&stray.udp(7, 9, b"stray"));
    }
    wait_until("the copies are counted at every port", SOON, || {
        [two, three].iter().all(|pod| gateway.drops(pod, "wrong-mac") >= 10)
    });
    let heard = ear.find(Duration::from_millis(200), |frame| frame.ends_with(b"stray").then_some(()));
    assert!(heard.is_none());
    // What is for everybody still arrives.
    node_wire.send(&Route { to_mac: BROADCAST, to: [255; 4].into(), ..stray }.udp(7, 9, b"hello"));
    assert!(ear.find(SOON, |frame| frame.ends_with(b"hello").then_some(())).is_some());
}
