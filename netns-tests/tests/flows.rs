//! What `podgate flows` says of live connections, and what it does to them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;
use podgate_control::api::{ChangeReport, FlowRecord};
use podgate_netns_tests::manifest::{deny_ingress, policy};
use podgate_netns_tests::space::Finished;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Reach, Server, ask_udp, reach_within, reaches_udp,
};
use podgate_netns_tests::{Gateway, Node, Space, Turn, eventually, wait_until};

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
    let none = ask(&gateway, &["flows", "list", "--pod", "shop/nobody"]);
    assert_eq!((none.code, none.stdout.as_str(), none.stderr.as_str()), (0, "", "no flow fits\n"));
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
        (&["flows", "list", "--pod", "db"], 2),
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

/// What the newest policy has done to live flows, as soon as all have been looked at.
#[track_caller]
fn last_change(gateway: &Gateway) -> ChangeReport {
    let look = || {
        let status = gateway.instance.status();
        status.last_change.filter(|change| Some(change.epoch) == status.epoch)
    };
    eventually("the change has been looked into", ALLOWED_WITHIN, look).0
}

/// A UDP socket that keeps its port, to see whether what it says is still answered.
fn talks(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(DENIED_AFTER)).expect("a timeout");
    let mut heard = [0; 64];
    socket.send(b"?").is_ok() && socket.recv(&mut heard).is_ok()
}

fn ask_from(space: &Space, from: u16, to: (Ipv4Addr, u16)) -> UdpSocket {
    let socket = space.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, from))).expect("a socket");
    socket.connect(to).expect("a route");
    socket
}

/// `flow-udp-stream-after-deny`, with real sockets, and what is reported of it.
#[test]
fn a_change_says_what_it_has_cut_and_kept() {
    let _turn = Turn::shared();
    for (mode, lives) in [("recheck", false), ("keep", true)] {
        let node = Node::with_pods(&["shop/web", "shop/db", "other/guest"]);
        let gateway = Gateway::start(&node, "", &["--live-connections", mode]);
        let (web, db, guest) = (node.pod("shop/web"), node.pod("shop/db"), node.pod("other/guest"));
        let _server = Server::start(db, 80);
        let sockets = [ask_from(&web.space, 5000, (db.v4, 80)), ask_from(&guest.space, 5000, (db.v4, 80))];
        assert!(sockets.iter().all(talks));
        let silent = ask_from(&guest.space, 5001, (db.v4, 80));
        assert!(talks(&silent));

        gateway.apply(&only_web());
        let change = last_change(&gateway);
        assert_eq!((change.cut, change.kept), if lives { (0, 2) } else { (2, 0) }, "{mode}: {change:?}");
        assert!(change.allowed >= 1 && change.seconds < 5.0, "{change:?}");
        assert_eq!(gateway.instance.status().flows_cut, change.cut);
        let left = list(&gateway, &["--pod", "other/guest", "--protocol", "udp"]).len();
        assert_eq!(left, if lives { 2 } else { 0 }, "{mode}: without a packet of theirs");
        let table = ask(&gateway, &["status"]).stdout;
        let told = if lives { "2 kept though no longer allowed" } else { "2 cut" };
        assert!(table.contains(told), "{table}");
        if !lives {
            let events = gateway.instance.events(&["--verdict", "dropped", "--pod", "other/guest"]);
            let event =
                events.iter().find(|event| event.explanation.contains("it was cut")).expect("an event");
            assert_eq!(
                (event.reason.as_str(), &event.policies[..]),
                ("policy-ingress", &["shop/db-from-web".to_owned()][..])
            );
        }
        assert!(talks(&sockets[0]), "{mode}: still allowed");
        assert_eq!(talks(&sockets[1]), lives, "{mode}");
        assert!(!talks(&ask_from(&guest.space, 5002, (db.v4, 80))), "{mode}: a new one is not allowed");
    }
}

fn hears(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).expect("a timeout");
    stream.read(&mut [0; 64]).is_ok_and(|heard| heard > 0)
}

/// In the gateway's first minute, and db may open what it likes: what it says on a connection that was
/// cut is not taken for the opening of one of its own.
#[test]
fn a_connection_that_was_cut_does_not_come_back_from_its_far_end() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["shop/web", "shop/db", "other/guest"]);
    let gateway = Gateway::start(&node, "", &[]);
    let (db, guest) = (node.pod("shop/db"), node.pod("other/guest"));
    let listener = db.space.run(|| TcpListener::bind((db.v4, 80))).expect("a listener");
    let mut near = guest.space.run(|| TcpStream::connect((db.v4, 80))).expect("a connection");
    let (mut far, _) = listener.accept().expect("a connection");
    far.write_all(b"1").expect("room");
    assert!(hears(&mut near, ALLOWED_WITHIN));

    gateway.apply(&only_web());
    assert_eq!(last_change(&gateway).cut, 1, "silent, and cut all the same");
    far.write_all(b"2").expect("room");
    assert!(!hears(&mut near, DENIED_AFTER));
    let cut = list(&gateway, &["--state", "denied"]);
    let [flow] = &cut[..] else { panic!("{cut:?}") };
    assert_eq!((flow.source.as_str(), flow.destination.as_str()), ("other/guest", "shop/db"));
    assert_eq!((flow.reason.as_str(), flow.rule.as_ref()), ("policy-ingress", None));
    let events = gateway.instance.events(&["--verdict", "dropped", "--pod", "other/guest"]);
    let event = events.last().expect("db's segment");
    assert_eq!((event.source.as_deref(), event.reason.as_str()), (Some("other/guest"), "policy-ingress"));
    let status = gateway.instance.status();
    assert_eq!(status.flows_cut, 1);

    // Allowed again: its initiator's next segment takes it up where it was.
    gateway.apply("");
    near.write_all(b"3").expect("room");
    assert!(hears(&mut far, ALLOWED_WITHIN) && hears(&mut near, ALLOWED_WITHIN));
    assert_eq!(gateway.instance.status().flows_cut, 1);
}

/// `flow-tcp-reply-allowed` and `flow-udp-reply-allowed`, with real sockets.
#[test]
fn answers_need_no_rule_and_strangers_do() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["x/a", "y/a"]);
    let (a, other) = (node.pod("x/a"), node.pod("y/a"));
    let policies = deny_ingress("x/deny")
        + &policy(
            "x/dns",
            "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 80}]}]}",
        );
    let _gateway = Gateway::start(&node, &policies, &[]);
    let _servers = [Server::start(other, 80), Server::start(a, 80)];
    let _names = Server::start(other, 53);
    let mut talk = Conversation::open(&a.space, other.v4, 80);
    assert!(talk.exchange(ALLOWED_WITHIN));
    assert_eq!(reach_within(&other.space, a.v4, 80, DENIED_AFTER), Reach::TimedOut);

    let asker = ask_from(&a.space, 50_000, (other.v4, 53));
    assert!(talks(&asker));
    assert!(!talks(&ask_from(&a.space, 50_000 + 1, (other.v4, 54))), "another port of the server");
    // Neither from another port of the server nor to another port of the asker.
    let stranger = other.space.run(|| UdpSocket::bind((other.v4, 54))).expect("a socket");
    let open = a.space.run(|| UdpSocket::bind((a.v4, 50_002))).expect("a socket");
    open.set_read_timeout(Some(DENIED_AFTER)).expect("a timeout");
    stranger.send_to(b"!", (a.v4, 50_002)).expect("sent");
    assert!(open.recv(&mut [0; 8]).is_err());
    assert!(talks(&asker), "the flow is as it was");
}

/// What a restart must not lose: who opened a flow, when, and what passed on it.
#[test]
fn flows_live_on_over_a_restart() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["shop/web", "shop/db", "other/guest"]);
    let mut gateway = Gateway::start(&node, &deny_ingress("shop/deny"), &[]);
    let (web, db, guest) = (node.pod("shop/web"), node.pod("shop/db"), node.pod("other/guest"));
    let server = guest.space.run(|| UdpSocket::bind((guest.v4, 80))).expect("a socket");
    let client = ask_from(&web.space, 5000, (guest.v4, 80));
    let mut heard = [0; 8];
    client.send(b"?").expect("sent");
    server.set_read_timeout(Some(ALLOWED_WITHIN)).expect("a timeout");
    let (_, from) = server.recv_from(&mut heard).expect("a question");
    client.set_read_timeout(Some(DENIED_AFTER)).expect("a timeout");
    let before = list(&gateway, &["--port", "5000"]);

    assert_eq!(gateway.end(Signal::SIGTERM).code(), Some(0), "{}", gateway.log());
    // A start that fails at its last step leaves the file for the next one.
    let socket = gateway.run_dir().join(&gateway.instance.name).join("api.sock");
    std::fs::remove_file(&socket).expect("its socket");
    std::fs::create_dir(&socket).expect("a directory in its place");
    gateway.launch();
    assert_eq!(gateway.wait_for_end().code(), Some(2), "{}", gateway.log());
    std::fs::remove_dir(&socket).expect("ours");
    gateway.launch();
    gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    let after = list(&gateway, &["--port", "5000"]);
    let ([before], [after]) = (&before[..], &after[..]) else { panic!("{before:?} {after:?}") };
    let told = |flow: &FlowRecord| {
        let FlowRecord { source, destination, state, way, device, packets_sent, bytes_sent, .. } =
            flow.clone();
        (source, destination, state, way, device, packets_sent, bytes_sent)
    };
    assert_eq!(told(before), told(after));
    assert!(after.age_seconds > before.age_seconds && after.idle_seconds > before.idle_seconds);
    // Only an answer may come in to the shop, and only because the question is remembered.
    server.send_to(b"!", from).expect("sent");
    assert!(client.recv(&mut heard).is_ok(), "{}", gateway.log());

    // What policy has come to deny meanwhile is not carried on.
    assert_eq!(gateway.end(Signal::SIGTERM).code(), Some(0), "{}", gateway.log());
    gateway.write("policies.yaml", &policy("shop/none", "{podSelector: {}, policyTypes: [Ingress, Egress]}"));
    gateway.launch();
    gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    server.send_to(b"!", from).expect("sent");
    assert!(client.recv(&mut heard).is_err(), "{}", gateway.log());
    assert_eq!(last_change(&gateway).cut, 1);

    // A file that is not whole: nothing of it is taken up, and the log says why.
    gateway.apply("");
    let _names = Server::start(db, 53);
    assert!(ask_udp(&web.space, db.v4, 53, ALLOWED_WITHIN).is_some());
    assert_eq!(gateway.end(Signal::SIGTERM).code(), Some(0), "{}", gateway.log());
    let file = gateway.run_dir().join(&gateway.instance.name).join("flows.bin");
    let whole = std::fs::read(&file).expect("flows");
    std::fs::write(&file, &whole[..whole.len() - 1]).expect("flows");
    gateway.launch();
    gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    assert!(gateway.log().contains("cut short") && !file.exists(), "{}", gateway.log());
    assert_eq!(list(&gateway, &["--port", "53"]).len(), 0);
}

#[test]
fn a_pod_has_its_quota_and_no_more() {
    const OPENED: u64 = 30;
    let _turn = Turn::shared();
    let node = Node::with_pods(&["shop/web", "shop/db", "other/guest"]);
    let gateway = Gateway::start(&node, "", &["--flows-per-pod", "20", "--half-open-per-pod", "10"]);
    let (web, db, guest) = (node.pod("shop/web"), node.pod("shop/db"), node.pod("other/guest"));
    let _server = Server::start(db, 53);
    // Nothing listens there, so none of these is answered.
    web.space.run(|| {
        let socket = UdpSocket::bind((web.v4, 40_000)).expect("a socket");
        for port in 0..OPENED {
            let _ = socket.send_to(b"?", (db.v4, 2000 + port as u16));
        }
    });
    let refused = || gateway.drops(web, "half-open-quota");
    wait_until("the quota is met", ALLOWED_WITHIN, || refused() == OPENED - 10);
    assert_eq!(gateway.drops(web, "flow-quota"), 0);
    let status = gateway.instance.status();
    let table = &status.flow_table;
    assert_eq!((table.over_half_open_quota, table.over_flow_quota), (OPENED - 10, 0));
    assert_eq!((table.flows_per_pod, table.half_open_per_pod), (20, 10));
    let [near] = &table.near_quota[..] else { panic!("{table:?}") };
    assert_eq!((near.pod.as_deref(), near.passage.as_str()), (Some("shop/web"), "from-pod"));
    assert_eq!((near.flows, near.half_open), (10, 10));
    assert_eq!(table.opened, status.flows as u64 + table.expired + table.removed + table.reopened);
    assert_eq!(gateway.drops(guest, "half-open-quota"), 0);
    assert!(ask_udp(&guest.space, db.v4, 53, ALLOWED_WITHIN).is_some(), "others have theirs");
}

#[test]
fn a_restart_keeps_what_it_is_told_to_keep() {
    let _turn = Turn::shared();
    for (mode, lives) in [("recheck", false), ("keep", true)] {
        let node = Node::with_pods(&["shop/web", "shop/db", "other/guest"]);
        let mut gateway = Gateway::start(&node, "", &["--live-connections", mode]);
        let (web, db, guest) = (node.pod("shop/web"), node.pod("shop/db"), node.pod("other/guest"));
        let _server = Server::start(db, 80);
        let sockets = [ask_from(&web.space, 5000, (db.v4, 80)), ask_from(&guest.space, 5000, (db.v4, 80))];
        assert!(sockets.iter().all(talks));

        assert_eq!(gateway.end(Signal::SIGTERM).code(), Some(0), "{}", gateway.log());
        gateway.write("policies.yaml", &only_web());
        gateway.launch();
        gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
        let change = last_change(&gateway);
        assert_eq!((change.cut, change.kept), if lives { (0, 1) } else { (1, 0) }, "{mode}: {change:?}");
        let told = |flow: &FlowRecord| (flow.source.clone(), flow.reason.clone(), flow.ingress.clone());
        let mut listed: Vec<_> = list(&gateway, &["--port", "5000"]).iter().map(told).collect();
        listed.sort();
        let told = |source: &str, word: &str, ingress: &str| {
            (source.to_owned(), word.to_owned(), ingress.to_owned())
        };
        let expected = if lives {
            vec![told("other/guest", "carried", "not-isolated"), told("shop/web", "carried", "not-isolated")]
        } else {
            vec![told("shop/web", "policy", "policy")]
        };
        assert_eq!(listed, expected, "{mode}");
        assert!(talks(&sockets[0]), "{mode}: still allowed");
        assert_eq!(talks(&sockets[1]), lives, "{mode}: {}", gateway.log());
        assert!(!talks(&ask_from(&guest.space, 5001, (db.v4, 80))), "{mode}: a new one is not allowed");
    }
}

/// With the default grace it lives on, as the tests on crashes have it.
#[test]
fn without_a_grace_nothing_is_taken_up_in_the_middle() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["shop/web", "shop/db"]);
    let mut gateway = Gateway::start(&node, "", &["--pickup-grace", "0", "--timeout", "tcp-established=1h"]);
    let (web, db) = (node.pod("shop/web"), node.pod("shop/db"));
    let _server = Server::start(db, 80);
    let mut talk = Conversation::open(&web.space, db.v4, 80);
    assert!(talk.exchange(ALLOWED_WITHIN));
    let [flow] = &list(&gateway, &["--port", "80"])[..] else { panic!("one flow") };
    assert!(flow.expires_seconds > 3500.0 && flow.expires_seconds < 3601.0, "{flow:?}");

    gateway.end(Signal::SIGKILL);
    gateway.launch();
    gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    assert!(!talk.exchange(DENIED_AFTER));
    assert!(gateway.drops(web, "no-flow") > 0);
    assert!(Conversation::open(&web.space, db.v4, 80).exchange(ALLOWED_WITHIN), "a new one opens");
}

#[test]
fn many_flows_are_listed_while_the_gateway_goes_on() {
    const MANY: usize = 3_000;
    let _turn = Turn::shared();
    let node = Node::with_pods(&["shop/web", "shop/db"]);
    let gateway = Gateway::start(&node, "", &["--half-open-per-pod", "10000"]);
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
