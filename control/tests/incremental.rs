//! What is compiled from one change to the next says the same as what is compiled from scratch, after
//! any sequence of changes; only numbers may differ.

mod agreement;
mod changes;
mod random;

use std::collections::BTreeMap;

use agreement::{addresses, flows, pairs};
use changes::{Change, World, change};
use podgate_control::compile::*;
use podgate_dataplane::mac::Mac;
use podgate_dataplane::policy::{Cause, EndpointKind, PolicyVerdict};
use podgate_dataplane::snapshot::Snapshot;
use podgate_flowtable::{Addr, Epoch};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use random::{cluster, locality};

/// Whether what `compiler` makes of the world is what is made from scratch.
fn check(world: &World, compiler: &mut Compiler) -> Result<Option<Compiled>, TestCaseError> {
    let found = compiler.compile(&world.cluster, &world.locality, &world.ports, world.settings());
    let expected = compile(&world.cluster, &world.locality, &world.ports, world.settings());
    let (found, expected) = match (found, expected) {
        (Ok(found), Ok(expected)) => (found, expected),
        (found, expected) => {
            prop_assert_eq!(found.map(|_| ()), expected.map(|_| ()));
            return Ok(None);
        }
    };
    prop_assert_eq!(found.sizes, expected.sizes);
    prop_assert_eq!(&found.notes, &expected.notes);
    prop_assert_eq!(found.snapshot.epoch, Epoch(world.epoch));
    prop_assert_eq!(bindings(&found.snapshot), bindings(&expected.snapshot));
    prop_assert_eq!(endpoints(&found.snapshot), endpoints(&expected.snapshot));
    prop_assert_eq!(names(&found.snapshot), names(&expected.snapshot));
    for (from, to) in pairs(&addresses(&world.cluster)) {
        for (protocol, port) in flows() {
            let decide = |compiled: &Compiled| compiled.decide(from.into(), to.into(), protocol, port);
            let found = said(&found.snapshot, decide(&found));
            let expected = said(&expected.snapshot, decide(&expected));
            prop_assert_eq!(found, expected, "{} to {}, {:?} {}", from, to, protocol, port);
        }
    }
    Ok(Some(found))
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
        let mut last = check(&world, &mut compiler)?;
        for step in &steps {
            world.epoch += 1;
            world.limits = limits;
            for change in step {
                world.apply(change);
            }
            let squeezed = world.limits != limits;
            let now = check(&world, &mut compiler)?;
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
        let compiled = check(&world, &mut compiler)?.unwrap();
        agreement::agrees(&world.cluster, &world.locality, &compiled)?;
    }
}
