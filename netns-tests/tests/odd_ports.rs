//! Ports that cannot be guarded, change under the gateway, or are not what they seem.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use podgate_netns_tests::node::BRIDGE;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Blast, DENIED_AFTER, Pace, Reach, Server, Sink, ping, reach, reach_within,
};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

fn is_up(node: &Node, device: &str) -> bool {
    node.space.link(device)["flags"].as_array().expect("flags").iter().any(|flag| flag == "UP")
}

/// A port that the gateway has failed to guard since it was plugged in anew: where its link would be pinned, a
/// directory is in the way. Returns that.
#[track_caller]
fn unguardable(node: &Node, gateway: &Gateway, pod: &str) -> PathBuf {
    let device = &node.pod(pod).port;
    let index = node.space.link(device)["ifindex"].as_u64().expect("a number");
    node.space.sh(&format!("ip link set {device} nomaster"));
    wait_until("it is let go", ALLOWED_WITHIN, || {
        gateway.instance.status().ports.iter().all(|port| port.device != *device)
    });
    // That of the second of its two programs: it is half guarded when it fails.
    let in_the_way = gateway.pins().join(format!("to_{index}_new"));
    std::fs::create_dir(&in_the_way).expect("a directory on a bpf file system");
    node.space.sh(&format!("ip link set {device} master {BRIDGE}"));
    wait_until("an alarm tells", ALLOWED_WITHIN, || told_of(gateway, device).is_some());
    let alarm = told_of(gateway, device).expect("an alarm");
    assert!(alarm.contains("is not guarded") && alarm.contains("set down"), "{alarm}");
    assert!(!is_up(node, device));
    in_the_way
}

fn told_of(gateway: &Gateway, device: &str) -> Option<String> {
    gateway.instance.status().alarms.into_iter().find(|alarm| alarm.contains(device))
}

#[test]
fn a_port_that_cannot_be_guarded_is_set_down_until_it_can() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::start(&node, "", &[]);
    let in_the_way = unguardable(&node, &gateway, "a/server");
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    let _server = Server::start(server, 80);
    assert_ne!(reach_within(&client.space, server.v4, 80, DENIED_AFTER), Reach::Connected);
    // Whoever sets it up again does not open it.
    node.space.sh(&format!("ip link set {} up", server.port));
    wait_until("it is set down again", ALLOWED_WITHIN, || !is_up(&node, &server.port));
    std::fs::remove_dir(in_the_way).expect("ours");
    gateway.instance.wait_for_pods(["a/client", "a/server"]);
    assert_eq!(reach(&client.space, server.v4, 80), Reach::Connected);
    assert_eq!(told_of(&gateway, &server.port), None);
}

#[test]
fn what_was_set_down_is_given_back_where_the_wire_is_opened_and_only_there() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    let _server = Server::start(server, 80);
    for (on_exit, signal) in
        [("hold", Signal::SIGTERM), ("detach", Signal::SIGKILL), ("detach", Signal::SIGTERM)]
    {
        let mut gateway = Gateway::start(&node, "", &["--on-exit", on_exit]);
        let in_the_way = unguardable(&node, &gateway, "a/server");
        // It finds the signal before it can try again.
        kill(gateway.pid(), Signal::SIGSTOP).expect("it runs");
        std::fs::remove_dir(in_the_way).expect("ours");
        kill(gateway.pid(), signal).expect("it runs");
        kill(gateway.pid(), Signal::SIGCONT).expect("it runs");
        let ended = gateway.wait_for_end();
        assert_eq!(ended.code(), (signal == Signal::SIGTERM).then_some(0), "{}", gateway.log());
        if (on_exit, signal) == ("detach", Signal::SIGTERM) {
            assert!(is_up(&node, &server.port), "{}", gateway.log());
            assert_eq!(reach(&client.space, server.v4, 80), Reach::Connected);
            continue;
        }
        assert!(!is_up(&node, &server.port), "{on_exit}, {signal}");
        // The next one guards it, and whoever looks after the node sets it up.
        gateway.launch();
        gateway.instance.wait_for_pods(["a/client", "a/server"]);
        assert!(!is_up(&node, &server.port), "{on_exit}, {signal}");
        node.space.sh(&format!("ip link set {} up", server.port));
        assert_eq!(reach(&client.space, server.v4, 80), Reach::Connected);
    }
}

#[test]
fn a_renamed_port_stays_what_it_is() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::start(&node, "", &[]);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    let _server = Server::start(server, 80);
    let number = gateway.instance.port_of("a/server").port;
    node.space.sh(&format!("ip link set {} down", server.port));
    node.space.sh(&format!("ip link set {} name renamed0", server.port));
    node.space.sh("ip link set renamed0 up");
    wait_until("status knows the name", ALLOWED_WITHIN, || {
        gateway.instance.port_of("a/server").device == "renamed0"
    });
    assert_eq!(gateway.instance.port_of("a/server").port, number);
    assert_eq!(reach(&client.space, server.v4, 80), Reach::Connected);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(gateway.instance.status().alarms, Vec::<String>::new());
}

#[test]
fn a_pod_with_other_addresses_is_bound_when_the_manifests_follow() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::start(&node, "", &[]);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    let _server = Server::start(server, 80);
    assert_eq!(reach(&client.space, server.v4, 80), Reach::Connected);
    // First the device, which alone gains nothing.
    server.space.sh("ip addr del 10.44.0.11/16 dev eth0");
    server.space.sh("ip addr add 10.44.7.7/16 dev eth0");
    server.space.sh("ip link set eth0 address 02:44:00:00:07:07");
    server.space.sh("ip route replace default via 10.44.0.1");
    let new = "10.44.7.7".parse::<std::net::Ipv4Addr>().expect("an address");
    assert_ne!(reach_within(&client.space, new, 80, DENIED_AFTER), Reach::Connected);
    // Then the manifests.
    gateway.write("cluster.yaml", &node.manifest().replace("10.44.0.11", "10.44.7.7"));
    wait_until("it is bound by its new address", ALLOWED_WITHIN, || {
        let ports = gateway.instance.status().ports;
        ports.iter().any(|port| {
            port.pod.as_deref() == Some("a/server")
                && port.addresses.iter().any(|address| address == "10.44.7.7")
        })
    });
    // The client may be waiting for an answer to a question of before; it asks again.
    wait_until("it is reached by its new address", ALLOWED_WITHIN, || {
        reach(&client.space, new, 80) == Reach::Connected
    });
}

#[test]
fn a_number_given_anew_is_another_port() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["a/client", "a/old"]);
    let gateway = Gateway::start(&node, "", &[]);
    let old = node.pod("a/old");
    let index = node.space.link(&old.port)["ifindex"].as_u64().expect("a number");
    let (port, space) = (old.port.clone(), podgate_netns_tests::Space::create("pg-odd-anew"));
    let _server = Server::start_in(&space, "new", 80);
    node.space.ip_batch(&format!(
        "link del {port}\n\
         link add {port} index {index} type veth peer name eth0 netns {}\n\
         link set {port} master cni0 up\n",
        space.name()
    ));
    space.ip_batch("addr add 10.44.0.99/16 dev eth0\nlink set eth0 up\n");
    wait_until("the newcomer is nobody", ALLOWED_WITHIN, || {
        let ports = gateway.instance.status().ports;
        ports.iter().any(|found| found.device == port && found.pod.is_none())
    });
    let new = "10.44.0.99".parse::<std::net::Ipv4Addr>().expect("an address");
    assert_ne!(reach_within(&node.pod("a/client").space, new, 80, DENIED_AFTER), Reach::Connected);
    node.pods.retain(|pod| pod.key != "a/old");
}

#[test]
fn a_port_whose_pod_cannot_be_seen_stays_guarded_over_a_restart() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client"]);
    // Both ends on the node: the peer of one is a port, too.
    node.space
        .ip_batch("link add odd0 type veth peer name odd1\nlink set odd0 master cni0 up\nlink set odd1 up\n");
    let mut gateway = Gateway::start(&node, "", &[]);
    assert!(gateway.instance.status().ports.iter().any(|port| port.device == "odd0"));
    gateway.end(Signal::SIGKILL);
    gateway.launch();
    gateway.instance.wait_for_pods(["a/client"]);
    assert!(gateway.instance.status().ports.iter().any(|port| port.device == "odd0"));
}

/// Fifty pods come and go as fast as they can be made; the others do not notice, and nothing that
/// comes is left behind or left out.
#[test]
fn a_burst_of_pods_is_taken_up_and_let_go() {
    let _turn = Turn::alone();
    let mut node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::start(&node, "", &[]);
    let sink = Sink::open(&node.pod("a/server").space, 9, None);
    let blast =
        Blast::start(&node.pod("a/client").space, node.pod("a/server").v4, 9, Pace::PerSecond(200), None);
    for round in 0..3 {
        let keys: Vec<_> = (0..50).map(|number| format!("b/pod{number}")).collect();
        for key in &keys {
            node.add(key);
        }
        gateway.write("cluster.yaml", &node.manifest());
        let made = std::time::Instant::now();
        gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
        println!("round {round}: all known {:?} after the last was made", made.elapsed());
        for key in &keys {
            node.remove(key);
        }
        gateway.write("cluster.yaml", &node.manifest());
        let gone = wait_until("all are let go", Duration::from_secs(10), || {
            gateway.instance.status().ports.len() == 2
        });
        println!("round {round}: let go {gone:?} after the last went");
    }
    let pins = std::fs::read_dir(gateway.pins()).expect("pins").flatten();
    let links = pins.filter(|pin| {
        let name = pin.file_name().to_string_lossy().into_owned();
        name.starts_with("from_") || name.starts_with("to_")
    });
    assert_eq!(links.count(), 4);
    let sent = blast.stop();
    wait_until("not one datagram of the others was lost", Duration::from_secs(5), || sink.count() == sent);
    assert_eq!(gateway.instance.status().alarms, Vec::<String>::new());
}

#[test]
fn a_pod_that_makes_itself_too_large_keeps_no_gateway_from_starting() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/large"]);
    node.pod("a/large").space.sh("ip link set eth0 mtu 3499");
    let gateway = Gateway::start(&node, "", &[]);
    gateway.instance.wait_for_pods(["a/client", "a/large"]);
    wait_until("an alarm says so", Duration::from_secs(10), || {
        let says =
            |alarm: &String| ["has MTU 3499", "3498", "--except"].iter().all(|part| alarm.contains(part));
        gateway.instance.status().alarms.iter().any(says)
    });
    for pod in &node.pods {
        assert_eq!(ping(&pod.space, Node::V4, "-c 1 -W 2").received, 1, "{}", pod.key);
    }
}
