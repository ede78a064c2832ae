//! Policy on live traffic: TCP, UDP and ICMP, IPv4 and IPv6, and what `observe` says of it.

use std::time::Duration;

use podgate_control::api::VerdictWord;
use podgate_netns_tests::manifest::{deny_ingress, policy};
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Reach, Server, ask_udp, ping, reach, reach_within,
    reaches_udp,
};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

fn three() -> Node {
    Node::with_pods(&["shop/web", "shop/db", "other/guest"])
}

/// `shop/db` takes TCP 5432 from `shop/web` only.
fn only_web() -> String {
    policy(
        "shop/db-from-web",
        "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: \
         {matchLabels: {app: web}}}], ports: [{protocol: TCP, port: 5432}]}]}",
    )
}

#[test]
fn without_policy_everything_passes() {
    let _turn = Turn::shared();
    let node = three();
    let gateway = Gateway::start(&node, "", &[]);
    let _server = Server::start(node.pod("shop/db"), 5432);
    for client in ["shop/web", "other/guest"] {
        let client = node.pod(client);
        for address in node.pod("shop/db").addresses() {
            assert_eq!(reach(&client.space, address, 5432), Reach::Connected);
            assert_eq!(reach(&client.space, address, 81), Reach::Refused);
            assert_eq!(ask_udp(&client.space, address, 5432, ALLOWED_WITHIN).as_deref(), Some("shop/db\n"));
            assert_eq!(ping(&client.space, address, "-c 3 -i 0.05 -W 2").lost(), 0);
        }
    }
    let status = gateway.instance.status();
    assert_eq!(status.drops.keys().filter(|reason| reason.starts_with("policy")).count(), 0, "{status:?}");
    assert!(status.alarms.is_empty(), "{:?}", status.alarms);
}

#[test]
fn deny_all_stops_everything_and_an_allow_opens_what_it_says() {
    let _turn = Turn::shared();
    let node = three();
    let gateway = Gateway::start(&node, &deny_ingress("shop/deny-all"), &[]);
    let (web, db, guest) = (node.pod("shop/web"), node.pod("shop/db"), node.pod("other/guest"));
    let _servers = [Server::start(db, 5432), Server::start(guest, 80)];
    let dropped = gateway.instance.follow(&["--verdict", "dropped"]);
    for client in [web, guest] {
        for address in db.addresses() {
            assert_eq!(reach_within(&client.space, address, 5432, DENIED_AFTER), Reach::TimedOut);
            assert!(!reaches_udp(&client.space, address, 5432, DENIED_AFTER));
            assert_eq!(ping(&client.space, address, "-c 1 -W 0.4").received, 0);
        }
        for protocol in ["TCP", "UDP", "ICMP", "ICMPv6"] {
            let event = dropped.expect(&format!("{protocol} of {} dropped", client.key), |event| {
                event.protocol.as_deref() == Some(protocol)
                    && event.source.as_deref() == Some(&client.key)
                    && event.destination.as_deref() == Some("shop/db")
            });
            assert_eq!(event.reason, "policy-ingress");
            assert_eq!(event.policies, ["shop/deny-all"]);
            assert_eq!(event.side.as_deref(), Some("ingress"));
        }
    }
    // A pod that is isolated for ingress only may still open connections, and gets the answers.
    for address in guest.addresses() {
        assert_eq!(reach(&db.space, address, 80), Reach::Connected);
        assert_eq!(ask_udp(&db.space, address, 80, ALLOWED_WITHIN).as_deref(), Some("other/guest\n"));
        assert_eq!(ping(&db.space, address, "-c 2 -i 0.05 -W 2").lost(), 0);
    }

    gateway.apply(&(deny_ingress("shop/deny-all") + &only_web()));
    let forwarded = gateway.instance.follow(&["--verdict", "forwarded", "--pod", "shop/web"]);
    for address in db.addresses() {
        assert_eq!(reach(&web.space, address, 5432), Reach::Connected);
        let event = forwarded.expect("the allowed connection", |event| {
            event.destination_ip.as_deref() == Some(&address.to_string())
                && event.protocol.as_deref() == Some("TCP")
        });
        assert_eq!(event.verdict, VerdictWord::Forwarded);
        assert_eq!(event.policies, ["shop/db-from-web"]);
        assert_eq!(event.rule.as_deref(), Some("shop/db-from-web ingress[0]"));
        assert_eq!(reach_within(&guest.space, address, 5432, DENIED_AFTER), Reach::TimedOut);
        assert!(!reaches_udp(&web.space, address, 5432, DENIED_AFTER));
    }
    let guest_dropped = dropped.expect_drop("policy-ingress", "other/guest", Some("shop/db"));
    assert!(guest_dropped.policies.contains(&"shop/deny-all".to_owned()), "{guest_dropped:?}");
}

#[test]
fn an_edit_cuts_and_restores_a_live_connection() {
    let _turn = Turn::shared();
    let node = three();
    let gateway = Gateway::start(&node, "", &[]);
    let (web, db, guest) = (node.pod("shop/web"), node.pod("shop/db"), node.pod("other/guest"));
    let _server = Server::start(db, 5432);
    let mut allowed = Conversation::open(&web.space, db.v4, 5432);
    let mut cut = Conversation::open(&guest.space, db.v6, 5432);
    assert!(allowed.exchange(ALLOWED_WITHIN) && cut.exchange(ALLOWED_WITHIN));

    gateway.write("policies.yaml", &only_web());
    let took = wait_until("the edit cuts the guest's connection", ALLOWED_WITHIN, || {
        !cut.exchange(Duration::from_millis(60))
    });
    println!("an edit was felt {took:?} after it was written (60 ms of it waiting for an echo)");
    assert!(allowed.exchange(ALLOWED_WITHIN), "a connection that is still allowed lives on");
    let published = gateway.instance.status().last_publish_ms;
    println!("from seen to published: {published:?} ms");
    let events = gateway.instance.follow(&["--verdict", "dropped"]);
    let event = events.expect_drop("policy-ingress", "other/guest", Some("shop/db"));
    assert_eq!(event.policies, ["shop/db-from-web"]);

    gateway.apply("");
    assert!(cut.exchange(Duration::from_secs(20)), "TCP takes up where it was");
}

#[test]
fn live_connections_can_be_kept() {
    let _turn = Turn::shared();
    let node = three();
    let gateway = Gateway::start(&node, "", &["--live-connections", "keep"]);
    let (db, guest) = (node.pod("shop/db"), node.pod("other/guest"));
    let _server = Server::start(db, 5432);
    let mut old = Conversation::open(&guest.space, db.v4, 5432);
    assert!(old.exchange(ALLOWED_WITHIN));
    gateway.apply(&only_web());
    assert_eq!(reach_within(&guest.space, db.v4, 5432, DENIED_AFTER), Reach::TimedOut);
    assert!(old.exchange(ALLOWED_WITHIN), "a connection from before lives on");
}

#[test]
fn egress_policy_holds_and_names_itself() {
    let _turn = Turn::shared();
    let node = three();
    let no_egress = policy("other/no-egress", "{podSelector: {}, policyTypes: [Egress]}");
    let gateway = Gateway::start(&node, &no_egress, &[]);
    let (web, guest) = (node.pod("shop/web"), node.pod("other/guest"));
    let _servers = [Server::start(web, 80), Server::start(guest, 80)];
    for (own, other) in guest.addresses().into_iter().zip(web.addresses()) {
        assert_eq!(reach_within(&guest.space, other, 80, DENIED_AFTER), Reach::TimedOut);
        assert_eq!(reach(&web.space, own, 80), Reach::Connected, "replies need no rule");
    }
    let events = gateway.instance.events(&["--verdict", "dropped", "--pod", "other/guest"]);
    let event = events.iter().find(|event| event.reason == "policy-egress").expect("a drop");
    assert_eq!(event.policies, ["other/no-egress"]);
    assert_eq!(event.side.as_deref(), Some("egress"));
    assert_eq!(event.destination.as_deref(), Some("shop/web"));
}

#[test]
fn a_bad_document_keeps_the_last_good_policy() {
    let _turn = Turn::shared();
    let node = three();
    let gateway = Gateway::start(&node, &deny_ingress("shop/deny-all"), &[]);
    let (db, guest) = (node.pod("shop/db"), node.pod("other/guest"));
    let _server = Server::start(db, 5432);
    let epoch = gateway.instance.status().epoch;
    let bad = deny_ingress("shop/deny-all")
        + &policy("shop/wrong", "{podSelector: {}, ingress: [{ports: [{port: 70000, protocol: TCP}]}]}");
    gateway.write("policies.yaml", &bad);
    wait_until("an alarm says what is wrong", ALLOWED_WITHIN, || {
        gateway.instance.status().alarms.iter().any(|alarm| {
            ["policies.yaml", "document 2", "spec.ingress[0].ports[0].port", "70000"]
                .iter()
                .all(|part| alarm.contains(part))
        })
    });
    assert_eq!(gateway.instance.status().epoch, epoch, "what was in force still is");
    assert_eq!(reach_within(&guest.space, db.v4, 5432, DENIED_AFTER), Reach::TimedOut);
    gateway.apply("");
    assert!(gateway.instance.status().alarms.is_empty());
    assert_eq!(reach(&guest.space, db.v4, 5432), Reach::Connected);
}

#[test]
fn the_own_node_may_come_in() {
    let _turn = Turn::shared();
    let node = three();
    let gateway = Gateway::start(&node, &deny_ingress("shop/deny-all"), &[]);
    let db = node.pod("shop/db");
    let _servers = [Server::start(db, 5432), Server::start_in(&node.space, "node", 80)];
    for (pod, own) in db.addresses().into_iter().zip([Node::V4.into(), Node::V6.into()]) {
        assert_eq!(reach(&node.space, pod, 5432), Reach::Connected);
        assert_eq!(ping(&node.space, pod, "-c 2 -i 0.05 -W 2").lost(), 0);
        let own: std::net::IpAddr = own;
        assert_eq!(reach(&db.space, own, 80), Reach::Connected);
    }
    let no_egress = policy("shop/no-egress", "{podSelector: {}, policyTypes: [Egress]}");
    gateway.apply(&no_egress);
    assert_eq!(reach_within(&db.space, Node::V4, 80, DENIED_AFTER), Reach::TimedOut);
    assert_eq!(reach(&node.space, db.v4, 5432), Reach::Connected);
}

/// The API leaves it open; denied is the default.
#[test]
fn a_pod_reaches_its_own_node_only_where_that_is_switched_on() {
    let _turn = Turn::shared();
    for (word, expected) in [("deny", Reach::TimedOut), ("allow", Reach::Refused)] {
        let node = three();
        let sealed = policy("shop/sealed", "{podSelector: {}, policyTypes: [Egress]}");
        let gateway = Gateway::start(&node, &sealed, &["--egress-to-own-node", word]);
        let web = node.pod("shop/web");
        assert_eq!(reach_within(&web.space, Node::V4, 10250, DENIED_AFTER), expected, "{word}");
        assert_eq!(reach_within(&web.space, Node::V6, 10250, DENIED_AFTER), expected, "{word}");
        // What goes to other pods is none of this.
        let db = node.pod("shop/db").v4;
        assert_eq!(reach_within(&web.space, db, 10250, DENIED_AFTER), Reach::TimedOut, "{word}");
        let flows = gateway.instance.events(&["--verdict", "forwarded"]);
        let is_own_node = |event: &&podgate_control::api::EventRecord| event.reason == "own-node";
        assert_eq!(flows.iter().filter(is_own_node).count() > 0, word == "allow", "{flows:?}");
    }
}
