//! What is compiled from one change to the next says the same as what is compiled from scratch, after
//! any sequence of changes; only numbers may differ.

mod agreement;
mod random;

use std::collections::BTreeMap;
use std::net::IpAddr;

use agreement::{addresses, flows, pairs};
use podgate_control::compile::*;
use podgate_control::model::*;
use podgate_dataplane::mac::Mac;
use podgate_dataplane::policy::{Cause, EndpointKind, PolicyVerdict};
use podgate_dataplane::snapshot::Snapshot;
use podgate_dataplane::tag::PortId;
use podgate_flowtable::{Addr, Epoch};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;
use random::{NAMESPACES, NODES, cluster, labels, locality, phase, pod, policy, v4, v6};

/// One change of something.
#[derive(Clone, Debug)]
enum Change {
    PutPod(Pod),
    RemovePod(Index),
    Relabel(Index, Labels),
    Phase(Index, Phase),
    /// The one gets the addresses of the other, which may keep them.
    Move(Index, Index, bool),
    Bind(Index, Option<&'static str>),
    HostNetwork(Index),
    PutPolicy(NetworkPolicy),
    RemovePolicy(Index),
    /// Another's rules, under its own name and selector.
    EditPolicy(Index, NetworkPolicy),
    RelabelNamespace(&'static str, Labels),
    RemoveNamespace(&'static str),
    PutNode(&'static str, Vec<IpAddr>),
    RemoveNode(&'static str),
    Plug(u16, Index, Vec<IpAddr>),
    Unplug(Index),
    OwnAddresses(Vec<IpAddr>),
    OwnName(Option<&'static str>),
    /// Everything is read anew: equal, but nothing is the same object.
    Reread,
    /// The next compilation has no room.
    Squeeze,
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    let node = || select(vec!["n1", "n2", "n3", "n4"]);
    let address = || prop_oneof![2 => (0..10_u8).prop_map(v4), 1 => (0..10_u8).prop_map(v6)];
    let link_local = Just("fe80::1".parse::<IpAddr>().unwrap());
    let plugged = vec(prop_oneof![3 => address(), 1 => link_local], 0..3);
    prop_oneof![
        4 => pod().prop_map(Change::PutPod),
        3 => index().prop_map(Change::RemovePod),
        4 => (index(), labels()).prop_map(|(at, labels)| Change::Relabel(at, labels)),
        2 => (index(), phase()).prop_map(|(at, phase)| Change::Phase(at, phase)),
        3 => (index(), index(), any::<bool>()).prop_map(|(to, from, keep)| Change::Move(to, from, keep)),
        2 => (index(), option::of(node())).prop_map(|(at, node)| Change::Bind(at, node)),
        1 => index().prop_map(Change::HostNetwork),
        5 => policy().prop_map(Change::PutPolicy),
        3 => index().prop_map(Change::RemovePolicy),
        4 => (index(), policy()).prop_map(|(at, policy)| Change::EditPolicy(at, policy)),
        3 => (select(NAMESPACES.to_vec()), labels()).prop_map(|(name, labels)| Change::RelabelNamespace(name, labels)),
        1 => select(NAMESPACES.to_vec()).prop_map(Change::RemoveNamespace),
        2 => (node(), vec(address(), 0..3)).prop_map(|(name, addresses)| Change::PutNode(name, addresses)),
        1 => node().prop_map(Change::RemoveNode),
        4 => (1..6_u16, index(), plugged).prop_map(|(port, at, seen)| Change::Plug(port, at, seen)),
        2 => index().prop_map(Change::Unplug),
        1 => vec(address(), 0..3).prop_map(Change::OwnAddresses),
        1 => option::of(select(NODES.to_vec())).prop_map(Change::OwnName),
        2 => Just(Change::Reread),
        1 => Just(Change::Squeeze),
    ]
}

/// What there is, as a source and a gateway would have it.
#[derive(Clone, Debug)]
struct World {
    cluster: Cluster,
    locality: Locality,
    ports: Vec<PortAssignment>,
    limits: Limits,
    epoch: u32,
}

impl World {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::PutPod(pod) => self.cluster.put_pod(pod.clone()),
            Change::RemovePod(at) => {
                self.key(*at).map(|key| self.cluster.remove_pod(&key));
            }
            Change::Relabel(at, labels) => self.edit(*at, |pod| pod.labels.clone_from(labels)),
            Change::Phase(at, phase) => self.edit(*at, |pod| pod.phase = *phase),
            Change::Bind(at, node) => self.edit(*at, |pod| pod.node = node.map(str::to_owned)),
            Change::HostNetwork(at) => self.edit(*at, |pod| pod.host_network = !pod.host_network),
            Change::Move(to, from, keep) => {
                let moved = self.key(*from).map(|key| self.cluster.pods()[&key].addresses.clone());
                if !keep {
                    self.edit(*from, |pod| pod.addresses.clear());
                }
                self.edit(*to, |pod| pod.addresses = moved.unwrap_or_default());
            }
            Change::PutPolicy(policy) => self.cluster.put_policy(policy.clone()),
            Change::RemovePolicy(at) => {
                self.policy(*at).map(|policy| self.cluster.remove_policy(&policy.key));
            }
            Change::EditPolicy(at, other) => {
                if let Some(policy) = self.policy(*at) {
                    let (key, pod_selector) = (policy.key, policy.pod_selector);
                    self.cluster.put_policy(NetworkPolicy { key, pod_selector, ..other.clone() });
                }
            }
            Change::RelabelNamespace(name, labels) => {
                self.cluster.put_namespace(Namespace::new(*name, labels.clone()));
            }
            Change::RemoveNamespace(name) => drop(self.cluster.remove_namespace(name)),
            Change::PutNode(name, addresses) => {
                let (name, addresses) = ((*name).to_owned(), addresses.clone());
                self.cluster.put_node(Node { name, labels: Labels::new(), addresses });
            }
            Change::RemoveNode(name) => drop(self.cluster.remove_node(name)),
            Change::Plug(number, at, addresses) => {
                let (port, mac) = (PortId::new(*number).unwrap(), Mac([2, 0, 0, 0, 0, *number as u8]));
                self.ports.retain(|other| other.port != port);
                if let Some(pod) = self.key(*at) {
                    self.ports.push(PortAssignment { port, pod, mac, addresses: addresses.clone() });
                }
            }
            Change::Unplug(at) if !self.ports.is_empty() => {
                self.ports.remove(at.index(self.ports.len()));
            }
            Change::Unplug(_) => {}
            Change::OwnAddresses(addresses) => {
                if let Locality::Node { own_addresses, .. } = &mut self.locality {
                    own_addresses.clone_from(addresses);
                }
            }
            Change::OwnName(own) => {
                if let Locality::Node { name, .. } = &mut self.locality {
                    *name = own.map(str::to_owned);
                }
            }
            Change::Reread => self.reread(),
            Change::Squeeze => self.limits = Limits { identities: 3, cells: 5 },
        }
    }

    fn reread(&mut self) {
        let old = std::mem::take(&mut self.cluster);
        let implied: Vec<&str> = old.implied_namespaces().collect();
        let declared = old.namespaces().values().filter(|namespace| !implied.contains(&namespace.name()));
        declared.for_each(|namespace| self.cluster.put_namespace(Namespace::clone(namespace)));
        old.nodes().values().for_each(|node| self.cluster.put_node(Node::clone(node)));
        old.pods().values().for_each(|pod| self.cluster.put_pod(Pod::clone(pod)));
        old.policies().values().for_each(|policy| self.cluster.put_policy(NetworkPolicy::clone(policy)));
    }

    fn key(&self, at: Index) -> Option<ObjectKey> {
        let pods = self.cluster.pods();
        (!pods.is_empty()).then(|| pods.keys().nth(at.index(pods.len())).unwrap().clone())
    }

    fn policy(&self, at: Index) -> Option<NetworkPolicy> {
        let policies = self.cluster.policies();
        let policy = (!policies.is_empty()).then(|| policies.values().nth(at.index(policies.len())).unwrap());
        policy.map(|policy| NetworkPolicy::clone(policy))
    }

    fn edit(&mut self, at: Index, change: impl FnOnce(&mut Pod)) {
        if let Some(key) = self.key(at) {
            let mut pod = Pod::clone(&self.cluster.pods()[&key]);
            change(&mut pod);
            self.cluster.put_pod(pod);
        }
    }

    fn settings(&self) -> Settings {
        Settings { limits: self.limits, ..Settings::new(Epoch(self.epoch), 7) }
    }

    /// Whether what `compiler` makes of the world is what is made from scratch.
    fn check(&self, compiler: &mut Compiler) -> Result<Option<Compiled>, TestCaseError> {
        let found = compiler.compile(&self.cluster, &self.locality, &self.ports, self.settings());
        let expected = compile(&self.cluster, &self.locality, &self.ports, self.settings());
        let (found, expected) = match (found, expected) {
            (Ok(found), Ok(expected)) => (found, expected),
            (found, expected) => {
                prop_assert_eq!(found.map(|_| ()), expected.map(|_| ()));
                return Ok(None);
            }
        };
        prop_assert_eq!(found.sizes, expected.sizes);
        prop_assert_eq!(&found.notes, &expected.notes);
        prop_assert_eq!(found.snapshot.epoch, Epoch(self.epoch));
        prop_assert_eq!(bindings(&found.snapshot), bindings(&expected.snapshot));
        prop_assert_eq!(endpoints(&found.snapshot), endpoints(&expected.snapshot));
        prop_assert_eq!(names(&found.snapshot), names(&expected.snapshot));
        for (from, to) in pairs(&addresses(&self.cluster)) {
            for (protocol, port) in flows() {
                let decide = |compiled: &Compiled| compiled.decide(from.into(), to.into(), protocol, port);
                let found = said(&found.snapshot, decide(&found));
                let expected = said(&expected.snapshot, decide(&expected));
                prop_assert_eq!(found, expected, "{} to {}, {:?} {}", from, to, protocol, port);
            }
        }
        Ok(Some(found))
    }
}

/// Port to the pod behind it and its addresses.
fn bindings(snapshot: &Snapshot) -> Vec<(u16, String, Mac, Vec<Addr>)> {
    let bindings = snapshot.bindings().map(|(port, binding)| {
        let name = snapshot.names.endpoint(binding.endpoint).unwrap();
        (port.number(), name.to_owned(), binding.mac, binding.addresses.to_vec())
    });
    bindings.collect()
}

/// Address to what stands behind it, and the policies that isolate that, by direction.
type Endpoints = BTreeMap<Addr, (EndpointKind, String, [Vec<String>; 2])>;

fn endpoints(snapshot: &Snapshot) -> Endpoints {
    let policy = |number: &u32| snapshot.names.policies[*number as usize].to_string();
    let endpoints = snapshot.endpoints.known().map(|(address, endpoint)| {
        let id = endpoint.id.unwrap();
        let isolation = &snapshot.names.isolation[id.0 as usize];
        let policies = [&isolation.ingress, &isolation.egress].map(|set| set.iter().map(policy).collect());
        (address, (endpoint.kind, snapshot.names.endpoint(id).unwrap().to_owned(), policies))
    });
    endpoints.collect()
}

/// All names in use, of endpoints and of policies.
fn names(snapshot: &Snapshot) -> [Vec<&str>; 2] {
    [&snapshot.names.endpoints, &snapshot.names.policies].map(|names| {
        let mut names: Vec<&str> = names.iter().map(AsRef::as_ref).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names
    })
}

/// A cause without numbers: of a rule, the policy, the direction and the position.
#[derive(PartialEq, Eq, Debug)]
enum Said<'a> {
    Rule(&'a str, bool, u32),
    Other(Cause),
}

/// Both causes.
fn said(snapshot: &Snapshot, verdict: PolicyVerdict) -> [Said<'_>; 2] {
    [verdict.egress, verdict.ingress].map(|cause| match cause {
        Cause::Rule(id) => {
            let (policy, rule) = snapshot.names.rule(id).unwrap();
            Said::Rule(policy, rule.egress, rule.index)
        }
        other => Said::Other(other),
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/incremental.seeds"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn incremental_is_from_scratch(
        cluster in cluster(),
        has_policies: bool,
        locality in locality(),
        steps in vec(vec(change(), 1..4), 1..10),
    ) {
        let limits = Limits::default();
        let mut cluster = cluster;
        if !has_policies {
            // Those to come are the first to ask for a label, a block or a port.
            cluster.policies().clone().keys().for_each(|key| drop(cluster.remove_policy(key)));
        }
        let mut world = World { cluster, locality, ports: Vec::new(), limits, epoch: 1 };
        let mut compiler = Compiler::new();
        let mut last = world.check(&mut compiler)?;
        for step in &steps {
            world.epoch += 1;
            world.limits = limits;
            for change in step {
                world.apply(change);
            }
            let squeezed = world.limits != limits;
            let now = world.check(&mut compiler)?;
            if let Some(now) = &now {
                let may_be_elsewhere = step.iter().any(|change| matches!(change, Change::OwnName(_)));
                prop_assert!(now.work.incremental == last.is_some() || may_be_elsewhere);
            } else {
                prop_assert!(squeezed);
            }
            last = now;
        }
        // The naive evaluator knows of no ports.
        world.ports.clear();
        world.limits = limits;
        let compiled = world.check(&mut compiler)?.unwrap();
        agreement::agrees(&world.cluster, &world.locality, &compiled)?;
    }
}
