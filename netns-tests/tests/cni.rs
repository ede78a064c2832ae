//! Pods that a container runtime starts, with Debian's plugins and ours.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use nix::sys::signal::Signal;
use podgate_control::api::PortStatus;
use podgate_netns_tests::cni::{Added, Container, Network, OURS};
use podgate_netns_tests::foreign::{Foreign, Hook};
use podgate_netns_tests::libcni::Runtime;
use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::node::NODE_NAME;
use podgate_netns_tests::pod::parse_mac;
use podgate_netns_tests::program::PATIENCE;
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, DENIED_AFTER, Ear, Means, Reach, Server, Spinner, reach, reach_within,
};
use podgate_netns_tests::{Gateway, Node, Pod, Turn, eventually, wait_until};
use serde_json::json;

const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const PEER: &str = "shop/peer";

/// Pods of `shop` with the label `role: new` may send to the peer's port 80 and nowhere else, and nobody may send
/// to them but the peer.
fn rights() -> String {
    policy(
        "shop/new",
        "{podSelector: {matchLabels: {role: new}}, policyTypes: [Ingress, Egress], \
         ingress: [{from: [{podSelector: {matchLabels: {app: peer}}}]}], \
         egress: [{to: [{podSelector: {matchLabels: {app: peer}}}], ports: [{port: 80}]}]}",
    )
}

/// A node with a peer that answers on ports 80 and 81, its gateway, and pods of which the API says that they are to
/// be on this node, and no address.
struct Scene {
    gateway: Gateway,
    servers: Vec<Server>,
    node: Node,
}

impl Scene {
    fn with(scheduled: &[&str]) -> Self {
        let node = Node::with_pods(&[PEER]);
        let gateway = Gateway::prepare(&node, &rights(), &[]);
        let mut scene = Self { gateway, servers: Vec::new(), node };
        scene.schedule(scheduled, &[]);
        scene.gateway.launch();
        scene.gateway.instance.wait_for_pods([PEER]);
        scene.servers = [80, 81].map(|port| Server::start(scene.node.pod(PEER), port)).into();
        scene
    }

    /// What the API says: these pods are to be here, with these addresses each.
    fn schedule(&self, pods: &[&str], addresses: &[IpAddr]) {
        let mut text = self.node.manifest();
        for key in pods {
            let pod = manifest::Pod::new(key, NODE_NAME).label("role", "new").phase("Pending");
            let _ = write!(text, "{}", addresses.iter().copied().fold(pod, manifest::Pod::address));
        }
        self.gateway.write("cluster.yaml", &text);
    }

    fn network(&self, version: &str) -> Network {
        Network::bridged(&self.gateway, version, &json!({}))
    }

    fn peer(&self) -> &Pod {
        self.node.pod(PEER)
    }

    fn port(&self, device: &str) -> Option<PortStatus> {
        self.gateway.instance.status().ports.into_iter().find(|port| port.device == device)
    }

    #[track_caller]
    fn add(&self, network: &Network, container: &Container) -> Added {
        let added = network.add(&self.node, container);
        added.unwrap_or_else(|failure| panic!("{failure:?}\n{}", self.gateway.log()))
    }

    /// Both families as the policy says, at once.
    #[track_caller]
    fn obeys(&self, pod: &Pod) {
        for to in self.peer().addresses() {
            assert_eq!(reach(&pod.space, to, 80), Reach::Connected, "{} to {to}", pod.key);
            assert_eq!(
                reach_within(&pod.space, to, 81, DENIED_AFTER),
                Reach::TimedOut,
                "{} to {to}",
                pod.key
            );
        }
        for to in [IpAddr::from(Node::V4), Node::V6.into()] {
            assert_eq!(
                reach_within(&pod.space, to, 80, DENIED_AFTER),
                Reach::TimedOut,
                "{} to {to}",
                pod.key
            );
        }
    }

    /// Nothing passes either way.
    #[track_caller]
    fn is_closed(&self, pod: &Pod) {
        for to in self.peer().addresses() {
            assert_eq!(
                reach_within(&pod.space, to, 80, DENIED_AFTER),
                Reach::TimedOut,
                "{} to {to}",
                pod.key
            );
        }
        for to in pod.addresses() {
            let back = reach_within(&self.peer().space, to, 80, DENIED_AFTER);
            assert_eq!(back, Reach::TimedOut, "{to}");
        }
    }
}

#[test]
fn a_pod_obeys_policy_when_add_returns_in_every_version() {
    let _turn = Turn::shared();
    let scene = Scene::with(&["shop/new"]);
    for version in VERSIONS {
        let network = scene.network(version);
        let container = Container::of("shop/new");
        let added = scene.add(&network, &container);
        // Policy is in force by now, though the API has said no address.
        let pod = added.pod(&container);
        let port = scene.port(&added.device()).expect("it is guarded");
        assert_eq!(port.pod.as_deref(), Some("shop/new"), "{version}");
        scene.obeys(&pod);
        assert_eq!(reach(&scene.peer().space, pod.v4, 9), Reach::Refused, "{version}");

        // The result went through us as it was.
        assert_eq!(added.result, added.before_ours);
        assert_eq!(added.result["cniVersion"], version);
        let told = port.cni.expect("the runtime has told of it");
        assert_eq!(told.pod.as_deref(), Some("shop/new"));
        assert_eq!(told.uid.as_deref(), Some("uid-of-new"));
        assert_eq!((&told.name.container_id, told.name.interface.as_str()), (&container.id, "eth0"));
        assert_eq!(Path::new(&told.netns), container.space.netns().path());
        assert_eq!(told.addresses, added.addresses());
        assert_eq!(added.addresses().len(), 2);
        if version != "0.3.1" {
            network.check(&scene.node, &container, &added).unwrap();
        }
        if version == "1.1.0" {
            network.status(&scene.node).unwrap();
        }
        for _ in 0..2 {
            network.del(&scene.node, &container, Some(&added)).unwrap();
        }
        wait_until("its port is gone", PATIENCE, || scene.port(&added.device()).is_none());
    }
}

/// The destination is the node itself, before which there is no port that would drop what came out. Until the new
/// port is guarded, the fence closes it.
#[test]
fn nothing_disallowed_gets_out_of_a_pod_that_sends_without_rest() {
    let _turn = Turn::shared();
    let scene = Scene::with(&["shop/new"]);
    let network = scene.network("1.0.0");
    assert!(scene.gateway.instance.status().fence.is_some(), "the node is fenced");
    let ear = Ear::open(&scene.node.space, 9);
    let mac = parse_mac(scene.node.space.link("cni0")["address"].as_str().unwrap());
    let to: [SocketAddr; 2] = [(Node::V4, 9).into(), (Node::V6, 9).into()];
    for (means, to) in [(Means::Sockets, &to[..]), (Means::Frames(mac), &to[..1])] {
        for _ in 0..5 {
            let container = Container::of("shop/new");
            let spinner = Spinner::start(&container.space, means, to, 1);
            let added = scene.add(&network, &container);
            spinner.say(2);
            let pod = added.pod(&container);
            assert_eq!(reach(&pod.space, scene.peer().v4, 80), Reach::Connected);
            let reason = if means == Means::Sockets { "policy-egress" } else { "spoofed-mac" };
            let dropped = scene.gateway.instance.drops_of("shop/new", reason);
            wait_until("what it says is taken up and dropped", PATIENCE, || {
                scene.gateway.instance.drops_of("shop/new", reason) > dropped
            });
            assert!(spinner.stop() > 0);
            network.del(&scene.node, &container, Some(&added)).unwrap();
        }
    }
    assert_eq!(ear.heard(2), 0, "after ADD");
    assert_eq!(ear.heard(1), 0, "before");
}

#[test]
fn a_pod_that_nobody_knows_yet_is_closed_until_the_api_says_that_it_is_there() {
    let _turn = Turn::shared();
    let scene = Scene::with(&[]);
    let network = scene.network("1.0.0");
    let container = Container::of("shop/late");
    let added = scene.add(&network, &container);
    let pod = added.pod(&container);
    let port = scene.port(&added.device()).expect("it is guarded");
    assert_eq!(port.pod, None);
    assert_eq!(port.cni.and_then(|told| told.pod).as_deref(), Some("shop/late"));
    scene.is_closed(&pod);
    network.check(&scene.node, &container, &added).unwrap();
    scene.schedule(&["shop/late"], &[]);
    scene.gateway.instance.wait_for_pods(["shop/late"]);
    scene.obeys(&pod);
    // The API says the same, later.
    let epoch = scene.gateway.instance.status().epoch;
    scene.schedule(&["shop/late"], &added.addresses());
    wait_until("the address is known", PATIENCE, || scene.gateway.instance.status().epoch > epoch);
    scene.obeys(&pod);
    network.check(&scene.node, &container, &added).unwrap();
    network.del(&scene.node, &container, Some(&added)).unwrap();
}

/// An address passes from a pod to the next one while the first one's object still has it.
#[test]
fn a_port_is_bound_to_the_pod_that_the_runtime_named_and_to_no_other() {
    let _turn = Turn::shared();
    let scene = Scene::with(&[]);
    let network = scene.network("1.0.0");
    let container = Container::of("shop/next");
    scene.schedule(&["shop/former"], &["10.44.9.1".parse().unwrap(), "fd44::9:1".parse().unwrap()]);
    wait_until("the former pod is known", PATIENCE, || scene.gateway.instance.status().endpoints > 2);
    let added = scene.add(&network, &container);
    assert_eq!(added.addresses()[0].to_string(), "10.44.9.1");
    assert_eq!(scene.port(&added.device()).expect("it is guarded").pod, None);
    scene.is_closed(&added.pod(&container));
    let alarms = scene.gateway.instance.status().alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("is of pod shop/next")), "{alarms:?}");
    // Who is asked for the wrong pod hears of it.
    scene.schedule(&["shop/next"], &[]);
    scene.gateway.instance.wait_for_pods(["shop/next"]);
    scene.obeys(&added.pod(&container));
    network.check(&scene.node, &container, &added).unwrap();
    let other = Container { pod: Some("shop/former".into()), ..container };
    let failure = network.check(&scene.node, &other, &added).unwrap_err();
    assert_eq!(failure.code(), 102);
    assert!(failure.message().contains("pod shop/next, not shop/former"), "{}", failure.message());
    network.del(&scene.node, &other, Some(&added)).unwrap();
}

#[test]
fn without_a_gateway_no_pod_starts() {
    let _turn = Turn::shared();
    let mut scene = Scene::with(&["shop/new"]);
    let network = scene.network("1.1.0");
    let impatient = network.with_ours(&json!({"timeout": "300ms"}));
    let first = Container::of("shop/new");
    let first_added = scene.add(&network, &first);
    scene.gateway.end(Signal::SIGTERM);

    let second = Container::of("shop/second");
    let failure = impatient.add(&scene.node, &second).unwrap_err();
    assert_eq!((failure.plugin.as_str(), failure.code()), (OURS, 11));
    assert_eq!(failure.error["cniVersion"], "1.1.0");
    let socket = scene.gateway.socket().display().to_string();
    assert!(failure.message().contains(&socket), "{}", failure.message());
    let failure = impatient.check(&scene.node, &first, &first_added).unwrap_err();
    assert_eq!(failure.code(), 11);
    let failure = impatient.status(&scene.node).unwrap_err();
    assert_eq!(failure.code(), 50);
    assert!(failure.message().contains(&socket), "{}", failure.message());
    // Both go, the one that is there and the one that never was whole.
    network.del(&scene.node, &second, None).unwrap();
    network.del(&scene.node, &first, Some(&first_added)).unwrap();
    let links = scene.node.space.sh("ip -o link show master cni0");
    assert_eq!(links.lines().count(), 1, "only the peer's is left: {links}");

    // Open, a pod starts without.
    let open = impatient.with_ours(&json!({"mode": "open"}));
    let added = open.add(&scene.node, &second).unwrap();
    assert_eq!(added.result, added.before_ours);
    open.check(&scene.node, &second, &added).unwrap();
    open.status(&scene.node).unwrap();
    network.del(&scene.node, &second, Some(&added)).unwrap();

    // One that is being restarted is waited for.
    let third = Container::of("shop/new");
    let added = std::thread::scope(|scope| {
        let adding = scope.spawn(|| network.add(&scene.node, &third));
        wait_until("the plugin waits", PATIENCE, || {
            scene.node.space.sh("ip -o link show master cni0").lines().count() == 2
        });
        scene.gateway.launch();
        adding.join().unwrap()
    });
    let added = added.unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(scene.port(&added.device()).and_then(|port| port.pod).as_deref(), Some("shop/new"));
    scene.obeys(&added.pod(&third));
    // What was told of the first one went with its device.
    let told = scene.gateway.instance.status().ports.into_iter().filter_map(|port| port.cni);
    assert!(told.map(|told| told.name.container_id).eq([third.id.clone()]));
    network.status(&scene.node).unwrap();
    network.del(&scene.node, &third, Some(&added)).unwrap();
}

#[test]
fn what_was_told_outlives_a_restart() {
    let _turn = Turn::shared();
    let mut scene = Scene::with(&["shop/new"]);
    let network = scene.network("1.0.0");
    let container = Container::of("shop/new");
    let added = scene.add(&network, &container);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        scene.gateway.end(signal);
        scene.gateway.launch();
        scene.gateway.instance.wait_for_pods([PEER, "shop/new"]);
        let told = scene.port(&added.device()).and_then(|port| port.cni).expect("it is known still");
        assert_eq!(told.name.container_id, container.id);
        scene.obeys(&added.pod(&container));
        network.check(&scene.node, &container, &added).unwrap();
    }
    network.del(&scene.node, &container, Some(&added)).unwrap();
}

#[test]
fn check_finds_what_is_no_longer_so() {
    let _turn = Turn::shared();
    let scene = Scene::with(&["shop/new"]);
    let network = scene.network("1.0.0");
    let container = Container::of("shop/new");
    let added = scene.add(&network, &container);
    let device = added.device();
    let check = || network.check(&scene.node, &container, &added);
    check().unwrap();

    scene.node.space.sh(&format!("ip link set {device} nomaster"));
    let failure = check().unwrap_err();
    assert_eq!(failure.code(), 100);
    assert!(
        failure.message().contains(&device) && failure.message().contains("cni0"),
        "{}",
        failure.message()
    );
    scene.node.space.sh(&format!("ip link set {device} master cni0"));
    wait_until("it is guarded again", PATIENCE, || check().is_ok());
    scene.obeys(&added.pod(&container));

    let v4 = added.pod(&container).v4;
    container.space.sh(&format!("ip addr del {v4}/16 dev eth0"));
    let failure = check().unwrap_err();
    assert_eq!(failure.code(), 102);
    assert!(failure.message().contains(&v4.to_string()), "{}", failure.message());
    container.space.sh(&format!("ip addr add {v4}/16 dev eth0"));
    check().unwrap();

    // Another program ahead of ours, until the gateway has put them back, within a second.
    let (foreign, _) = eventually("it sees a program ahead of ours", PATIENCE, || {
        let foreign = Foreign::ahead(&scene.node.space, &device, Hook::Ingress, "accept_all");
        check().is_err_and(|failure| failure.code() == 101).then_some(foreign)
    });
    wait_until("podgate's are the first again", PATIENCE, || check().is_ok());
    drop(foreign);

    // Another container's interface in the place of this one.
    let other = Container { space: Container::anonymous().space, ..Container::of("shop/new") };
    let failure = network.check(&scene.node, &other, &added).unwrap_err();
    assert_eq!(failure.code(), 3, "it has no eth0");
    network.del(&scene.node, &container, Some(&added)).unwrap();
    assert_eq!(check().unwrap_err().code(), 3);
}

#[test]
fn garbage_collection_forgets_all_but_what_is_there() {
    let _turn = Turn::shared();
    let scene = Scene::with(&["shop/a", "shop/b"]);
    let network = scene.network("1.1.0");
    let containers = ["shop/a", "shop/b"].map(Container::of);
    let added: Vec<_> = containers.iter().map(|container| scene.add(&network, container)).collect();
    let told = || {
        let ports = scene.gateway.instance.status().ports.into_iter();
        let mut told: Vec<_> = ports.filter_map(|port| port.cni?.pod).collect();
        told.sort();
        told
    };
    assert_eq!(told(), ["shop/a", "shop/b"]);
    network.gc(&scene.node, &[&containers[0], &containers[1]]).unwrap();
    assert_eq!(told(), ["shop/a", "shop/b"]);
    network.gc(&scene.node, &[&containers[1]]).unwrap();
    assert_eq!(told(), ["shop/b"]);
    // Forgotten is not open.
    assert!(scene.port(&added[0].device()).is_some());
    let pod = added[0].pod(&containers[0]);
    let to = scene.peer().v4;
    assert_eq!(reach_within(&pod.space, to, 81, DENIED_AFTER), Reach::TimedOut);
    network.gc(&scene.node, &[]).unwrap();
    assert!(told().is_empty());
    for (container, added) in containers.iter().zip(&added) {
        network.del(&scene.node, container, Some(added)).unwrap();
    }
}

#[test]
fn twenty_pods_start_at_once() {
    let _turn = Turn::shared();
    let keys: Vec<String> = (0..20).map(|number| format!("shop/p{number}")).collect();
    let scene = Scene::with(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let network = scene.network("1.0.0");
    let containers: Vec<_> = keys.iter().map(|key| Container::of(key)).collect();
    let added: Vec<Added> = std::thread::scope(|scope| {
        let adding: Vec<_> =
            containers.iter().map(|container| scope.spawn(|| scene.add(&network, container))).collect();
        adding.into_iter().map(|adding| adding.join().unwrap()).collect()
    });
    let ports = scene.gateway.instance.status().ports;
    for (container, added) in containers.iter().zip(&added) {
        let port = ports.iter().find(|port| port.device == added.device()).expect("it is guarded");
        assert_eq!(port.pod, container.pod);
        assert_eq!(port.cni.as_ref().map(|told| &told.name.container_id), Some(&container.id));
        let to = scene.peer().v4;
        assert_eq!(reach_within(&container.space, to, 80, ALLOWED_WITHIN), Reach::Connected);
    }
    std::thread::scope(|scope| {
        for (container, added) in containers.iter().zip(&added) {
            scope.spawn(|| network.del(&scene.node, container, Some(added)).unwrap());
        }
    });
    wait_until("their ports are gone", PATIENCE, || scene.gateway.instance.status().ports.len() == 1);
}

#[test]
fn what_the_gateway_does_not_guard_is_told_and_does_not_start() {
    let _turn = Turn::shared();
    let scene = Scene::with(&["shop/new"]);
    let other_bridge = json!({"type": "bridge", "bridge": "cni1"});
    let macvlan = json!({"type": "macvlan", "master": "cni0"});
    let ptp = json!({"type": "ptp"});
    for (first, said) in
        [(other_bridge, "veth ports of cni0"), (macvlan, "of kind macvlan"), (ptp, "veth ports of cni0")]
    {
        let network = Network::made_by(&scene.gateway, "1.0.0", first, &json!({}));
        let container = Container::of("shop/new");
        let failure = network.add(&scene.node, &container).unwrap_err();
        assert_eq!((failure.plugin.as_str(), failure.code()), (OURS, 100), "{failure:?}");
        assert!(failure.message().contains(said), "{}", failure.message());
        network.del(&scene.node, &container, None).unwrap();
        let open = network.with_ours(&json!({"mode": "open"}));
        let added = open.add(&scene.node, &container).unwrap();
        assert_eq!(added.result, added.before_ours);
        network.del(&scene.node, &container, Some(&added)).unwrap();
    }
}

#[test]
fn the_first_plugin_of_a_network_it_cannot_be() {
    let _turn = Turn::shared();
    let scene = Scene::with(&[]);
    let list = scene.network("1.0.0").list();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("10-ours-alone.conflist");
    let alone = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [list["plugins"][1]]});
    std::fs::write(&path, alone.to_string()).unwrap();
    let failure = Network::from_file(&path).add(&scene.node, &Container::anonymous()).unwrap_err();
    assert_eq!(failure.code(), 7);
    assert!(failure.message().contains("has to come after"), "{}", failure.message());
}

#[test]
fn the_library_that_runtimes_use_starts_and_ends_pods() {
    let _turn = Turn::shared();
    let mut scene = Scene::with(&["shop/new"]);
    for version in ["0.4.0", "1.0.0"] {
        let network = scene.network(version);
        let runtime = Runtime::with(&network);
        let container = Container::of("shop/new");
        let call = |command: &str| runtime.call(&scene.node, command, &container);
        // VERSION of every plugin.
        assert_eq!(call("validate").code, 0, "{}", call("validate").stderr);
        let added = Added::of(runtime.add(&scene.node, &container));
        assert_eq!(added.result["cniVersion"], version);
        assert_eq!(scene.port(&added.device()).and_then(|port| port.pod).as_deref(), Some("shop/new"));
        scene.obeys(&added.pod(&container));
        assert_eq!(call("check").code, 0, "{}", call("check").stderr);
        for _ in 0..2 {
            assert_eq!(call("del").code, 0, "{}", call("del").stderr);
        }
        wait_until("its port is gone", PATIENCE, || scene.port(&added.device()).is_none());
    }
    scene.gateway.end(Signal::SIGTERM);
    let whole = scene.network("1.0.0");
    let network = whole.with_ours(&json!({"timeout": "300ms"}));
    let runtime = Runtime::with(&network);
    let container = Container::of("shop/new");
    let failed = runtime.call(&scene.node, "add", &container);
    let told = format!("no podgate gateway answers at {}", scene.gateway.socket().display());
    assert!(failed.code == 1 && failed.stderr.contains(&told), "{}", failed.stderr);
    assert_eq!(runtime.call(&scene.node, "del", &container).code, 0);
}

#[test]
fn installed_on_a_node_it_guards_what_that_nodes_runtime_starts() {
    let _turn = Turn::shared();
    let scene = Scene::with(&["shop/new"]);
    let dir = tempfile::tempdir().unwrap();
    let (bin, conf) = (dir.path().join("bin"), dir.path().join("net.d"));
    std::fs::create_dir(&conf).unwrap();
    // Without ours, and laid out as people do.
    let whole = scene.network("0.3.1");
    let mut list = whole.list();
    list["plugins"].as_array_mut().unwrap().truncate(1);
    let path = conf.join("10-flannel.conflist");
    let text = serde_json::to_string_pretty(&list).unwrap();
    std::fs::write(&path, &text).unwrap();
    let socket = scene.gateway.socket().display().to_string();
    let places = ["--cni-bin-dir", bin.to_str().unwrap(), "--cni-conf-dir", conf.to_str().unwrap()];
    let podgate = |words: &[&str]| {
        let mut command = std::process::Command::new(podgate_netns_tests::program::podgate());
        podgate_netns_tests::space::finish(command.args(words).args(places))
    };
    for said in ["names it now", "names it already"] {
        let finished = podgate(&["cni", "install", "--socket", &socket, "--timeout", "20s"]);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        assert!(finished.stdout.contains(said), "{}", finished.stdout);
    }
    assert!(bin.join(OURS).is_file());
    let network = Network::from_file(&path);
    let container = Container::of("shop/new");
    let added = scene.add(&network, &container);
    scene.obeys(&added.pod(&container));
    network.del(&scene.node, &container, Some(&added)).unwrap();
    let finished = podgate(&["cni", "uninstall"]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert!(!bin.join(OURS).exists());
}
