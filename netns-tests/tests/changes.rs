//! Policies change all the time; who is not concerned does not notice, and what is denied stays denied.

use std::time::Duration;

use podgate_netns_tests::manifest::policy;
use podgate_netns_tests::traffic::Stamped;
use podgate_netns_tests::{Gateway, Node, Turn};

const CHANGES: usize = 200;
const QUIET: Duration = Duration::from_millis(300);

/// `shop/db` takes UDP 9 from `shop/web`, and sometimes something else from somebody else.
fn policies(change: usize) -> String {
    let mut text = policy(
        "shop/db",
        "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], \
         ports: [{protocol: UDP, port: 9}]}]}",
    );
    if change.is_multiple_of(2) {
        text += &policy(
            "shop/more",
            &format!(
                "{{podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: \
                 {{app: n{change}}}}}}}], ports: [{{protocol: UDP, port: {}}}]}}]}}",
                1000 + change
            ),
        );
    }
    text
}

#[test]
fn two_hundred_changes_lose_nothing_and_let_nothing_through() {
    let _turn = Turn::alone();
    let node = Node::with_pods(&["shop/web", "shop/db", "other/guest"]);
    let gateway = Gateway::start(&node, &policies(0), &[]);
    let (web, db, guest) = (node.pod("shop/web"), node.pod("shop/db"), node.pod("other/guest"));
    let unaffected = Stamped::start(&web.space, &db.space, db.v4, 9, 10_000);
    let denied = Stamped::start(&guest.space, &db.space, db.v4, 10, 1_000);
    let before = gateway.instance.status().epoch.expect("a policy in force");
    for change in 1..=CHANGES {
        gateway.apply(&policies(change));
    }
    let status = gateway.instance.status();
    assert!(status.epoch.is_some_and(|epoch| epoch >= before + CHANGES as u32), "{:?}", status.epoch);
    let (denied, unaffected) = (denied.stop(QUIET), unaffected.stop(QUIET));
    let sent = unaffected.sent.len();
    println!("{sent} datagrams of the unaffected flow, {} denied ones", denied.sent.len());
    assert!(sent > 10_000 && denied.sent.len() > 1_000, "both were sent all the time");
    let status = gateway.instance.status();
    let rings = status.workers.iter().map(|worker| (worker.rx_dropped, worker.rx_ring_full));
    assert_eq!(unaffected.lost(), 0, "{:?} {:?}", status.drops, rings.collect::<Vec<_>>());
    assert_eq!(denied.lost(), denied.sent.len(), "a denied datagram got through");
    assert_eq!(status.alarms, Vec::<String>::new());
}
