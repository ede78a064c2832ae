use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::super::received::Received;
use super::*;

const SERVER: &str = "https://10.0.0.1";
/// Of no machine: reserved (RFC 1112, section 4). Those for documentation are in use on some.
const ELSEWHERE: [&str; 2] = ["240.0.0.1", "240.0.0.2"];

/// The nodes `here` and `there` at these addresses; a pod on each, and one on a node without an object.
fn store(nodes: [&str; 2]) -> Store {
    let mut objects = vec![(Kind::Namespace, json!({"metadata": {"name": "x"}}))];
    for (name, address) in ["here", "there"].into_iter().zip(nodes) {
        let addresses = json!([{"type": "InternalIP", "address": address}]);
        objects.push((Kind::Node, json!({"metadata": {"name": name}, "status": {"addresses": addresses}})));
    }
    for (number, node) in ["here", "there", "unknown"].into_iter().enumerate() {
        objects.push((
            Kind::Pod,
            json!({"metadata": {"namespace": "x", "name": format!("on-{node}")}, "spec": {"nodeName": node},
                   "status": {"phase": "Running", "podIP": format!("10.0.0.{number}")}}),
        ));
    }
    let mut store = Store::default();
    for part in Part::ALL {
        store.begin(part);
        for (kind, object) in objects.iter().filter(|(kind, _)| kind.part() == part) {
            store.list(*kind, &Received::of(object.clone()));
        }
        store.complete(part);
    }
    store
}

/// Puts another boot in the place of this one, in a copy that stays whole.
fn boot(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace(&saved::boot_id(), "00000000-0000-0000-0000-000000000000");
    let (body, end) = text.split_at(text.rfind("{\"end\"").unwrap());
    let end: serde_json::Value = serde_json::from_str(end).unwrap();
    let sum = crc32fast::hash(body.as_bytes());
    fs::write(path, format!("{body}{{\"end\":{},\"crc32\":{sum}}}\n", end["end"])).unwrap();
}

/// Which pods have addresses after a restart.
fn kept(nodes: [&str; 2], node: Option<&str>, was_booted: bool) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let options = KubernetesOptions {
        access: super::super::Access::InCluster,
        saved: dir.path().join("objects.jsonl"),
        node: node.map(str::to_owned),
        silence: KubernetesOptions::SILENCE,
        spread: KubernetesOptions::SPREAD,
    };
    Copy::of(&store(nodes), SERVER).write(&options.saved).unwrap();
    if was_booted {
        boot(&options.saved);
    }
    let health = Arc::new(Health::new(SERVER.into(), options.saved.clone()));
    let (store, has_saved) = restore(&options, &health);
    let status = SourceHandle::of(health).status();
    assert_eq!((has_saved, status.origin, status.saved.unwrap().error), (true, StateOrigin::Disk, None));
    let pods: BTreeMap<_, _> = store.cluster().pods().iter().map(|(key, pod)| (&key.name, pod)).collect();
    assert_eq!(pods.len(), 3, "the pods are there, with addresses or without");
    pods.into_iter().filter(|(_, pod)| !pod.addresses.is_empty()).map(|(name, _)| name.clone()).collect()
}

#[test]
fn after_a_boot_the_pods_of_this_node_have_no_addresses() {
    assert_eq!(kept(ELSEWHERE, Some("here"), true), ["on-there", "on-unknown"]);
    assert_eq!(kept(["127.0.0.1", ELSEWHERE[1]], None, true), ["on-there", "on-unknown"]);
}

#[test]
fn after_a_boot_of_a_machine_that_is_no_known_node_no_pod_has_addresses() {
    assert_eq!(kept(ELSEWHERE, None, true), [""; 0]);
}

#[test]
fn within_a_boot_all_pods_keep_their_addresses() {
    for node in [None, Some("here")] {
        assert_eq!(kept(ELSEWHERE, node, false), ["on-here", "on-there", "on-unknown"]);
    }
}
