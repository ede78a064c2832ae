//! Translation by the host, as kube-proxy does it in iptables mode: clients talk to a service's
//! address, the node rewrites it to a pod's, and the answers come back from the service's address.

use podgate_netns_tests::manifest::{deny_ingress, policy};
use podgate_netns_tests::traffic::{
    ALLOWED_WITHIN, Conversation, DENIED_AFTER, Reach, Server, ask_udp, reach, reach_within, reaches_udp,
};
use podgate_netns_tests::{Gateway, Node, Turn};
use serde_json::Value;

const SERVICE: [u8; 4] = [10, 96, 0, 10];

/// A node that forwards, with a service in front of `shop/server`; `bridged` is what
/// `net.bridge.bridge-nf-call-iptables` is set to.
fn with_service(bridged: bool) -> Node {
    let node = Node::with_pods(&["shop/client", "shop/server", "other/guest"]);
    let server = node.pod("shop/server").v4;
    let value = u8::from(bridged);
    let sysctl = format!("sysctl -qw net.bridge.bridge-nf-call-iptables={value}");
    let set = node.space.try_sh(&sysctl);
    assert_eq!(set.code, 0, "this kernel has no br_netfilter (modprobe br_netfilter): {}", set.stderr);
    node.space.sh("sysctl -qw net.ipv4.ip_forward=1");
    // What the node's default route would be: it is looked up before the translation.
    node.space.sh("ip route add 10.96.0.0/16 dev cni0");
    for chain in ["PREROUTING", "OUTPUT"] {
        for protocol in ["tcp", "udp"] {
            node.space.sh(&format!(
                "iptables -t nat -A {chain} -d 10.96.0.10/32 -p {protocol} --dport 80 -j DNAT \
                 --to-destination {server}:8080"
            ));
        }
    }
    // kube-proxy asks for bridged traffic to pass netfilter so that answers find their way back.
    // Without it, answers between pods of one bridge bypass the node; masquerading is the remedy.
    if !bridged {
        node.space.sh("iptables -t nat -A POSTROUTING -m conntrack --ctstate DNAT -j MASQUERADE");
    }
    node
}

fn services_work(bridged: bool) {
    let _turn = Turn::shared();
    let node = with_service(bridged);
    let gateway = Gateway::start(&node, "", &[]);
    let (client, guest) = (node.pod("shop/client"), node.pod("other/guest"));
    let _server = Server::start(node.pod("shop/server"), 8080);
    for space in [&client.space, &guest.space, &node.space] {
        assert_eq!(reach(space, SERVICE, 80), Reach::Connected, "{}", space.name());
        assert_eq!(ask_udp(space, SERVICE, 80, ALLOWED_WITHIN).as_deref(), Some("shop/server\n"));
        let mut talk = Conversation::open(space, SERVICE, 80);
        for _ in 0..20 {
            assert!(talk.exchange(ALLOWED_WITHIN), "{}", space.name());
        }
    }
    // The pod's own address still works beside it.
    assert_eq!(reach(&client.space, node.pod("shop/server").v4, 8080), Reach::Connected);

    gateway.apply(&deny_ingress("shop/deny-all"));
    if bridged {
        // The pod sees who asks: policy is about the client.
        for space in [&client.space, &guest.space] {
            assert_eq!(reach_within(space, SERVICE, 80, DENIED_AFTER), Reach::TimedOut, "{}", space.name());
            assert!(!reaches_udp(space, SERVICE, 80, DENIED_AFTER));
        }
        let events = gateway.instance.events(&["--verdict", "dropped"]);
        let event = events
            .iter()
            .find(|event| event.source.as_deref() == Some("other/guest") && event.destination_port == 8080);
        assert_eq!(event.expect("a drop after translation").policies, ["shop/deny-all"]);
        let allow = policy(
            "shop/from-client",
            "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: \
             client}}}], ports: [{port: 8080}]}]}",
        );
        gateway.apply(&(deny_ingress("shop/deny-all") + &allow));
        assert_eq!(reach(&client.space, SERVICE, 80), Reach::Connected);
        assert_eq!(reach_within(&guest.space, SERVICE, 80, DENIED_AFTER), Reach::TimedOut);
    }
    assert_eq!(reach(&node.space, SERVICE, 80), Reach::Connected, "the node itself may always");
}

/// What explain says of a gateway that leaves translation to the host is what happens: the Service's address counts
/// where the connection leaves, the pod's where it arrives.
#[test]
fn explain_knows_who_translates() {
    const SERVED: &str = "
apiVersion: v1
kind: Service
metadata: {name: server, namespace: shop}
spec: {clusterIP: 10.96.0.10, selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
---
";
    let _turn = Turn::shared();
    let node = with_service(true);
    let gateway = Gateway::start(&node, SERVED, &["--services", "off"]);
    let client = node.pod("shop/client");
    let _server = Server::start(node.pod("shop/server"), 8080);
    let explain = || -> (i32, Value) {
        let to = ["--to", "svc:shop/server", "--port", "80", "-o", "json"];
        let told = gateway.instance.ask(&[&["explain", "--from", "shop/client"], &to[..]].concat());
        (told.code, serde_json::from_str(&told.stdout).expect("JSON"))
    };
    let service = "ipBlock: {cidr: 10.96.0.10/32}";
    let pod = "podSelector: {matchLabels: {app: server}}";
    for (peers, leaves, arrives) in [
        (format!("{{{service}}}"), true, false),
        (format!("{{{pod}}}"), false, true),
        (format!("{{{service}}}, {{{pod}}}"), true, true),
    ] {
        let spec = format!(
            "{{podSelector: {{matchLabels: {{app: client}}}}, policyTypes: [Egress], egress: [{{to: [{peers}]}}]}}"
        );
        gateway.apply(&(SERVED.to_owned() + &policy("shop/egress", &spec)));
        let (code, told) = explain();
        assert_eq!(told["service"]["services"], "off", "{told}");
        assert_eq!(told["service"]["leaving"][0]["allowed"], leaves, "{told}");
        assert_eq!(told["service"]["backends"][0]["allowed"], arrives, "{told}");
        let passes = leaves && arrives;
        assert_eq!((code == 0, &told["allowed"]), (passes, &Value::Bool(passes)), "{told}");
        let within = if passes { ALLOWED_WITHIN } else { DENIED_AFTER };
        let reached = reach_within(&client.space, SERVICE, 80, within);
        assert_eq!(reached == Reach::Connected, passes, "{peers}");
        if !passes {
            let dropped = gateway.instance.events(&["--verdict", "dropped"]);
            let last = dropped.last().expect("a drop");
            let port = if leaves { 8080 } else { 80 };
            assert_eq!((last.destination_port, &last.policies[..]), (port, &["shop/egress".to_owned()][..]));
        }
    }
}

#[test]
fn services_work_with_bridged_traffic_in_netfilter() {
    services_work(true);
}

#[test]
fn services_work_with_bridged_traffic_out_of_netfilter() {
    services_work(false);
}
