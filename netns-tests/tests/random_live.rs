//! Random clusters: the compiled table, the naive evaluator and real packets say the same.
//!
//! One lab is shown one random cluster after the other: other labels, namespaces, named ports and
//! policies for the same pods. A sample of connections is tried with sockets and ping. The seeds are
//! always the same, and one more that is not; `PODGATE_SEED` repeats one alone.

#[path = "../../control/tests/random/mod.rs"]
mod random;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use podgate_control::compile::{Compiled, Locality, Settings, compile};
use podgate_control::model::{
    Cluster, Labels, Namespace, NetworkPolicy, Node, ObjectKey, Phase, PolicyTypes, Selector,
};
use podgate_control::oracle::{Flow, judge};
use podgate_control::source::{Background, list};
use podgate_control::tools::Survey;
use podgate_flowtable::{Addr, Epoch, IpProtocol};
use podgate_netns_tests::program::PATIENCE;
use podgate_netns_tests::traffic::{Reach, Server, ping, reach_within, reaches_udp};
use podgate_netns_tests::{Pod, TestLab, Turn, wait_until};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Namespace, name and the number in the addresses: some are in the small networks that random
/// rules ask for, some are not.
const PODS: [(&str, &str, u8); 5] =
    [("x", "a", 1), ("x", "b", 4), ("y", "a", 5), ("y", "b", 6), ("z", "a", 8)];

/// Ports at and next to the bounds that random rules have; every pod answers on all of them.
const PORTS: [u16; 6] = [53, 54, 80, 81, 101, 8080];

const SEEDS: std::ops::Range<u64> = 0..12;
/// Connections tried in each cluster, all at once.
const SAMPLE: usize = 72;

/// How long a probe waits where "denied" is expected; the other ones may take longer.
const DENIED_AFTER: Duration = Duration::from_millis(400);
const ALLOWED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn random_clusters_are_decided_alike_by_table_evaluator_and_packets() {
    let _turn = Turn::alone();
    let seeds: Vec<u64> = match std::env::var("PODGATE_SEED") {
        Ok(seed) => vec![seed.parse().expect("PODGATE_SEED is a number")],
        Err(_) => SEEDS.chain([RandomState::new().build_hasher().finish()]).collect(),
    };
    let mut stage = Stage::set();
    let mut seen = Seen::default();
    for seed in &seeds {
        let (cluster, flows) = draw(*seed);
        stage.show(&cluster);
        let wrong = stage.try_all(&cluster, &flows, &mut seen);
        let (count, wrong_count) = (flows.len(), wrong.len());
        assert!(
            wrong.is_empty(),
            "PODGATE_SEED={seed}: {wrong_count} of {count} wrong:\n{}\n{}",
            wrong.join("\n"),
            list(&cluster, &Background::default())
        );
    }
    eprintln!("{seen:?}");
    if seeds.len() > 1 {
        // Enough of everything, or the comparison would say nothing.
        for (what, count) in [
            ("allowed TCP", seen.allowed[0]),
            ("allowed UDP", seen.allowed[1]),
            ("allowed ping", seen.allowed[2]),
            ("denied TCP", seen.denied[0]),
            ("denied UDP", seen.denied[1]),
            ("denied ping", seen.denied[2]),
        ] {
            assert!(count >= 40, "{what}: {count} only; {seen:?}");
        }
        assert!(seen.by_rule >= 25, "{seen:?}");
    }
}

/// How many connections of each kind were tried: TCP, UDP, ping.
#[derive(Debug, Default)]
struct Seen {
    allowed: [usize; 3],
    denied: [usize; 3],
    /// Of the allowed ones, those for which a rule had to.
    by_rule: usize,
}

/// A cluster of these pods, and connections between them.
fn draw(seed: u64) -> (Cluster, Vec<Flow>) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let tree = (cluster(), vec(flow(), SAMPLE)).new_tree(&mut runner).expect("nothing is refused");
    tree.current()
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let namespaces = vec(random::labels(), 3);
    (namespaces, vec(random::pod(), PODS.len()), vec(random::policy(), 2..8)).prop_map(
        |(namespaces, pods, policies)| {
            let mut cluster = bare();
            for (name, labels) in ["x", "y", "z"].into_iter().zip(namespaces) {
                cluster.put_namespace(Namespace::new(name, labels));
            }
            for (pod, (namespace, name, number)) in pods.into_iter().zip(PODS) {
                cluster.put_pod(podgate_control::model::Pod {
                    key: ObjectKey::new(namespace, name),
                    node: Some("n1".to_owned()),
                    addresses: vec![random::v4(number), random::v6(number)],
                    host_network: false,
                    phase: Phase::Running,
                    ..pod
                });
            }
            for policy in policies {
                cluster.put_policy(policy);
            }
            cluster
        },
    )
}

/// The node alone.
fn bare() -> Cluster {
    let mut cluster = Cluster::new();
    let addresses = vec![IpAddr::from([192, 168, 0, 1])];
    cluster.put_node(Node { name: "n1".to_owned(), labels: Labels::new(), addresses, pod_nets: Vec::new() });
    cluster
}

fn flow() -> impl Strategy<Value = Flow> {
    let protocols = select(vec![IpProtocol::TCP, IpProtocol::UDP, IpProtocol::ICMP]);
    let ends =
        (select(PODS.to_vec()), select(PODS.to_vec())).prop_filter("two pods", |(from, to)| from != to);
    (ends, any::<bool>(), protocols, select(PORTS.to_vec())).prop_map(|((from, to), v4, protocol, port)| {
        let address = if v4 { random::v4 } else { random::v6 };
        let (protocol, port) = match protocol {
            IpProtocol::ICMP if v4 => (IpProtocol::ICMP, 0),
            IpProtocol::ICMP => (IpProtocol::ICMPV6, 0),
            protocol => (protocol, port),
        };
        Flow { from: address(from.2), to: address(to.2), protocol, port }
    })
}

/// The lab, and servers in all of its pods.
struct Stage {
    lab: TestLab,
    pods: Vec<Pod>,
    shown: usize,
    _servers: Vec<Server>,
}

impl Stage {
    fn set() -> Self {
        let mut cluster = bare();
        for (namespace, name, number) in PODS {
            cluster.put_pod(podgate_control::model::Pod {
                node: Some("n1".to_owned()),
                addresses: vec![random::v4(number), random::v6(number)],
                phase: Phase::Running,
                ..podgate_control::model::Pod::new(ObjectKey::new(namespace, name))
            });
        }
        let text = list(&cluster, &Background::default()).to_string();
        // What is in force is compared with the cluster, so there is to be nothing else.
        let lab = TestLab::up_with(&text, "", &["--node", "n1", "--dns", "off"]);
        let pods: Vec<Pod> =
            PODS.iter().map(|(namespace, name, _)| lab.pod(&format!("{namespace}/{name}"))).collect();
        let servers = pods.iter().flat_map(|pod| PORTS.map(|port| Server::start(pod, port))).collect();
        Self { lab, pods, shown: 0, _servers: servers }
    }

    /// Puts a cluster in force; waits until the gateway says that it is.
    fn show(&mut self, cluster: &Cluster) {
        self.shown += 1;
        // A policy about nobody, so that there is always something new to wait for.
        let marker = NetworkPolicy {
            key: ObjectKey::new("marker", format!("shown-{}", self.shown)),
            pod_selector: Selector::everything(),
            types: PolicyTypes { ingress: true, egress: false },
            ingress: Vec::new(),
            egress: Vec::new(),
        };
        let mut shown = cluster.clone();
        shown.put_policy(marker.clone());
        self.lab.write("cluster.yaml", &list(&shown, &Background::default()).to_string());
        wait_until("the random cluster is in force", PATIENCE, || {
            let in_force = self.lab.instance.in_force();
            let objects = Survey::of_gateway(in_force).expect("a cluster").cluster;
            objects.policies().contains_key(&marker.key) && objects == shown
        });
    }

    /// Tries every connection; returns what came out other than the evaluator has it.
    fn try_all(&self, cluster: &Cluster, flows: &[Flow], seen: &mut Seen) -> Vec<String> {
        let locality = Locality::Node { name: Some("n1".to_owned()), own_addresses: Vec::new() };
        let compiled = compile(cluster, &locality, &[], Settings::new(Epoch(1), 7)).expect("it fits");
        let expected: Vec<bool> =
            flows.iter().map(|flow| judge(cluster, &locality, *flow).allows()).collect();
        let tried: Vec<bool> = std::thread::scope(|scope| {
            let probes: Vec<_> = flows
                .iter()
                .zip(&expected)
                .map(|(flow, allowed)| scope.spawn(move || self.passes(*flow, *allowed)))
                .collect();
            probes.into_iter().map(|probe| probe.join().expect("a probe")).collect()
        });
        let mut wrong = Vec::new();
        for ((flow, expected), live) in flows.iter().zip(expected).zip(tried) {
            let table = decided(&compiled, *flow);
            if (table, live) != (expected, expected) {
                wrong.push(format!("{flow:?}: evaluator {expected}, table {table}, packets {live}"));
            }
            let kind = match flow.protocol {
                IpProtocol::TCP => 0,
                IpProtocol::UDP => 1,
                _ => 2,
            };
            let counts = if expected { &mut seen.allowed } else { &mut seen.denied };
            counts[kind] += 1;
            let verdict = judge(cluster, &locality, *flow);
            let by_rule = [verdict.egress, verdict.ingress]
                .iter()
                .any(|side| matches!(side, podgate_control::oracle::Side::Allowed(_)));
            seen.by_rule += usize::from(expected && by_rule);
        }
        wrong
    }

    /// Whether a real connection comes about.
    fn passes(&self, flow: Flow, expected: bool) -> bool {
        let from = self.pods.iter().find(|pod| pod.addresses().contains(&flow.from)).expect("a pod");
        let at_most = if expected { ALLOWED_WITHIN } else { DENIED_AFTER };
        match flow.protocol {
            IpProtocol::TCP => reach_within(&from.space, flow.to, flow.port, at_most) == Reach::Connected,
            IpProtocol::UDP => reaches_udp(&from.space, flow.to, flow.port, at_most),
            _ => {
                let options = format!("-c 1 -W {}", at_most.as_secs_f64());
                ping(&from.space, flow.to, &options).received == 1
            }
        }
    }
}

fn decided(compiled: &Compiled, flow: Flow) -> bool {
    compiled.decide(Addr::from(flow.from), Addr::from(flow.to), flow.protocol, flow.port).allows()
}
