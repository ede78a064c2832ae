//! What a compiler keeps from one cluster to the next, what it does anew, and what an error leaves.

use std::net::IpAddr;

use podgate_control::compile::*;
use podgate_control::model::*;
use podgate_control::source::{Strictness, read_manifests};
use podgate_dataplane::policy::Cause;
use podgate_flowtable::{Addr, Epoch, IpProtocol};

const MANIFESTS: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: web, namespace: x, labels: {app: web}}, status: {podIPs: [{ip: 10.0.0.1}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: client, namespace: x, labels: {app: client}}, status: {podIPs: [{ip: 10.0.0.2}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: other, namespace: y, labels: {app: client}}, status: {podIPs: [{ip: 10.0.0.3}]}}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: web, namespace: x}
  spec:
    podSelector: {matchLabels: {app: web}}
    ingress:
    - from: [{podSelector: {matchLabels: {app: client}}}]
      ports: [{port: 80}]
";

fn cluster() -> Cluster {
    let reading = read_manifests(MANIFESTS, "cluster.yaml".as_ref(), Strictness::New);
    assert_eq!(reading.errors, []);
    let mut cluster = Cluster::new();
    for manifest in reading.manifests {
        manifest.object.put_into(&mut cluster);
    }
    cluster
}

fn settings(epoch: u32) -> Settings {
    Settings::new(Epoch(epoch), 7)
}

fn addr(last: u8) -> Addr {
    IpAddr::from([10, 0, 0, last]).into()
}

/// Ingress of the web pod, from one of these addresses.
fn ingress(compiled: &Compiled, from: u8, port: u16) -> Cause {
    compiled.decide(addr(from), addr(1), IpProtocol::TCP, port).ingress
}

fn edit(cluster: &mut Cluster, key: &str, change: impl FnOnce(&mut Pod)) {
    let mut pod = Pod::clone(&cluster.pods()[&key.parse().unwrap()]);
    change(&mut pod);
    cluster.put_pod(pod);
}

#[test]
fn only_what_a_change_touches_is_compiled() {
    let mut cluster = cluster();
    let mut compiler = Compiler::new();
    let mut compile = |cluster: &Cluster, epoch| {
        compiler.compile(cluster, &Locality::Everything, &[], settings(epoch)).unwrap()
    };
    let first = compile(&cluster, 1).work;
    let whole =
        Work { incremental: false, pods: 3, policies: 1, namespaces: 2, endpoints: 3, rows: 1, cells: 5 };
    assert_eq!(first, whole);
    let none = Work { incremental: true, ..Work::default() };
    assert_eq!(compile(&cluster, 2).work, none);
    // A label that nobody asks for.
    edit(&mut cluster, "x/client", |pod| drop(pod.labels.insert("hash".to_owned(), "1".to_owned())));
    assert_eq!(compile(&cluster, 3).work, Work { pods: 1, endpoints: 1, ..none });
    // One more column.
    edit(&mut cluster, "x/client", |pod| drop(pod.labels.insert("app".to_owned(), "b".to_owned())));
    assert_eq!(compile(&cluster, 4).work, Work { pods: 1, endpoints: 1, ..none });
    edit(&mut cluster, "x/client", |pod| drop(pod.labels.insert("app".to_owned(), "client".to_owned())));
    assert_eq!(compile(&cluster, 5).work, Work { pods: 1, endpoints: 1, cells: 1, ..none });
    // A policy of another namespace: its pod has a row from now on, and nobody else a new one.
    let deny = cluster.policies().values().next().unwrap();
    let deny = NetworkPolicy {
        key: "y/deny".parse().unwrap(),
        pod_selector: Selector::everything(),
        ingress: Vec::new(),
        ..NetworkPolicy::clone(deny)
    };
    cluster.put_policy(deny);
    let added = compile(&cluster, 6);
    assert_eq!((added.work.policies, added.work.endpoints, added.work.rows), (1, 1, 1));
    assert_eq!(added.snapshot.epoch, Epoch(6));
    assert_eq!(ingress(&added, 3, 80), Cause::DefaultDeny);
    let denied = added.decide(addr(1), addr(3), IpProtocol::TCP, 80);
    assert_eq!((denied.egress, denied.ingress), (Cause::NotIsolated, Cause::DefaultDeny));
}

#[test]
fn an_error_leaves_a_compiler_that_works() {
    let mut cluster = cluster();
    let mut compiler = Compiler::new();
    let good = compiler.compile(&cluster, &Locality::Everything, &[], settings(1)).unwrap();
    assert!(matches!(ingress(&good, 2, 80), Cause::Rule(_)));
    edit(&mut cluster, "x/client", |pod| pod.labels.clear());
    edit(&mut cluster, "x/web", |pod| pod.addresses = vec![IpAddr::from([10, 0, 0, 9])]);
    let needed = good.sizes.identities - 1;
    let limits = Limits { identities: needed - 1, ..Limits::default() };
    let settings = |limits| Settings { limits, ..settings(2) };
    let refused = compiler.compile(&cluster, &Locality::Everything, &[], settings(limits));
    assert_eq!(refused.unwrap_err(), CompileError::Identities { needed, limit: needed - 1 });
    // What was made before is as it was.
    assert!(matches!(ingress(&good, 2, 80), Cause::Rule(_)));
    let limits = Limits { cells: 1, ..Limits::default() };
    let refused = compiler.compile(&cluster, &Locality::Everything, &[], settings(limits));
    assert_eq!(refused.unwrap_err(), CompileError::Cells { needed, limit: 1 });
    let next = compiler.compile(&cluster, &Locality::Everything, &[], settings(Limits::default())).unwrap();
    assert!(!next.work.incremental);
    assert_eq!(next.decide(addr(2), addr(9), IpProtocol::TCP, 80).ingress, Cause::DefaultDeny);
    assert_eq!(ingress(&next, 2, 80), Cause::NotLocal);
    let again = compiler.compile(&cluster, &Locality::Everything, &[], settings(Limits::default())).unwrap();
    assert!(again.work.incremental);
}

#[test]
fn numbers_do_not_grow_with_changes() {
    let mut cluster = cluster();
    let mut compiler = Compiler::new();
    let policy = NetworkPolicy::clone(&cluster.policies()[&"x/web".parse().unwrap()]);
    for round in 0..3000_u32 {
        // Another label that is asked for, another pod, another block, each time.
        let value = format!("v{round}");
        let key = format!("x/pod-{round}").parse().unwrap();
        let mut next = Pod::clone(&cluster.pods()[&"x/client".parse().unwrap()]);
        next.labels.insert("app".to_owned(), value.clone());
        next.addresses = vec![IpAddr::from([10, 1, (round >> 8) as u8, round as u8])];
        next.key = key;
        cluster.put_pod(next);
        if let Some(before) = round.checked_sub(3) {
            cluster.remove_pod(&format!("x/pod-{before}").parse().unwrap());
        }
        let mut edited = policy.clone();
        let operator = Operator::In([value].into());
        let asked = Selector::new(vec![Requirement { key: "app".to_owned(), operator }]);
        let block = IpBlock::new(format!("172.16.{}.0/24", round % 200).parse().unwrap(), &[]).unwrap();
        edited.ingress[0].peers = Peers::AnyOf(vec![
            Peer::Pods(PodPeer { namespaces: NamespaceScope::Own, pods: asked }),
            Peer::Block(block),
        ]);
        cluster.put_policy(edited);
        let found = compiler.compile(&cluster, &Locality::Everything, &[], settings(round + 1)).unwrap();
        let (names, table) = (&found.snapshot.names, &found.snapshot.policy);
        assert!(matches!(found.decide(addr(1), addr(1), IpProtocol::TCP, 80).ingress, Cause::Itself));
        let newest = IpAddr::from([10, 1, (round >> 8) as u8, round as u8]).into();
        assert!(matches!(found.decide(newest, addr(1), IpProtocol::TCP, 80).ingress, Cause::Rule(_)));
        let numbers = [
            table.identities(),
            names.endpoints.len(),
            names.policies.len(),
            names.rules.len(),
            table.lists(),
        ];
        assert!(numbers.iter().all(|count| *count < 20), "round {round}: {numbers:?}");
    }
}
