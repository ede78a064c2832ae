//! What a snapshot holds besides verdicts: bindings, kinds, names, and what is decided closed.

use std::net::IpAddr;

use podgate_control::compile::*;
use podgate_control::model::*;
use podgate_control::source::{Strictness, read_manifests};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::policy::{Cause, EndpointKind, PrefixMap};
use podgate_dataplane::snapshot::{PortBinding, RuleName};
use podgate_dataplane::tag::PortId;
use podgate_flowtable::{Addr, Epoch, IpProtocol};

const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
- {apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
- apiVersion: v1
  kind: Pod
  metadata: {name: a, namespace: x, labels: {app: web}}
  spec: {nodeName: n1}
  status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
- {apiVersion: v1, kind: Pod, metadata: {name: b, namespace: x}, spec: {nodeName: n2}, status: {podIPs: [{ip: 10.0.0.2}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: bare, namespace: x}}
- {apiVersion: v1, kind: Pod, metadata: {name: host, namespace: x}, spec: {nodeName: n1, hostNetwork: true}}
- {apiVersion: v1, kind: Pod, metadata: {name: done, namespace: x}, spec: {nodeName: n1}, status: {phase: Succeeded, podIPs: [{ip: 10.0.0.1}]}}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: web, namespace: x}
  spec:
    podSelector: {matchLabels: {app: web}}
    ingress:
    - ports: [{port: 80}]
    - from: [{ipBlock: {cidr: 'fd00::/64'}}]
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: elsewhere, namespace: y}
  spec: {podSelector: {}}
";

fn cluster() -> Cluster {
    let reading = read_manifests(CLUSTER, "cluster.yaml".as_ref(), Strictness::New);
    assert_eq!(reading.errors, []);
    let mut cluster = Cluster::new();
    for manifest in reading.manifests {
        manifest.object.put_into(&mut cluster);
    }
    cluster
}

fn node(name: Option<&str>) -> Locality {
    Locality::Node { name: name.map(str::to_owned), own_addresses: vec![ip("192.168.0.1"), ip("10.0.0.254")] }
}

fn settings() -> Settings {
    Settings::new(Epoch(3), 7)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addr(text: &str) -> Addr {
    ip(text).into()
}

fn port(number: u16) -> PortId {
    PortId::new(number).unwrap()
}

fn plug(number: u16, pod: &str, addresses: &[&str]) -> PortAssignment {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    PortAssignment {
        port: port(number),
        pod: pod.parse().unwrap(),
        mac: Mac([2, 0, 0, 0, 0, number as u8]),
        addresses,
    }
}

#[test]
fn ports_are_bound_to_live_pods_and_their_own_addresses() {
    let ports = [
        plug(1, "x/a", &["10.0.0.1", "fe80::1", "10.9.9.9"]),
        plug(2, "x/bare", &["10.0.0.3"]),
        plug(3, "x/done", &["10.0.0.1"]),
        plug(4, "x/host", &[]),
        plug(5, "x/nobody", &[]),
        plug(6, "x/a", &[]),
        plug(2, "x/b", &[]),
    ];
    let Compiled { snapshot, notes, .. } =
        compile(&cluster(), &node(Some("n1")), &ports, settings()).unwrap();
    assert_eq!(snapshot.epoch, Epoch(3));
    let bound: Vec<_> = snapshot.bindings().map(|(port, _)| port.number()).collect();
    assert_eq!(bound, [1, 2]);
    let a = snapshot.endpoints.resolve(addr("10.0.0.1"));
    let expected = PortBinding {
        endpoint: a.id.unwrap(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        addresses: ["10.0.0.1", "fd00::1", "fe80::1"].map(addr).into(),
    };
    assert_eq!(snapshot.binding(port(1)), Some(&expected));
    for text in ["10.0.0.1", "fd00::1", "fe80::1"] {
        let endpoint = snapshot.endpoints.resolve(addr(text));
        assert_eq!(
            (endpoint.kind, endpoint.id),
            (EndpointKind::LocalPod { port: Some(port(1)) }, a.id),
            "{text}"
        );
    }
    let bare = snapshot.endpoints.resolve(addr("10.0.0.3"));
    assert_eq!(bare.kind, EndpointKind::LocalPod { port: Some(port(2)) });
    let key = |text: &str| text.parse::<ObjectKey>().unwrap();
    assert_eq!(
        notes,
        [
            Note::RepeatedAssignment { port: port(6), pod: key("x/a") },
            Note::RepeatedAssignment { port: port(2), pod: key("x/b") },
            Note::ForeignAddress { address: addr("10.9.9.9"), pod: key("x/a") },
            Note::UnboundPort { port: port(3), pod: key("x/done") },
            Note::UnboundPort { port: port(4), pod: key("x/host") },
            Note::UnboundPort { port: port(5), pod: key("x/nobody") },
        ]
    );
}

#[test]
fn every_address_is_what_this_node_takes_it_for() {
    let kind = |locality: &Locality, text| {
        let compiled = compile(&cluster(), locality, &[], settings()).unwrap();
        let endpoint = compiled.snapshot.endpoints.resolve(addr(text));
        let name = endpoint.id.and_then(|id| compiled.snapshot.names.endpoint(id).map(str::to_owned));
        (endpoint.kind, name.unwrap_or_default())
    };
    let local = EndpointKind::LocalPod { port: None };
    let named = |kind, name: &str| (kind, name.to_owned());
    let n1 = node(Some("n1"));
    assert_eq!(kind(&n1, "10.0.0.1"), named(local, "x/a"));
    assert_eq!(kind(&n1, "10.0.0.2"), named(EndpointKind::RemotePod, "x/b"));
    assert_eq!(kind(&n1, "192.168.0.1"), named(EndpointKind::OwnNode, "node:n1"));
    assert_eq!(kind(&n1, "10.0.0.254"), named(EndpointKind::OwnNode, "node:n1"));
    assert_eq!(kind(&n1, "192.168.0.2"), named(EndpointKind::OtherNode, "node:n2"));
    assert_eq!(kind(&n1, "8.8.8.8"), named(EndpointKind::Outside, ""));
    // Without a name, the machine's addresses tell which node it is.
    assert_eq!(kind(&node(None), "192.168.0.1"), named(EndpointKind::OwnNode, "node:n1"));
    assert_eq!(kind(&node(None), "10.0.0.1"), named(EndpointKind::RemotePod, "x/a"));
    assert_eq!(kind(&node(Some("n7")), "10.0.0.254"), named(EndpointKind::OwnNode, "node:n7"));
    assert_eq!(kind(&Locality::Everything, "192.168.0.1"), named(EndpointKind::OtherNode, "node:n1"));
    assert_eq!(kind(&Locality::Everything, "10.0.0.2"), named(local, "x/b"));
}

#[test]
fn names_tell_which_rule_allowed_and_which_policies_isolate() {
    let compiled = compile(&cluster(), &node(Some("n1")), &[], settings()).unwrap();
    let names = &compiled.snapshot.names;
    // A policy that isolates nobody here has no part.
    assert_eq!(names.policies.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["x/web"]);
    let [outside, a] = [addr("8.8.8.8"), addr("10.0.0.1")];
    let Cause::Rule(id) = compiled.decide(outside, a, IpProtocol::TCP, 80).ingress else { panic!() };
    assert_eq!(names.rule(id), Some(("x/web", &RuleName { policy: 0, egress: false, index: 0 })));
    let denied = compiled.decide(outside, a, IpProtocol::TCP, 81);
    assert_eq!((denied.egress, denied.ingress), (Cause::NotLocal, Cause::DefaultDeny));
    let id = compiled.snapshot.endpoints.resolve(a).id.unwrap();
    assert_eq!(*names.isolation[id.0 as usize].ingress, [0]);
    assert!(names.isolation[id.0 as usize].egress.is_empty());
    // The two addresses of one pod differ where an ipBlock tells them apart.
    let Cause::Rule(id) = compiled.decide(addr("fd00::9"), addr("fd00::1"), IpProtocol::UDP, 9).ingress
    else {
        panic!()
    };
    assert_eq!(names.rule(id).unwrap().1.index, 1);
}

#[test]
fn outside_every_block_the_two_reserved_identities_hold() {
    let compiled = compile(&cluster(), &node(Some("n1")), &[], settings()).unwrap();
    let identity = |text| compiled.snapshot.endpoints.resolve(addr(text)).identity;
    assert_eq!(identity("8.8.8.8"), PrefixMap::OUTSIDE_V4);
    assert_eq!(identity("192.168.0.2"), PrefixMap::OUTSIDE_V4);
    assert_eq!(identity("2001:db8::1"), PrefixMap::OUTSIDE_V6);
    assert!(identity("fd00::9") > PrefixMap::OUTSIDE_V6);
}

#[test]
fn a_contested_address_is_nobodys() {
    let mut cluster = cluster();
    let mut twin = Pod::clone(&cluster.pods()[&ObjectKey::new("x", "b")]);
    twin.key = ObjectKey::new("x", "twin");
    cluster.put_pod(twin);
    let ports = [plug(1, "x/b", &["10.0.0.2", "fe80::2"])];
    let compiled = compile(&cluster, &node(Some("n1")), &ports, settings()).unwrap();
    assert_eq!(compiled.snapshot.endpoints.resolve(addr("10.0.0.2")).kind, EndpointKind::Outside);
    // What the pod sends from it is spoofed, then, and nothing is delivered to it.
    assert_eq!(*compiled.snapshot.binding(port(1)).unwrap().addresses, [addr("fe80::2")]);
    let claimants = vec!["x/b".to_owned(), "x/twin".to_owned()];
    assert_eq!(compiled.notes, [Note::ContestedAddress { address: addr("10.0.0.2"), claimants }]);
}

#[test]
fn what_does_not_fit_is_an_error_and_what_just_fits_is_not() {
    let compiled = compile(&cluster(), &Locality::Everything, &[], settings()).unwrap();
    let policy = &compiled.snapshot.policy;
    let limits = Limits { identities: policy.identities(), cells: policy.pairs() };
    let with = |limits| compile(&cluster(), &Locality::Everything, &[], Settings { limits, ..settings() });
    assert!(with(limits).is_ok());
    let few = Limits { identities: limits.identities - 1, ..limits };
    let needed = limits.identities;
    assert_eq!(with(few).unwrap_err(), CompileError::Identities { needed, limit: needed - 1 });
    let few = Limits { cells: limits.cells - 1, ..limits };
    assert_eq!(with(few).unwrap_err(), CompileError::Cells { needed: limits.cells, limit: limits.cells - 1 });
}

#[test]
fn pods_that_policy_cannot_tell_apart_share_one_identity() {
    let mut cluster = cluster();
    let before = compile(&cluster, &node(Some("n1")), &[], settings()).unwrap().snapshot;
    for number in 0..200 {
        let mut pod = Pod::clone(&cluster.pods()[&ObjectKey::new("x", "a")]);
        pod.key.name = format!("a-{number}");
        pod.labels.insert("pod-template-hash".to_owned(), number.to_string());
        pod.addresses = vec![IpAddr::from([10, 0, 1, number])];
        cluster.put_pod(pod);
    }
    let after = compile(&cluster, &node(Some("n1")), &[], settings()).unwrap().snapshot;
    assert_eq!(after.policy.identities(), before.policy.identities());
    assert_eq!(after.policy.pairs(), before.policy.pairs());
}
