//! Beside kube-proxy in iptables mode and a CNI plugin that masquerades: what the host translates keeps working, and
//! policy judges what passes each port.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use podgate_netns_tests::kube_proxy::{KubeProxy, Proxied, Traffic};
use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Reach, Server, reach, reach_within,
};
use podgate_netns_tests::{Gateway, Node, Space, Turn};

const CLUSTER: &str = "10.44.0.0/16";
/// In front of both web pods, with a manifest, and at node ports.
const WEB: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The client's own.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 11);
/// In front of the first web pod, known to kube-proxy only.
const UNTOLD: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
const NODE_OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 9, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 9, 2);
const MASQUERADED: u16 = 30080;
const LOCAL: u16 = 30081;

/// How bridged traffic meets netfilter, and who translates.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Case {
    bridged: bool,
    services: &'static str,
}

struct World {
    node: Node,
    /// A host beyond the node; it has no route to the pods.
    outside: Space,
    case: Case,
    _servers: Vec<Server>,
}

impl World {
    fn new(case: Case) -> Self {
        let node = Node::with_pods(&["shop/client", "shop/web1", "shop/web2", "other/guest"]);
        let outside = Space::create(&format!("{}-out", node.space.name()));
        node.space.ip_batch(&format!(
            "link add up0 type veth peer name eth0 netns {}\naddr add {NODE_OUTSIDE}/24 dev up0\nlink set up0 up\n",
            outside.name()
        ));
        outside.ip_batch(&format!("addr add {OUTSIDE}/24 dev eth0\nlink set eth0 up\n"));
        node.space.sh(&format!("ip route add default via {OUTSIDE}"));
        node.space.sh("sysctl -qw net.ipv4.ip_forward=1");
        // What netfilter gives another destination on the bridge stays on it, and a pod that calls itself has to get
        // its frames back by the port they came from: `hairpinMode` of the CNI plugin.
        for pod in node.pods.iter().filter(|_| case.bridged) {
            node.space.sh(&format!("bridge link set dev {} hairpin on", pod.port));
        }
        let value = u8::from(case.bridged);
        let set = node.space.try_sh(&format!("sysctl -qw net.bridge.bridge-nf-call-iptables={value}"));
        assert_eq!(set.code, 0, "this kernel has no br_netfilter (modprobe br_netfilter): {}", set.stderr);
        let [client, web1, web2] =
            ["shop/client", "shop/web1", "shop/web2"].map(|pod| (node.pod(pod).v4, 8080));
        let service =
            |name, address, node_port, backends| Proxied { name, address, port: 80, node_port, backends };
        let proxy = KubeProxy {
            cluster: CLUSTER,
            // Answers between pods of one bridge do not come by the node otherwise.
            masquerade_all: !case.bridged,
            services: vec![
                service("WEB", WEB, Some((MASQUERADED, Traffic::Cluster)), vec![web1, web2]),
                service(
                    "LOCAL",
                    Ipv4Addr::new(10, 96, 0, 12),
                    Some((LOCAL, Traffic::Local)),
                    vec![web1, web2],
                ),
                service("OWN", OWN, None, vec![client]),
                service("UNTOLD", UNTOLD, None, vec![web1]),
            ],
        };
        proxy.put_in_force(&node.space);
        let mut servers: Vec<_> =
            ["shop/client", "shop/web1", "shop/web2"].map(|pod| Server::start(node.pod(pod), 8080)).into();
        servers.push(Server::start_in(&outside, "outside", 8080));
        Self { node, outside, case, _servers: servers }
    }

    /// The service's manifest beside those of the node's pods.
    fn gateway(&self) -> Gateway {
        let mut gateway = Gateway::prepare(&self.node, "", &["--services", self.case.services]);
        let mut text = self.node.manifest();
        for name in ["shop/web1", "shop/web2"] {
            let pod = manifest::Pod::of(self.node.pod(name), "node-1");
            text = text.replace(&pod.to_string(), &pod.clone().label("tier", "web").to_string());
        }
        text += &manifest::object(
            "v1",
            "Service",
            "shop/web",
            &format!(
                "{{clusterIP: {WEB}, selector: {{tier: web}}, ports: [{{port: 80, targetPort: 8080}}]}}"
            ),
        );
        gateway.write("cluster.yaml", &text);
        gateway.launch();
        gateway.instance.wait_for_pods(self.node.pods.iter().map(|pod| pod.key.as_str()));
        gateway
    }
}

/// Pods that answer behind an address, over many connections.
fn answers(from: &Space, to: Ipv4Addr, port: u16) -> BTreeSet<String> {
    let answer = |_| banner(from, to, port).unwrap_or_else(|| "nobody".into());
    (0..16).map(answer).collect()
}

/// What a server says first.
fn banner(from: &Space, to: Ipv4Addr, port: u16) -> Option<String> {
    let stream = from.run(|| TcpStream::connect_timeout(&SocketAddr::new(to.into(), port), ALLOWED_WITHIN));
    let stream = stream.ok()?;
    stream.set_read_timeout(Some(ALLOWED_WITHIN)).expect("a timeout");
    let mut said = String::new();
    BufReader::new(stream).read_line(&mut said).ok()?;
    Some(said.trim_end().to_owned())
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|&name| name.to_owned()).collect()
}

fn talks(from: &Space, to: impl Into<IpAddr>, port: u16) {
    let mut talk = Conversation::open(from, to, port);
    for _ in 0..20 {
        assert!(talk.exchange(Duration::from_secs(5)), "{}", from.name());
    }
}

#[track_caller]
fn is_denied(from: &Space, to: Ipv4Addr, port: u16, what: &str) {
    assert_eq!(reach_within(from, to, port, DENIED_AFTER), Reach::TimedOut, "{what}");
}

/// Without policy, everything that works on a bare bridge works.
fn all_is_reached(world: &World) {
    let World { node, outside, case, .. } = world;
    let (client, guest, web1) = (node.pod("shop/client"), node.pod("other/guest"), node.pod("shop/web1"));
    let both = names(&["shop/web1", "shop/web2"]);
    for from in [&client.space, &guest.space, &node.space] {
        assert_eq!(answers(from, WEB, 80), both, "{case:?}: {}", from.name());
        assert_eq!(answers(from, UNTOLD, 80), names(&["shop/web1"]), "{case:?}: {}", from.name());
        assert_eq!(answers(from, NODE_OUTSIDE, MASQUERADED), both, "{case:?}: {}", from.name());
        talks(from, WEB, 80);
        talks(from, UNTOLD, 80);
    }
    // Backends that call themselves, by the node's masquerade.
    assert_eq!(answers(&client.space, OWN, 80), names(&["shop/client"]), "{case:?}: hairpin");
    assert!(answers(&web1.space, WEB, 80).is_subset(&both), "{case:?}: hairpin, now and then");
    talks(&client.space, OWN, 80);
    for port in [MASQUERADED, LOCAL] {
        assert_eq!(answers(outside, NODE_OUTSIDE, port), both, "{case:?}: node port {port}");
        talks(outside, NODE_OUTSIDE, port);
    }
    // Pods are masqueraded on their way out, or no answer would find back.
    assert_eq!(answers(&client.space, OUTSIDE, 8080), names(&["outside"]), "{case:?}: masquerade");
    talks(&guest.space, OUTSIDE, 8080);
    assert_eq!(reach(&client.space, web1.v4, 8080), Reach::Connected, "{case:?}: the pod itself");
}

/// Ingress policy sees whom the pod sees: the client, or the node where it was masqueraded.
fn ingress_is_judged(world: &World, gateway: &Gateway) {
    let World { node, outside, case, .. } = world;
    let web = "podSelector: {matchLabels: {tier: web}}";
    let from_client = policy(
        "shop/web",
        &format!(
            "{{{web}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: client}}}}}}], ports: [{{port: 8080}}]}}]}}"
        ),
    );
    gateway.apply(&from_client);
    let (client, guest) = (node.pod("shop/client"), node.pod("other/guest"));
    assert_eq!(reach(&client.space, WEB, 80), Reach::Connected, "{case:?}");
    is_denied(&guest.space, node.pod("shop/web1").v4, 8080, "by its own address");
    if case.services == "on" {
        is_denied(&guest.space, WEB, 80, "translated here");
    }
    if case.bridged {
        assert_eq!(reach(&client.space, UNTOLD, 80), Reach::Connected);
        is_denied(&guest.space, UNTOLD, 80, "translated by the host, who keeps the client's address");
    } else {
        assert_eq!(reach(&guest.space, UNTOLD, 80), Reach::Connected, "what is masqueraded is the node's");
    }
    is_denied(outside, NODE_OUTSIDE, LOCAL, "the client's own address");
    assert_eq!(reach(outside, NODE_OUTSIDE, MASQUERADED), Reach::Connected, "the node may always");
    let from_outside = policy(
        "shop/outside",
        &format!("{{{web}, ingress: [{{from: [{{ipBlock: {{cidr: 192.168.9.0/24}}}}]}}]}}"),
    );
    gateway.apply(&(from_client + &from_outside));
    assert_eq!(reach(outside, NODE_OUTSIDE, LOCAL), Reach::Connected);
    talks(outside, NODE_OUTSIDE, LOCAL);
    is_denied(&guest.space, node.pod("shop/web1").v4, 8080, "still");
}

/// Egress policy sees what leaves the pod: the Service's address, or the backend where it is translated here.
fn egress_is_judged(world: &World, gateway: &Gateway) {
    let World { node, case, .. } = world;
    let client = &node.pod("shop/client").space;
    let to = |to: &str| {
        policy(
            "shop/out",
            &format!(
                "{{podSelector: {{matchLabels: {{app: client}}}}, policyTypes: [Egress], egress: [{{to: [{to}]}}]}}"
            ),
        )
    };
    gateway.apply(&to("{podSelector: {matchLabels: {tier: web}}}"));
    assert_eq!(reach(client, node.pod("shop/web1").v4, 8080), Reach::Connected);
    is_denied(client, UNTOLD, 80, "a Service's address is no pod's");
    is_denied(client, OUTSIDE, 8080, "outside");
    match case.services {
        "on" => assert_eq!(reach(client, WEB, 80), Reach::Connected, "judged by its backend"),
        _ => is_denied(client, WEB, 80, "judged by its own address"),
    }
    let dropped = gateway.instance.events(&["--verdict", "dropped"]);
    let untold = dropped.iter().find(|event| event.destination_ip.as_deref() == Some("10.96.0.20"));
    assert_eq!(untold.expect("a drop").policies, ["shop/out"]);
    // Where the host keeps the client's address, its egress is judged once more where the backend's port is.
    let range = "{ipBlock: {cidr: 10.96.0.0/16}}";
    gateway.apply(&to(range));
    if case.bridged {
        is_denied(client, UNTOLD, 80, "not to the backend");
    } else {
        assert_eq!(reach(client, UNTOLD, 80), Reach::Connected, "the backend hears the node");
    }
    is_denied(client, node.pod("shop/web1").v4, 8080, "a pod is not in the Services' range");
    if case.services == "on" {
        is_denied(client, WEB, 80, "its backend is not in the Services' range");
    }
    gateway.apply(&to(&format!("{range}, {{podSelector: {{matchLabels: {{tier: web}}}}}}")));
    assert_eq!(reach(client, UNTOLD, 80), Reach::Connected, "both");
    talks(client, UNTOLD, 80);
    assert_eq!(answers(client, WEB, 80), names(&["shop/web1", "shop/web2"]), "both");
    gateway.apply(&to(&format!("{{ipBlock: {{cidr: {OUTSIDE}/32}}}}")));
    assert_eq!(reach(client, OUTSIDE, 8080), Reach::Connected, "masqueraded after it was judged");
}

fn beside_kube_proxy(case: Case) {
    let _turn = Turn::shared();
    let world = World::new(case);
    let gateway = world.gateway();
    all_is_reached(&world);
    ingress_is_judged(&world, &gateway);
    egress_is_judged(&world, &gateway);
    let alarms = gateway.instance.status().alarms;
    assert!(alarms.is_empty(), "{alarms:?}");
}

#[test]
fn services_off_bridged_traffic_in_netfilter() {
    beside_kube_proxy(Case { bridged: true, services: "off" });
}

#[test]
fn services_off_bridged_traffic_out_of_netfilter() {
    beside_kube_proxy(Case { bridged: false, services: "off" });
}

#[test]
fn services_on_bridged_traffic_in_netfilter() {
    beside_kube_proxy(Case { bridged: true, services: "on" });
}

#[test]
fn services_on_bridged_traffic_out_of_netfilter() {
    beside_kube_proxy(Case { bridged: false, services: "on" });
}
