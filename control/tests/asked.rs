//! What a gateway tells is read as it is, and what would be applied to it is put over it.

mod random;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use podgate_control::api::{InForce, PolicyPlace};
use podgate_control::model::Cluster;
use podgate_control::service::ServiceMode;
use podgate_control::source::{Background, Strictness, list, read_manifests};
use podgate_control::tools::Survey;
use proptest::prelude::*;

const IN_FORCE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: x, labels: {team: a}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-6d4cf56db6-abcde, namespace: x, labels: {app: web, pod-template-hash: 6d4cf56db6}}
spec: {nodeName: n1}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: x, labels: {app: db}}
spec: {nodeName: n1}
status: {podIP: 10.0.0.2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: old, namespace: x}
spec: {podSelector: {}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: x}
spec: {podSelector: {}}
";

const APPLIED: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: x}
spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cache, namespace: x}
spec: {selector: {matchLabels: {app: cache}}, template: {metadata: {labels: {app: cache}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: x, labels: {app: db, tier: back}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: x}
spec: {podSelector: {matchLabels: {app: web}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: new, namespace: x}
spec: {podSelector: {matchLabels: {app: db}}}
";

fn told(cluster: &Cluster) -> InForce {
    let place = PolicyPlace { file: "policies.yaml".into(), line: Some(7) };
    InForce {
        gateway: "lab".into(),
        epoch: 3,
        age_seconds: 1.5,
        held_back: vec!["a mistake".into()],
        services: ServiceMode::Off,
        places: BTreeMap::from([("x/old".to_owned(), place)]),
        objects: list(cluster, &Background::default()),
    }
}

fn cluster(text: &str) -> Cluster {
    let reading = read_manifests(text, Path::new("f"), Strictness::New);
    assert_eq!(reading.errors, []);
    let mut cluster = Cluster::new();
    for manifest in reading.manifests {
        manifest.object.put_into(&mut cluster);
    }
    cluster
}

fn applied(prune: bool) -> (Survey, Survey) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("all.yaml"), APPLIED).unwrap();
    let survey = Survey::of_gateway(told(&cluster(IN_FORCE))).unwrap();
    assert_eq!(survey.services, Some(ServiceMode::Off));
    survey.before_and_after([directory.path()], prune).unwrap()
}

fn names<'a, K: ToString + 'a, V: 'a>(objects: impl IntoIterator<Item = (&'a K, &'a V)>) -> Vec<String> {
    objects.into_iter().map(|(key, _)| key.to_string()).collect()
}

#[test]
fn a_gateway_is_taken_at_its_word() {
    let survey = Survey::of_gateway(told(&cluster(IN_FORCE))).unwrap();
    assert_eq!(survey.cluster, cluster(IN_FORCE));
    let gateway = survey.gateway.as_ref().unwrap();
    assert_eq!(
        (gateway.name.as_str(), gateway.epoch, &gateway.held_back[..]),
        ("lab", 3, &["a mistake".to_owned()][..])
    );
    assert!(survey.lent.is_empty() && survey.remarks().is_empty(), "{:?}", survey.remarks());
    let old = "x/old".parse().unwrap();
    assert_eq!(survey.policy_spot(&old, "metadata.name").unwrap().at(), "policies.yaml:7");
    assert_eq!(survey.policy_spot(&old, "spec.ingress[0]"), None);
    // Another version's words are refused and not guessed at.
    let mut other = told(&cluster(IN_FORCE));
    other.objects["items"][0]["metadata"]["labels"] = "team=a".into();
    assert!(Survey::of_gateway(other).is_err());
}

#[test]
fn what_is_applied_is_added_or_takes_a_place() {
    let (before, after) = applied(false);
    assert_eq!(names(before.cluster.policies()), ["x/old", "x/web"]);
    assert_eq!(names(after.cluster.policies()), ["x/new", "x/old", "x/web"]);
    // The Deployment's pods are there under other names; the new one's are made.
    assert_eq!(names(after.cluster.pods()), ["x/cache-0", "x/db", "x/web-6d4cf56db6-abcde"]);
    let db = &after.cluster.pods()[&"x/db".parse().unwrap()];
    assert_eq!((db.labels["tier"].as_str(), db.addresses.len(), db.node.as_deref()), ("back", 1, Some("n1")));
    assert_eq!(db.addresses, before.cluster.pods()[&"x/db".parse().unwrap()].addresses);
    assert_eq!(after.cluster.namespaces()["x"].labels()["team"], "a");
    assert_eq!(after.cluster.implied_namespaces().count(), 0);
    assert_eq!(names(after.made.iter()), ["Deployment x/cache"]);
    assert_eq!(after.lent.len(), 1);
}

#[test]
fn pruned_policies_are_those_that_are_not_applied() {
    assert_eq!(names(applied(true).1.cluster.policies()), ["x/new", "x/web"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    #[test]
    fn any_cluster_is_told_and_read(cluster in random::cluster()) {
        prop_assert_eq!(Survey::of_gateway(told(&cluster)).unwrap().cluster, cluster);
    }
}
