//! What `podgate flows` says of live connections, and what it does to them.

use std::net::UdpSocket;

use podgate_control::api::FlowRecord;
use podgate_netns_tests::manifest::policy;
use podgate_netns_tests::space::Finished;
use podgate_netns_tests::traffic::{ALLOWED_WITHIN, Conversation, Server, ask_udp, reaches_udp};
use podgate_netns_tests::{Gateway, Node, Turn};

/// `shop/db` takes everything from `shop/web` only.
fn only_web() -> String {
    policy(
        "shop/db-from-web",
        "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: \
         {matchLabels: {app: web}}}]}]}",
    )
}

#[track_caller]
fn list(gateway: &Gateway, words: &[&str]) -> Vec<FlowRecord> {
    let finished = ask(gateway, &[&["flows", "list", "-o", "json"], words].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    finished.stdout.lines().map(|line| serde_json::from_str(line).expect("a flow")).collect()
}

#[track_caller]
fn ask(gateway: &Gateway, words: &[&str]) -> Finished {
    gateway.instance.ask(words)
}

#[test]
fn flows_are_listed_shown_and_forgotten() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["shop/web", "shop/db"]);
    let gateway = Gateway::start(&node, &only_web(), &[]);
    let (web, db) = (node.pod("shop/web"), node.pod("shop/db"));
    let _server = Server::start(db, 5432);
    let mut talk = Conversation::open(&web.space, db.v4, 5432);
    assert!(talk.exchange(ALLOWED_WITHIN));
    for address in db.addresses() {
        assert!(reaches_udp(&web.space, address, 5432, ALLOWED_WITHIN));
    }

    let tcp = list(&gateway, &["--protocol", "tcp", "--state", "established", "--port", "5432"]);
    let [flow] = &tcp[..] else { panic!("{tcp:?}") };
    assert_eq!((flow.source.as_str(), flow.destination.as_str()), ("shop/web", "shop/db"));
    assert_eq!((&flow.source_ip, &flow.destination_ip), (&web.v4.to_string(), &db.v4.to_string()));
    assert_eq!((flow.destination_port, flow.protocol.as_str()), (5432, "TCP"));
    assert_eq!(
        (flow.reason.as_str(), flow.egress.as_str(), flow.ingress.as_str()),
        ("policy", "not-isolated", "policy")
    );
    assert_eq!(flow.rule.as_deref(), Some("shop/db-from-web ingress[0]"));
    assert_eq!((flow.way.as_str(), flow.device.as_ref()), ("shortcut", Some(&web.port)));
    assert_eq!(Some(flow.epoch), gateway.instance.status().epoch);
    assert!(
        flow.assured && flow.age_seconds >= flow.idle_seconds && flow.expires_seconds > 400_000.0,
        "{flow:?}"
    );
    assert!(flow.packets_sent >= 3 && flow.packets_returned >= 2 && flow.bytes_sent > 3 * 40, "{flow:?}");

    assert_eq!(list(&gateway, &["--protocol", "UDP"]).len(), 2);
    assert_eq!(list(&gateway, &["--address", &db.v6.to_string(), "--protocol", "udp"]).len(), 1);
    assert_eq!(list(&gateway, &["--pod", "shop/db", "--limit", "2"]).len(), 2);
    assert_eq!(list(&gateway, &["--pod", "shop/nobody"]).len(), 0);

    let table = ask(&gateway, &["flows", "list", "--protocol", "tcp"]).stdout;
    let words = ["ID", "shop/web", "shop/db", "5432", "ESTABLISHED", "shop/db-from-web ingress[0]", &flow.id];
    assert!(words.iter().all(|word| table.contains(word)), "{table}");
    let shown = ask(&gateway, &["flows", "get", &flow.id]);
    assert!(shown.code == 0 && shown.stdout.contains("assured"), "{shown:?}");
    let shown: FlowRecord =
        serde_json::from_str(&ask(&gateway, &["flows", "get", &flow.id, "-o", "json"]).stdout).unwrap();
    assert_eq!((&shown.id, shown.source_port), (&flow.id, flow.source_port));

    // Which ones has to be said, and well.
    for (words, code) in [
        (&["flows", "flush"][..], 2),
        (&["flows", "flush", "--all", "--port", "1"], 2),
        (&["flows", "list", "--protocol", "gre"], 2),
        (&["flows", "list", "--state", "open"], 2),
        (&["flows", "get", "17"], 2),
        (&["flows", "get", "ffffff.1"], 1),
    ] {
        let finished = ask(&gateway, words);
        assert_eq!(finished.code, code, "{words:?}: {}{}", finished.stdout, finished.stderr);
        assert!(finished.stderr.len() > 10, "{words:?}");
    }

    let flushed = ask(&gateway, &["flows", "flush", "--protocol", "udp", "--pod", "shop/db"]);
    assert_eq!(flushed.stdout, "2 flows forgotten\n");
    assert!(talk.exchange(ALLOWED_WITHIN), "only what was asked for is forgotten");
    assert_eq!(ask(&gateway, &["flows", "flush", "--protocol", "tcp"]).stdout, "1 flow forgotten\n");
    assert_eq!(ask(&gateway, &["flows", "get", &flow.id]).code, 1);
}

#[test]
fn many_flows_are_listed_while_the_gateway_goes_on() {
    const MANY: usize = 3_000;
    let _turn = Turn::shared();
    let node = Node::with_pods(&["shop/web", "shop/db"]);
    let gateway = Gateway::start(&node, "", &[]);
    let (web, db) = (node.pod("shop/web"), node.pod("shop/db"));
    let _server = Server::start(db, 53);
    assert!(ask_udp(&web.space, db.v4, 53, ALLOWED_WITHIN).is_some());
    web.space.run(|| {
        let socket = UdpSocket::bind((web.v4, 40_000)).expect("a socket");
        for port in 0..MANY {
            let _ = socket.send_to(b"?", (db.v4, 10_000 + port as u16));
            if port % 50 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    });
    let listed = list(&gateway, &["--port", "40000"]).len();
    assert!(listed > MANY / 2, "{listed}");
    let finished = ask(&gateway, &["flows", "flush", "--all"]);
    let removed: usize = finished.stdout.split(' ').next().unwrap().parse().unwrap();
    assert!(removed >= listed, "{removed} of {listed}");
    assert_eq!(gateway.instance.status().flows, 0);
}
