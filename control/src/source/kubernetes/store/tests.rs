use serde_json::{Value, json};

use super::*;

fn received(mut value: Value, uid: &str, version: u64) -> Received {
    value["metadata"]["uid"] = json!(uid);
    value["metadata"]["resourceVersion"] = json!(version.to_string());
    Received::of(value)
}

fn namespace(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"team": name}}})
}

fn pod(key: &str, app: &str) -> Value {
    let (namespace, name) = key.split_once('/').unwrap();
    json!({
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": app},
                     "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "controller": true}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    })
}

fn policy(key: &str, spec: &Value) -> Value {
    let (namespace, name) = key.split_once('/').unwrap();
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

/// Lists everything, the others as empty.
fn synced(objects: &[(Kind, Value)]) -> Store {
    let mut store = Store::default();
    for part in Part::ALL {
        store.begin(part);
        for (kind, object) in objects.iter().filter(|(kind, _)| kind.part() == part) {
            store.list(*kind, &received(object.clone(), &format!("{object}"), 1));
        }
        store.complete(part);
    }
    store
}

fn pods(store: &Store) -> Vec<String> {
    store.cluster().pods().keys().map(ToString::to_string).collect()
}

#[test]
fn nothing_counts_as_synced_before_every_part_has_been_listed() {
    let mut store = Store::default();
    for part in Part::ALL {
        assert!(!store.is_synced(), "{part:?}");
        store.begin(part);
        assert!(!store.is_synced(), "{part:?}");
        store.complete(part);
    }
    assert!(store.is_synced());
}

#[test]
fn a_pod_counts_from_when_its_namespace_is_known() {
    let mut store = synced(&[]);
    assert!(store.apply(Kind::Pod, &received(pod("x/a", "web"), "u1", 2)));
    assert_eq!(pods(&store), [""; 0]);
    assert_eq!(store.cluster().namespaces().len(), 0, "none is made up");
    assert!(store.apply(Kind::Namespace, &received(namespace("x"), "n1", 3)));
    assert_eq!(pods(&store), ["x/a"]);
    assert_eq!(store.cluster().namespaces()["x"].labels()["team"], "x");
    assert!(store.delete(Kind::Namespace, &received(namespace("x"), "n1", 4)));
    assert_eq!(pods(&store), [""; 0]);
    assert!(store.apply(Kind::Namespace, &received(namespace("x"), "n2", 5)));
    assert_eq!(pods(&store), ["x/a"]);
}

#[test]
fn a_list_replaces_what_there_was_when_it_is_whole() {
    let mut store = synced(&[
        (Kind::Namespace, namespace("x")),
        (Kind::Pod, pod("x/a", "web")),
        (Kind::Pod, pod("x/b", "db")),
    ]);
    let before = store.cluster().pods()[&ObjectKey::new("x", "b")].clone();
    store.begin(Part::Pods);
    store.list(Kind::Pod, &received(pod("x/b", "db"), "other", 9));
    assert_eq!(pods(&store), ["x/a", "x/b"], "half a list takes nothing away");
    store.begin(Part::Pods);
    store.list(Kind::Pod, &received(pod("x/b", "db"), &pod("x/b", "db").to_string(), 9));
    store.list(Kind::Pod, &received(pod("x/c", "db"), "u3", 9));
    assert!(store.complete(Part::Pods));
    assert_eq!(pods(&store), ["x/b", "x/c"]);
    let after = &store.cluster().pods()[&ObjectKey::new("x", "b")];
    assert!(std::sync::Arc::ptr_eq(&before, after), "what is as it was is the same object");
}

#[test]
fn events_that_are_late_or_come_twice_mean_nothing() {
    let mut store = synced(&[(Kind::Namespace, namespace("x"))]);
    assert!(store.apply(Kind::Pod, &received(pod("x/a", "new"), "u1", 12)));
    assert!(!store.apply(Kind::Pod, &received(pod("x/a", "old"), "u1", 11)), "an older version");
    assert!(!store.apply(Kind::Pod, &received(pod("x/a", "new"), "u1", 12)), "the same again");
    let label = |store: &Store| store.cluster().pods()[&ObjectKey::new("x", "a")].labels["app"].clone();
    assert_eq!(label(&store), "new");
    assert!(store.apply(Kind::Pod, &received(pod("x/a", "another"), "u2", 14)), "made anew meanwhile");
    assert!(!store.delete(Kind::Pod, &received(pod("x/a", "new"), "u1", 13)), "the end of the one before");
    assert_eq!(label(&store), "another");
    assert!(store.delete(Kind::Pod, &received(pod("x/a", "another"), "u2", 15)));
    assert!(!store.apply(Kind::Pod, &received(pod("x/a", "another"), "u2", 15)), "what is gone stays gone");
    assert_eq!(pods(&store), [""; 0]);
    assert!(store.background().owners.is_empty());
}

#[test]
fn what_cannot_be_used_holds_nothing_else_back() {
    let good =
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": [{}]});
    let mut bad = good.clone();
    bad["ingress"] = json!([{"from": [{"later": {}}]}]);
    let mut store = synced(&[
        (Kind::Namespace, namespace("x")),
        (Kind::NetworkPolicy, policy("x/new", &bad)),
        (Kind::NetworkPolicy, policy("x/fine", &good)),
    ]);
    let held = |store: &Store, name: &str| store.cluster().policies()[&ObjectKey::new("x", name)].clone();
    let isolating = held(&store, "new");
    assert!(isolating.types.ingress && !isolating.types.egress && isolating.ingress.is_empty());
    assert_eq!(held(&store, "fine").ingress.len(), 1);
    let trouble = store.troubles().next().unwrap();
    assert_eq!((trouble.name.as_str(), trouble.instead), ("new", Instead::Isolated));
    assert!(
        trouble.to_string().starts_with("NetworkPolicy x/new: spec.ingress[0].from[0].later: "),
        "{trouble}"
    );

    // What it said before is kept, for as long as it is the same object.
    store.apply(Kind::NetworkPolicy, &received(policy("x/p", &good), "u1", 2));
    for (version, is_new) in [(3, true), (4, false)] {
        let changed = store.apply(Kind::NetworkPolicy, &received(policy("x/p", &bad), "u1", version));
        assert_eq!(changed, is_new, "a new trouble is to be saved, and to be told to whoever waits");
        assert_eq!(held(&store, "p").ingress.len(), 1);
        assert_eq!(store.troubles().last().unwrap().instead, Instead::LastGood);
    }
    assert!(store.apply(Kind::NetworkPolicy, &received(policy("x/p", &bad), "u2", 5)));
    assert!(held(&store, "p").ingress.is_empty());
    assert_eq!(store.troubles().last().unwrap().instead, Instead::Isolated);
    assert!(store.apply(Kind::NetworkPolicy, &received(policy("x/p", &good), "u2", 6)));

    let odd = json!({"metadata": {"namespace": "x", "name": "odd"}, "status": {"podIP": "10.0.0.300"}});
    assert!(store.apply(Kind::Pod, &received(odd, "u9", 8)));
    assert_eq!(pods(&store), [""; 0]);
    assert_eq!(store.troubles().find(|trouble| trouble.name == "odd").unwrap().instead, Instead::LeftOut);
}

#[test]
fn addresses_of_a_node_can_be_forgotten() {
    let mut own = pod("x/a", "web");
    own["spec"] = json!({"nodeName": "here"});
    let mut store =
        synced(&[(Kind::Namespace, namespace("x")), (Kind::Pod, own), (Kind::Pod, pod("x/b", "web"))]);
    store.forget_addresses(|node| node == "here");
    let addresses = |name: &str| store.cluster().pods()[&ObjectKey::new("x", name)].addresses.len();
    assert_eq!((addresses("a"), addresses("b")), (0, 1));
}
