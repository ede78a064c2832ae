//! Services as the dataplane has them: what was made before and used again is what would be made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podgate_control::model::*;
use podgate_control::service::{ServiceNote, Translator};
use podgate_dataplane::service::{ServiceKey, Services};
use podgate_flowtable::{Addr, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const NAMESPACES: [&str; 2] = ["x", "y"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// One change of a cluster.
#[derive(Clone, Debug)]
enum Change {
    PutPod(Pod),
    RemovePod(ObjectKey),
    PutService(Service),
    RemoveService(ObjectKey),
    PutSlice(EndpointSlice),
    RemoveSlice(ObjectKey),
    PutNode(Node),
    RemoveNamespace(&'static str),
}

fn key() -> impl Strategy<Value = ObjectKey> {
    (select(&NAMESPACES[..]), select(&NAMES[..]))
        .prop_map(|(namespace, name)| ObjectKey::new(namespace, name))
}

fn labels() -> impl Strategy<Value = Labels> {
    vec((select(vec!["app", "tier"]), select(vec!["1", "2"])), 0..3)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn address() -> impl Strategy<Value = std::net::IpAddr> {
    prop_oneof![
        (1..9_u8).prop_map(|host| [10, 0, 0, host].into()),
        (1..9_u16).prop_map(|host| [0xfd00, 0, 0, 0, 0, 0, 0, host].into()),
    ]
}

fn pod() -> impl Strategy<Value = Pod> {
    let phase = select(vec![Phase::Running, Phase::Running, Phase::Pending, Phase::Succeeded]);
    let port = (select(vec!["web", "dns"]), 1..4_u16, select(&Protocol::ALL[..]));
    let port =
        port.prop_map(|(name, port, protocol)| ContainerPort { name: Some(name.to_owned()), port, protocol });
    (key(), labels(), vec(address(), 0..3), any::<(bool, bool, bool)>(), phase, vec(port, 0..3)).prop_map(
        |(key, labels, addresses, (host_network, ready, terminating), phase, ports)| Pod {
            labels,
            node: Some("n1".to_owned()),
            addresses: if host_network { Vec::new() } else { addresses },
            host_network,
            phase,
            ready,
            terminating,
            ports,
            ..Pod::new(key)
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    let target = prop_oneof![
        (1..4_u16).prop_map(TargetPort::Number),
        select(vec!["web", "dns"]).prop_map(|name| TargetPort::Named(name.to_owned())),
    ];
    let port = (select(&Protocol::ALL[..]), 80..83_u16, target).prop_map(|(protocol, port, target)| {
        ServicePort { name: Some(format!("p{port}")), protocol, port, target }
    });
    let kind = prop_oneof![
        6 => vec(address(), 0..3).prop_map(ServiceKind::Cluster),
        1 => Just(ServiceKind::Headless),
        1 => Just(ServiceKind::External("a.example".to_owned())),
    ];
    (key(), kind, labels(), vec(port, 1..3), prop::option::of(1..9_u32), any::<bool>()).prop_map(
        |(key, kind, selector, ports, affinity_secs, publish_not_ready)| Service {
            key,
            kind,
            selector,
            ports,
            affinity_secs,
            publish_not_ready,
            families: Families::default(),
        },
    )
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    let condition =
        select(vec![Condition::Ready, Condition::Ready, Condition::Terminating, Condition::NotReady]);
    let endpoint = (vec(address(), 1..3), condition).prop_map(|(addresses, condition)| ServiceEndpoint {
        addresses,
        condition,
        pod: None,
        hostname: None,
    });
    let port = (select(&Protocol::ALL[..]), 80..83_u16).prop_map(|(protocol, port)| EndpointPort {
        name: Some(format!("p{port}")),
        protocol,
        port: port + 8000,
    });
    (key(), select(&NAMES[..]), vec(port, 0..3), vec(endpoint, 0..4)).prop_map(
        |(key, service, ports, endpoints)| EndpointSlice {
            service: ObjectKey::new(&key.namespace, service),
            key,
            ports,
            endpoints,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => pod().prop_map(Change::PutPod),
        2 => key().prop_map(Change::RemovePod),
        6 => service().prop_map(Change::PutService),
        2 => key().prop_map(Change::RemoveService),
        3 => slice().prop_map(Change::PutSlice),
        2 => key().prop_map(Change::RemoveSlice),
        1 => address().prop_map(|address| Change::PutNode(Node {
            name: "n1".to_owned(),
            labels: Labels::new(),
            addresses: vec![address],
            pod_nets: Vec::new(),
        })),
        1 => select(&NAMESPACES[..]).prop_map(Change::RemoveNamespace),
    ]
}

fn apply(cluster: &mut Cluster, change: Change) {
    match change {
        Change::PutPod(pod) => cluster.put_pod(pod),
        Change::RemovePod(key) => drop(cluster.remove_pod(&key)),
        Change::PutService(service) => cluster.put_service(service),
        Change::RemoveService(key) => drop(cluster.remove_service(&key)),
        Change::PutSlice(slice) => cluster.put_endpoint_slice(slice),
        Change::RemoveSlice(key) => drop(cluster.remove_endpoint_slice(&key)),
        Change::PutNode(node) => cluster.put_node(node),
        Change::RemoveNamespace(name) => drop(cluster.remove_namespace(name)),
    }
}

/// What of a Service's port does not depend on what came before: who its backends are, not which slots they have.
type Meaning = BTreeMap<ServiceKey, (String, Vec<Target>, Vec<Target>, Option<u64>)>;

fn meaning(services: &Services) -> Meaning {
    let of = |port: &podgate_dataplane::service::ServicePort| {
        let affinity = port.affinity.map(|timeout| timeout.as_secs());
        (port.name.to_string(), port.backends.backends().to_vec(), port.leaving.to_vec(), affinity)
    };
    services.iter().map(|(key, port)| (*key, of(port))).collect()
}

/// Addresses that pods or nodes have, as a compiler would know them.
fn endpoints(cluster: &Cluster) -> BTreeSet<Addr> {
    let pods = cluster.pods().values().filter(|pod| pod.is_endpoint()).flat_map(|pod| pod.addresses.clone());
    let nodes = cluster.nodes().values().flat_map(|node| node.addresses.clone());
    pods.chain(nodes).map(Addr::from).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_used_again_is_what_would_be_made_anew(changes in vec(vec(change(), 1..4), 1..12)) {
        let mut cluster = Cluster::new();
        let mut translator = Translator::default();
        for step in changes {
            for change in step {
                apply(&mut cluster, change);
            }
            let endpoints = endpoints(&cluster);
            let is_endpoint = |addr| endpoints.contains(&addr);
            let (again, notes) = translator.translate(&cluster, is_endpoint, 7);
            let (anew, expected) = Translator::default().translate(&cluster, is_endpoint, 7);
            prop_assert_eq!(meaning(&again), meaning(&anew));
            prop_assert_eq!(notes, expected);
        }
    }
}

fn web(key: &str, address: &str) -> Service {
    Service {
        key: key.parse().unwrap(),
        kind: ServiceKind::Cluster(vec![address.parse().unwrap()]),
        selector: Labels::from([("app".to_owned(), "web".to_owned())]),
        ports: vec![ServicePort {
            name: None,
            protocol: Protocol::Tcp,
            port: 80,
            target: TargetPort::Number(8080),
        }],
        affinity_secs: None,
        publish_not_ready: false,
        families: Families::default(),
    }
}

#[test]
fn an_address_of_two_leads_nowhere_and_is_told() {
    let mut cluster = Cluster::new();
    cluster.put_service(web("x/a", "10.96.0.1"));
    cluster.put_service(web("x/b", "10.96.0.1"));
    cluster.put_service(web("x/c", "10.0.0.1"));
    let pods = [Addr::from_v4([10, 0, 0, 1])];
    let (services, notes) = Translator::default().translate(&cluster, |addr| pods.contains(&addr), 7);
    let [contested, endpoint] = [
        ServiceNote::Contested {
            address: Addr::from_v4([10, 96, 0, 1]),
            port: 80,
            claimants: vec!["x/a".to_owned(), "x/b".to_owned()],
        },
        ServiceNote::Endpoint { address: pods[0], service: "x/c".to_owned() },
    ];
    assert_eq!(notes, [endpoint, contested]);
    assert!(services.has(Addr::from_v4([10, 96, 0, 1])) && !services.has(pods[0]));
    let all: Vec<_> = services.iter().collect();
    assert_eq!(all.len(), 1);
    assert_eq!((&*all[0].1.name, all[0].1.backends.backends()), ("", &[][..]));
}

#[test]
fn what_has_not_changed_is_not_made_again() {
    let mut cluster = Cluster::new();
    let pod = |key: &str, host: u8| Pod {
        labels: Labels::from([("app".to_owned(), "web".to_owned())]),
        addresses: vec![[10, 0, 0, host].into()],
        phase: Phase::Running,
        ..Pod::new(key.parse().unwrap())
    };
    for (namespace, host) in [("x", 1), ("y", 2)] {
        cluster.put_service(web(&format!("{namespace}/web"), &format!("10.96.0.{host}")));
        cluster.put_pod(pod(&format!("{namespace}/p"), host));
    }
    let mut translator = Translator::default();
    let mut tables = || {
        let (services, _) = translator.translate(&cluster.clone(), |_| false, 7);
        let table = |host: u8| {
            let key = ServiceKey {
                addr: Addr::from_v4([10, 96, 0, host]),
                port: 80,
                protocol: Protocol::Tcp.number(),
            };
            Arc::clone(&services.port(&key).unwrap().backends)
        };
        [table(1), table(2)]
    };
    let before = tables();
    let same = tables();
    assert!(before.iter().zip(&same).all(|(before, same)| Arc::ptr_eq(before, same)));
    // A pod of the one namespace.
    let mut changed = cluster.clone();
    changed.put_pod(pod("x/q", 3));
    let (services, _) = translator.translate(&changed, |_| false, 7);
    let table = |host: u8| {
        let key =
            ServiceKey { addr: Addr::from_v4([10, 96, 0, host]), port: 80, protocol: Protocol::Tcp.number() };
        services.port(&key).unwrap().backends.clone()
    };
    assert_eq!(table(1).backends().len(), 2);
    assert!(Arc::ptr_eq(&table(2), &before[1]));
}
