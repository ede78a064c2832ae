use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::source::kubernetes::received::Received;

const SERVER: &str = "https://10.0.0.1";

fn store() -> Store {
    let mut store = Store::default();
    let objects = [
        (Kind::Namespace, json!({"metadata": {"name": "x", "uid": "n", "labels": {"team": "a"}}})),
        (
            Kind::Node,
            json!({"metadata": {"name": "here", "uid": "h"}, "spec": {"podCIDRs": ["10.0.0.0/24"]},
                   "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}),
        ),
        (
            Kind::Pod,
            json!({"metadata": {"namespace": "x", "name": "a", "uid": "p", "labels": {"app": "web"},
                                "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "controller": true}]},
                   "spec": {"nodeName": "here"}, "status": {"phase": "Running", "podIP": "10.0.0.1"}}),
        ),
        (
            Kind::NetworkPolicy,
            json!({"metadata": {"namespace": "x", "name": "p", "uid": "q"}, "spec": {"podSelector": {"later": 1}}}),
        ),
        (
            Kind::Endpoints,
            json!({"metadata": {"namespace": "x", "name": "web", "uid": "e"},
                   "subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}]}),
        ),
    ];
    for part in Part::ALL {
        store.begin(part);
        for (kind, object) in objects.iter().filter(|(kind, _)| kind.part() == part) {
            store.list(*kind, &Received::of(object.clone()));
        }
        store.complete(part);
    }
    store
}

fn written() -> (tempfile::TempDir, PathBuf, Store) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lab/objects");
    let store = store();
    Copy::of(&store, SERVER).write(&path).unwrap();
    (dir, path, store)
}

#[test]
fn what_is_written_is_read_again_and_is_for_root_alone() {
    let (_dir, path, store) = written();
    let (head, restored) = read(&path, SERVER).unwrap();
    assert_eq!((head.server.as_str(), head.boot), (SERVER, boot_id()));
    assert_eq!(restored.cluster(), store.cluster());
    assert_eq!(restored.background(), store.background());
    assert_eq!(restored.troubles().collect::<Vec<_>>(), store.troubles().collect::<Vec<_>>());
    let uids = |store: &Store| store.entries().map(|(.., entry)| entry.uid.clone()).collect::<Vec<_>>();
    assert_eq!(uids(&restored), uids(&store));
    assert!(!restored.is_synced(), "it has to be listed all the same");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left aside");
}

#[test]
fn what_is_not_whole_is_not_used() {
    let (_dir, path, _) = written();
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let cut = good[..good.len() - 1].to_owned();
    let without_line = lines
        .iter()
        .filter(|line| !line.contains("\"Pod\""))
        .fold(String::new(), |text, line| text + line + "\n");
    let relabelled = good.replace("web", "wob");
    let half = good[..good.len() / 2].to_owned();
    for (what, text) in [
        ("the last byte", cut),
        ("an entry", without_line),
        ("a label", relabelled),
        ("the second half", half),
        ("everything", String::new()),
        ("the sense", "hello\n".to_owned()),
    ] {
        fs::write(&path, text).unwrap();
        let error = read(&path, SERVER).map(|(head, _)| head).unwrap_err();
        assert!(matches!(error, SavedError::Damaged { .. }), "{what}: {error}");
    }
    fs::write(&path, good.replace("\"podgate_objects\":1", "\"podgate_objects\":2")).unwrap();
    let error = read(&path, SERVER).map(|(head, _)| head).unwrap_err();
    assert!(matches!(error, SavedError::OtherVersion { found: 2 }), "{error}");
    fs::remove_file(&path).unwrap();
    assert!(matches!(read(&path, SERVER).map(|(head, _)| head), Err(SavedError::Missing)));
}

#[test]
fn what_another_server_has_told_is_not_used() {
    let (_dir, path, _) = written();
    let error = read(&path, "https://10.0.0.2").map(|(head, _)| head).unwrap_err();
    assert!(
        matches!(&error, SavedError::OtherServer { found, wanted } if found == SERVER && wanted != SERVER)
    );
    let told = error.to_string();
    for part in
        [SERVER, "https://10.0.0.2", "may be another cluster", "nothing of it is used", "written anew"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
}
