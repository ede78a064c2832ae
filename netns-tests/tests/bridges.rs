//! The bridge that is guarded, also when it is made anew or called otherwise; and other bridges, which are left alone.

use std::net::{IpAddr, Ipv4Addr};

use nix::sys::signal::Signal;
use podgate_dataplane::mac::Mac;
use podgate_netns_tests::frame::{Arp, BROADCAST, Route};
use podgate_netns_tests::node::BRIDGE;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, DENIED_AFTER, Presser, Reach, Server, Watcher, ping, reach, reach_within,
};
use podgate_netns_tests::{Gateway, Node, Pod, Space, Turn, wait_until};

/// The node on the other bridge.
const OTHER_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// Whether nft can ask this kernel which bridge a port is of (`CONFIG_NFT_BRIDGE_META`).
fn kernel_tells_bridges(space: &Space) -> bool {
    let asks =
        "add table bridge asked ; add chain bridge asked in ; add rule bridge asked in meta ibrname cni0";
    space.try_sh(&format!("nft -c {asks}")).code == 0
}

/// Plugs a container into another bridge.
fn add_container(node: &Node, number: u8) -> Space {
    let space = Space::create(&format!("{}-c{number}", node.space.name()));
    node.space.ip_batch(&format!(
        "link add ctr{number} type veth peer name eth0 netns {}\nlink set ctr{number} master docker0 up\n",
        space.name()
    ));
    space.ip_batch(&format!("link set eth0 up\naddr add 10.9.0.{}/24 dev eth0\n", 10 + number));
    space
}

/// As of `ip -batch`: the bridge anew, with the node's addresses, and pods' ports that join it.
fn made_anew(ports: &[&str]) -> String {
    let mut lines = format!(
        "link del {BRIDGE}\nlink add {BRIDGE} type bridge stp_state 0 forward_delay 0\nlink set {BRIDGE} up\n\
         addr add {}/16 dev {BRIDGE}\naddr add {}/64 dev {BRIDGE} nodad\n",
        Node::V4,
        Node::V6
    );
    for port in ports {
        lines += &format!("link set {port} master {BRIDGE} up\n");
    }
    lines
}

fn alarm_of(gateway: &Gateway, words: &str) -> Option<String> {
    gateway.instance.status().alarms.into_iter().find(|alarm| alarm.contains(words))
}

/// Neither the node nor the pod gets anything from the other.
#[track_caller]
fn assert_closed(node: &Node, pod: &Pod) {
    assert_eq!(ping(&pod.space, Node::V4, "-c 2 -i 0.1 -W 0.3").received, 0, "{} asks", pod.key);
    assert_eq!(ping(&node.space, pod.v4, "-c 2 -i 0.1 -W 0.3").received, 0, "{} is asked", pod.key);
}

/// Who has asked in vain for an address asks again after a while.
#[track_caller]
fn assert_open(node: &Node, pod: &Pod) {
    for (space, to) in [(&pod.space, Node::V4), (&node.space, pod.v4)] {
        wait_until("an answer comes", ALLOWED_WITHIN, || ping(space, to, "-c 1 -W 1").received == 1);
    }
}

/// Where the kernel does not tell bridges apart, the veths of others are let pass one by one, while a gateway runs.
#[test]
fn pods_of_other_bridges_are_left_alone() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client"]);
    node.space.ip_batch(&format!(
        "link add docker0 type bridge forward_delay 0\nlink set docker0 up\naddr add {OTHER_V4}/24 dev docker0\n"
    ));
    let tells = kernel_tells_bridges(&node.space);
    println!("the kernel tells nft which bridge a port is of: {tells}");
    let first = add_container(&node, 1);
    let mut gateway = Gateway::start(&node, "", &[]);
    let second = add_container(&node, 2);
    for space in [&first, &second] {
        wait_until("it reaches its bridge", ALLOWED_WITHIN, || {
            ping(space, OTHER_V4, "-c 1 -W 1").received == 1
        });
    }
    assert_eq!(ping(&first, Ipv4Addr::new(10, 9, 0, 12), "-c 1 -W 2").received, 1);
    let table = node.space.sh(&format!("nft list table bridge podgate_{}", gateway.instance.name));
    let asked = ["ibrname", "obrname"].map(|key| table.contains(&format!("meta {key} \"{BRIDGE}\"")));
    assert_eq!(asked, [tells; 2], "{table}");
    let open_ports = gateway.instance.status().fence.expect("a fence").open_ports;
    assert_eq!(open_ports, if tells { 1 } else { 3 });
    assert_eq!(alarm_of(&gateway, "does not tell nft which bridge").is_none(), tells);

    gateway.end(Signal::SIGKILL);
    for space in [&first, &second] {
        assert_eq!(ping(space, OTHER_V4, "-c 1 -W 2").received, 1, "{}", space.name());
    }
    let third = add_container(&node, 3);
    assert_eq!(ping(&third, OTHER_V4, "-c 1 -W 2").received, u32::from(tells), "it came meanwhile");
    gateway.launch();
    gateway.instance.wait_for_pods(["a/client"]);
    wait_until("it reaches its bridge", ALLOWED_WITHIN, || ping(&third, OTHER_V4, "-c 1 -W 1").received == 1);
}

#[test]
fn pods_of_a_bridge_that_is_made_anew_are_guarded() {
    let _turn = Turn::shared();
    for is_away in [false, true] {
        let mut node = Node::with_pods(&["a/client"]);
        let mut gateway = Gateway::start(&node, "", &[]);
        if is_away {
            gateway.end(Signal::SIGKILL);
        }
        let old = node.remove("a/client");
        if !is_away {
            node.space.sh(&format!("ip link del {BRIDGE}"));
            wait_until("an alarm tells", ALLOWED_WITHIN, || alarm_of(&gateway, BRIDGE).is_some());
            node.space.ip_batch(&format!("link add {BRIDGE} type bridge\n"));
        }
        node.space.ip_batch(&made_anew(&[]));
        node.add("a/new");
        node.add("a/newer");
        let (new, newer) = (node.pod("a/new"), node.pod("a/newer"));
        assert_closed(&node, new);
        if is_away {
            gateway.launch();
        }
        gateway.refresh(&node);
        for pod in [new, newer] {
            assert_open(&node, pod);
        }
        let _server = Server::start(newer, 80);
        assert_eq!(reach(&new.space, newer.v4, 80), Reach::Connected);
        assert_eq!(gateway.instance.status().ports.len(), 2);
        assert_eq!(gateway.instance.status().alarms, Vec::<String>::new());
        drop(old);
    }
}

/// A pod that shouts while the bridge is made anew under it, and the gateway has heard of neither.
#[test]
fn not_one_frame_passes_a_bridge_that_is_made_anew() {
    const ROUNDS: u8 = 10;
    let _turn = Turn::alone();
    let node = Node::new();
    let beyond = Space::create(&format!("{}-out", node.space.name()));
    node.space.ip_batch(&format!("link add out0 type veth peer name eth0 netns {}\n", beyond.name()));
    beyond.sh("ip link set eth0 up");
    let gateway = Gateway::start(&node, "", &["--except", "out0"]);
    let mut shouted = 0;
    for round in 0..ROUNDS {
        let (space, mac) =
            (Space::create(&format!("{}-{round}", node.space.name())), Mac([2, 0x99, 0, 0, 0, round]));
        let port = format!("spin{round}");
        node.space.ip_batch(&format!(
            "link add {port} type veth peer name eth0 address 02:99:00:00:00:{round:02x} netns {}\n",
            space.name()
        ));
        space.sh("ip link set eth0 up");
        let from = Ipv4Addr::new(10, 44, 99, round);
        let to_all = Route {
            from_mac: mac,
            to_mac: BROADCAST,
            from: from.into(),
            to: IpAddr::V4(Ipv4Addr::BROADCAST),
        };
        let arp = Arp { operation: 1, sender: (mac, from), target: (Mac([0; 6]), Node::V4) };
        let shouts = vec![to_all.udp(68, 67, b"first"), arp.frame(mac, BROADCAST)];
        let at_uplink = Watcher::start(&beyond, "eth0", mac);
        let spinner = Presser::start(&space, "eth0", shouts);
        node.space.ip_batch(&made_anew(&["out0", &port]));
        wait_until("it is guarded, and has shouted on", ALLOWED_WITHIN, || {
            gateway.instance.status().ports.iter().any(|found| found.device == port && found.lifted > 100)
        });
        assert_eq!(at_uplink.seen(), 0, "round {round}: at the uplink");
        shouted += spinner.sent();
        drop(spinner);
        node.space.sh(&format!("ip link del {port}"));
    }
    let dropped = gateway.instance.status().fence.expect("a fence").dropped_from_pods;
    println!("{ROUNDS} rounds: of {shouted} frames none passed; the fence stopped {dropped}");
    assert!(dropped > 0);
}

#[test]
fn a_bridge_that_is_renamed_stays_guarded_and_one_that_takes_its_name_is_closed() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::start(&node, "", &[]);
    node.space.ip_batch(&format!(
        "link set {BRIDGE} down\nlink set {BRIDGE} name former0\nlink set former0 up\n\
         link add {BRIDGE} type bridge forward_delay 0\nlink set {BRIDGE} up\naddr add 10.45.0.1/16 dev {BRIDGE}\n"
    ));
    wait_until("an alarm tells", ALLOWED_WITHIN, || alarm_of(&gateway, "former0").is_some());
    let _server = Server::start(node.pod("a/server"), 80);
    let (client, server) = (node.pod("a/client"), node.pod("a/server"));
    assert_eq!(reach(&client.space, server.v4, 80), Reach::Connected);
    gateway.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: none, namespace: a}\n\
         spec: {podSelector: {}}\n",
    );
    assert_ne!(reach_within(&client.space, server.v4, 80, DENIED_AFTER), Reach::Connected);

    // On the bridge that has its name now nobody is guarded, and nobody is let pass.
    node.plug_in("a/stranger", Ipv4Addr::new(10, 45, 0, 9), Node::V6);
    let stranger = node.pod("a/stranger");
    stranger.space.sh("ip addr add 10.45.0.9/16 dev eth0");
    assert_eq!(ping(&stranger.space, Ipv4Addr::new(10, 45, 0, 1), "-c 3 -i 0.5 -W 1").received, 0);
    assert!(gateway.instance.status().ports.iter().all(|port| port.device != stranger.port));

    // It is the one once the other is gone.
    node.space.sh("ip link del former0");
    wait_until("it is guarded", ALLOWED_WITHIN, || {
        gateway.instance.status().ports.iter().any(|port| port.device == stranger.port)
    });
    assert_eq!(alarm_of(&gateway, "former0"), None);
}
