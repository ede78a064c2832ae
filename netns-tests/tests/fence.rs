//! New pods are closed until they are guarded, whoever speaks first and whether a gateway runs or not; nobody else is.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;
use podgate_dataplane::mac::Mac;
use podgate_netns_tests::frame::{Arp, BROADCAST, Route, Wire};
use podgate_netns_tests::node::BRIDGE;
use podgate_netns_tests::pod::parse_mac;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, DENIED_AFTER, Presser, Reach, Server, Watcher, ping, reach, reach_within,
};
use podgate_netns_tests::{Footprint, Gateway, Node, Pod, Space, Turn, wait_until};

fn table(gateway: &Gateway) -> String {
    format!("podgate_{}", gateway.instance.name)
}

fn has_fence(node: &Node, gateway: &Gateway) -> bool {
    node.space.try_sh(&format!("nft list table bridge {}", table(gateway))).code == 0
}

/// Whether the node has learned the pod's MAC address.
fn is_neighbour(node: &Node, pod: &Pod) -> bool {
    let known = node.space.sh(&format!("ip neigh show dev {BRIDGE}"));
    known.lines().any(|line| line.starts_with(&format!("{} ", pod.v4)) && line.contains("lladdr"))
}

/// Nothing passes between the pod and the node, or others, either way.
#[track_caller]
fn assert_closed(node: &Node, pod: &Pod, others: &[&Pod]) {
    let _at_node = Server::start_in(&node.space, "node", 8081);
    let _at_pod = Server::start(pod, 8082);
    for to in [IpAddr::V4(Node::V4), Node::V6.into()] {
        assert_eq!(ping(&pod.space, to, "-c 2 -i 0.1 -W 0.3").received, 0, "{} asks {to}", pod.key);
        assert_ne!(reach_within(&pod.space, to, 8081, DENIED_AFTER), Reach::Connected);
    }
    for to in pod.addresses() {
        assert_eq!(ping(&node.space, to, "-c 2 -i 0.1 -W 0.3").received, 0, "the node asks {to}");
        assert_ne!(reach_within(&node.space, to, 8082, DENIED_AFTER), Reach::Connected);
    }
    for other in others {
        assert_eq!(ping(&pod.space, other.v4, "-c 2 -i 0.1 -W 0.3").received, 0, "{}", other.key);
        assert_eq!(ping(&other.space, pod.v4, "-c 2 -i 0.1 -W 0.3").received, 0, "{}", other.key);
    }
    assert!(!is_neighbour(node, pod), "not even ARP");
}

#[test]
fn a_pod_that_comes_while_no_gateway_runs_is_closed() {
    let _turn = Turn::shared();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut node = Node::with_pods(&["a/client"]);
        let before = Footprint::of(&node.space);
        let mut gateway = Gateway::start(&node, "", &[]);
        gateway.end(signal);
        node.add("a/late");
        node.add("a/later");
        let (client, late, later) = (node.pod("a/client"), node.pod("a/late"), node.pod("a/later"));
        assert_closed(&node, late, &[client, later]);

        // The next one takes it over, and them up.
        gateway.write("cluster.yaml", &node.manifest());
        gateway.launch();
        gateway.instance.wait_for_pods(["a/client", "a/late", "a/later"]);
        // Who has asked in vain for an address asks again after a while.
        for (space, to) in [(&late.space, IpAddr::V4(Node::V4)), (&node.space, late.v6.into())] {
            wait_until("an answer comes", ALLOWED_WITHIN, || ping(space, to, "-c 1 -W 1").received == 1);
        }
        let _server = Server::start(later, 80);
        assert_eq!(reach(&late.space, later.v4, 80), Reach::Connected);
        let fence = gateway.instance.status().fence.expect("a fence");
        assert_eq!(fence.table, table(&gateway));
        assert!(fence.is_whole && fence.open_ports == 3 && fence.put_back == 0, "{fence:?}");

        gateway.end(Signal::SIGKILL);
        gateway.detach();
        node.remove("a/late");
        node.remove("a/later");
        before.assert_same(&Footprint::of(&node.space));
    }
}

#[test]
fn a_pod_that_nobody_guards_yet_is_closed_at_a_gateway_that_starts() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["a/client"]);
    let mut gateway = Gateway::start(&node, "", &[]);
    gateway.end(Signal::SIGKILL);
    // An older gateway's guard, or somebody's flush.
    node.space.sh("nft flush ruleset");
    node.add("a/late");
    assert_eq!(ping(&node.pod("a/late").space, Node::V4, "-c 1 -W 2").received, 1, "no fence, no guard");
    gateway.launch();
    wait_until("the gateway serves", ALLOWED_WITHIN, || gateway.instance.try_status().is_some());
    assert!(has_fence(&node, &gateway));
    assert_eq!(ping(&node.pod("a/late").space, Node::V4, "-c 2 -i 0.1 -W 0.3").received, 0, "it is nobody's");
}

/// A bridge hands frames to 01-80-C2-00-00-0E to the node as if the port were no port: past its own hooks.
#[test]
fn what_bridges_hand_on_past_their_hooks_is_closed_too() {
    let _turn = Turn::shared();
    let mut node = Node::with_pods(&["a/client"]);
    let mut gateway = Gateway::start(&node, "", &[]);
    gateway.end(Signal::SIGKILL);
    node.add("a/late");
    let late = node.pod("a/late");
    // Nothing else of the node's is to refuse an address that is not beyond the veth.
    for device in ["all", &late.port] {
        node.space.sh(&format!("sysctl -q -w net.ipv4.conf.{device}.rp_filter=0"));
    }
    let socket = node.space.run(|| UdpSocket::bind((Node::V4, 4001))).expect("a socket");
    let kept = Mac([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
    let route = Route { from_mac: late.mac, to_mac: kept, from: late.v4.into(), to: Node::V4.into() };
    let arp = Arp { operation: 1, sender: (late.mac, late.v4), target: (Mac([0; 6]), Node::V4) };
    let wire = Wire::open(&late.space, "eth0");
    wire.send(&route.udp(4000, 4001, b"past the fence"));
    wire.send(&arp.frame(late.mac, kept));
    for family in ["inet", "arp"] {
        let list = format!("nft list table {family} {}", table(&gateway));
        wait_until(&format!("the {family} table drops it"), ALLOWED_WITHIN, || {
            node.space.sh(&list).contains("counter packets 1 ")
        });
    }
    // Without the fence it would have come: what does come is the second one.
    node.space.sh("nft flush ruleset");
    wire.send(&route.udp(4000, 4001, b"no fence"));
    socket.set_read_timeout(Some(ALLOWED_WITHIN)).expect("a timeout");
    let mut read = [0; 32];
    let length = socket.recv(&mut read).expect("what no fence stops comes");
    assert_eq!(&read[..length], b"no fence");
}

/// What a pod may shout before anybody looks: to everybody, to groups, to the node, with and without IP.
fn shouts(pod: Mac, node: Mac, from: Ipv4Addr) -> Vec<Vec<u8>> {
    let to = |to_mac, to: Ipv4Addr| Route { from_mac: pod, to_mac, from: from.into(), to: to.into() };
    let group = Mac([0x01, 0, 0x5e, 0, 0, 0xfb]);
    let arp = Arp { operation: 1, sender: (pod, from), target: (Mac([0; 6]), Node::V4) };
    vec![
        to(BROADCAST, Ipv4Addr::BROADCAST).udp(68, 67, b"first"),
        to(node, Node::V4).udp(4000, 4001, b"first"),
        to(group, Ipv4Addr::new(224, 0, 0, 251)).udp(5353, 5353, b"first"),
        arp.frame(pod, BROADCAST),
    ]
}

/// A pod that shouts from before its device joins the bridge, while the node shouts at it.
#[test]
fn not_one_frame_passes_before_the_guard() {
    const ROUNDS: u8 = 40;
    let _turn = Turn::alone();
    let node = Node::with_pods(&["a/client"]);
    // An uplink to which the bridge floods.
    let beyond = Space::create(&format!("{}-out", node.space.name()));
    node.space.ip_batch(&format!(
        "link add out0 type veth peer name eth0 netns {}\nlink set out0 master {BRIDGE} up\n",
        beyond.name()
    ));
    beyond.sh("ip link set eth0 up");
    let gateway = Gateway::start(&node, "", &["--except", "out0"]);
    let bridge_mac = parse_mac(node.space.link(BRIDGE)["address"].as_str().expect("a MAC address"));
    let node_shouts = Route {
        from_mac: bridge_mac,
        to_mac: BROADCAST,
        from: Node::V4.into(),
        to: Ipv4Addr::BROADCAST.into(),
    };
    let _node = Presser::start(&node.space, BRIDGE, vec![node_shouts.udp(4000, 4001, b"node")]);
    let (mut shouted, mut heard_by_node) = (0, 0);
    for round in 0..ROUNDS {
        let (space, mac) =
            (Space::create(&format!("{}-{round}", node.space.name())), Mac([2, 0x99, 0, 0, 0, round]));
        let port = format!("spin{round}");
        node.space.ip_batch(&format!(
            "link add {port} type veth peer name eth0 address 02:99:00:00:00:{round:02x} netns {}\n",
            space.name()
        ));
        space.sh("ip link set eth0 up");
        let at = [
            Watcher::start(&node.space, BRIDGE, mac),
            Watcher::start(&beyond, "eth0", mac),
            Watcher::start(&node.pod("a/client").space, "eth0", mac),
        ];
        let at_pod = Watcher::start(&space, "eth0", bridge_mac);
        let from = Ipv4Addr::new(10, 44, 99, round);
        let spinner = Presser::start(&space, "eth0", shouts(mac, bridge_mac, from));
        node.space.sh(&format!("ip link set {port} master {BRIDGE} up"));
        wait_until("it is guarded, and has shouted on", ALLOWED_WITHIN, || {
            gateway.instance.status().ports.iter().any(|found| found.device == port && found.lifted > 1000)
        });
        let seen = at.each_ref().map(Watcher::seen);
        assert_eq!(seen, [0; 3], "round {round}: at the node, at the uplink, at the other pod");
        assert_eq!(at_pod.seen(), 0, "round {round}: at the new pod");
        shouted += spinner.sent();
        heard_by_node += at.len() as u64;
        drop(spinner);
        node.space.sh(&format!("ip link del {port}"));
    }
    let dropped = gateway.instance.status().fence.expect("a fence");
    println!(
        "{ROUNDS} rounds: of {shouted} frames none passed; the fence stopped {} from and {} to new veths",
        dropped.dropped_from_pods, dropped.dropped_to_pods
    );
    assert!(shouted > 1000 * u64::from(ROUNDS) && heard_by_node > 0);
    assert!(dropped.dropped_from_pods > 0 && dropped.dropped_to_pods > 0, "{dropped:?}");
}

#[test]
fn a_flushed_or_changed_fence_is_put_back() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client", "a/server"]);
    let gateway = Gateway::start(&node, "", &[]);
    let _server = Server::start(node.pod("a/server"), 80);
    let (table, port) = (table(&gateway), &node.pod("a/server").port);
    let index = node.space.link(port)["ifindex"].as_u64().expect("a number");
    let changes = [
        "nft flush ruleset".to_owned(),
        format!("nft delete table bridge {table}"),
        format!("nft flush chain bridge {table} from_ports"),
        format!("nft add element bridge {table} open {{ 4711 . \"stranger0\" }}"),
        format!("nft delete element bridge {table} open {{ {index} . \"{port}\" }}"),
        format!("nft add element bridge {table} except {{ \"veth*\" }}"),
        format!("nft insert rule bridge {table} to_ports accept"),
    ];
    let whole = node.space.sh(&format!("nft -s list table bridge {table}"));
    for (times, change) in (1..).zip(&changes) {
        let changed = node.space.try_sh(change);
        if changed.code != 0 {
            // A wildcard is no element of such a set.
            assert!(change.contains("veth*"), "{change}: {}", changed.stderr);
            continue;
        }
        let took = wait_until(change, Duration::from_secs(5), || {
            gateway.instance.status().fence.is_some_and(|fence| fence.put_back >= times - 1 && fence.is_whole)
                && node.space.try_sh(&format!("nft -s list table bridge {table}")).stdout.len() == whole.len()
        });
        println!("{change}: put back {took:?} after");
        assert_eq!(reach(&node.pod("a/client").space, node.pod("a/server").v4, 80), Reach::Connected);
    }
    let alarms = gateway.instance.status().alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains(&table) && alarm.contains("put back")), "{alarms:?}");
    let told = gateway.instance.ask(&["status"]).stdout;
    assert!(told.contains(&table), "{told}");
}

#[test]
fn uplinks_and_excepted_devices_are_open_all_the_time() {
    let _turn = Turn::shared();
    let node = Node::with_pods(&["a/client"]);
    let spaces = ["a", "b"].map(|name| Space::create(&format!("{}-{name}", node.space.name())));
    // One that is told to be left alone, and a port that is no veth.
    node.space.ip_batch(&format!(
        "link add out0 type veth peer name eth0 netns {}\nlink set out0 master {BRIDGE} up\n\
         link add under0 type veth peer name eth0 netns {}\nlink set under0 up\naddr add 192.168.7.1/24 dev under0\n\
         link add up0 type vxlan id 5 dstport 4789 local 192.168.7.1 remote 192.168.7.2\n\
         link set up0 master {BRIDGE} up\n",
        spaces[0].name(),
        spaces[1].name()
    ));
    spaces[0].ip_batch("link set eth0 up\naddr add 10.44.99.1/16 dev eth0\n");
    spaces[1].ip_batch(
        "link set eth0 up\naddr add 192.168.7.2/24 dev eth0\n\
         link add vx0 type vxlan id 5 dstport 4789 local 192.168.7.2 remote 192.168.7.1\n\
         link set vx0 up\naddr add 10.44.99.2/16 dev vx0\n",
    );
    let mut gateway = Gateway::start(&node, "", &["--except", "out0"]);
    let works = |when: &str| {
        for (number, space) in (1..).zip(&spaces) {
            let address = Ipv4Addr::new(10, 44, 99, number);
            assert_eq!(ping(space, Node::V4, "-c 1 -W 2").received, 1, "{when}");
            assert_eq!(ping(&node.space, address, "-c 1 -W 2").received, 1, "{when}");
        }
        assert_eq!(ping(&spaces[0], Ipv4Addr::new(10, 44, 99, 2), "-c 1 -W 2").received, 1, "{when}");
    };
    works("with a gateway");
    gateway.end(Signal::SIGKILL);
    works("without one");
}

#[test]
fn an_open_fallback_and_a_fence_that_is_off_have_none() {
    let _turn = Turn::shared();
    for options in [["--fallback", "open"], ["--fence", "off"]] {
        let node = Node::with_pods(&["a/client"]);
        let mut gateway = Gateway::start(&node, "", &options);
        assert!(!has_fence(&node, &gateway) && gateway.instance.status().fence.is_none());
        let told = gateway.instance.ask(&["status"]).stdout;
        assert!(told.contains("fence: none"), "{told}");
        gateway.end(Signal::SIGTERM);
        assert!(!has_fence(&node, &gateway));
    }
    // It takes down what one before has put up.
    let node = Node::with_pods(&["a/client"]);
    let mut closed = Gateway::start(&node, "", &[]);
    closed.end(Signal::SIGKILL);
    assert!(has_fence(&node, &closed));
    let mut command = closed.command();
    let mut child = command.args(["--fence", "off"]).spawn().expect("nsenter");
    wait_until("the fence is gone", ALLOWED_WITHIN, || !has_fence(&node, &closed));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
