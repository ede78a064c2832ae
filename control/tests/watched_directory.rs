//! A watched directory delivers what it holds now, soon after each change.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use podgate_control::source::{Directory, Loaded, SourceError, Watch};
use tempfile::tempdir;
use tokio::time::timeout;

type Update = Result<Loaded, Vec<SourceError>>;

const LONG: Duration = Duration::from_secs(5);

fn pod(name: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n")
}

async fn next(watch: &mut Watch) -> Update {
    timeout(LONG, watch.next()).await.expect("an update").expect("a live watch").loaded
}

/// Updates until one holds just these pods; a change that is more than one write may be seen half.
async fn until(watch: &mut Watch, wanted: &[&str]) {
    let deadline = Instant::now() + LONG;
    loop {
        let names: Vec<String> = match next(watch).await {
            Ok(loaded) => loaded.cluster.pods().keys().map(|key| key.name.clone()).collect(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        };
        if names == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{names:?}, not {wanted:?}");
    }
}

/// As editors save: a new file, renamed over the old one.
fn rename_over(path: &Path, text: &str) {
    let fresh = path.with_extension("tmp");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

/// `kubectl get ... > file` empties the file and takes a while: what it held stays in force until it is closed.
#[tokio::test]
async fn a_file_that_is_being_written_is_not_read() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, pod("a")).unwrap();
    let mut watch = Watch::start(Directory::new([dir.path()])).unwrap();
    until(&mut watch, &["a"]).await;
    let mut writer = fs::File::create(&file).unwrap();
    assert!(timeout(Duration::from_millis(200), watch.next()).await.is_err(), "it is empty, and open");
    writer.write_all(pod("b").as_bytes()).unwrap();
    assert!(timeout(Duration::from_millis(200), watch.next()).await.is_err(), "it is still open");
    drop(writer);
    let loaded = next(&mut watch).await.unwrap();
    assert_eq!(loaded.cluster.pods().keys().map(ToString::to_string).collect::<Vec<_>>(), ["default/b"]);
}

#[tokio::test]
async fn each_change_is_delivered() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, pod("a")).unwrap();
    let mut watch = Watch::start(Directory::new([dir.path()])).unwrap();
    until(&mut watch, &["a"]).await;

    fs::write(&file, pod("b")).unwrap();
    until(&mut watch, &["b"]).await;

    // Twice: after the first, the file that was there at the start is gone.
    for name in ["c", "d"] {
        rename_over(&file, &pod(name));
        until(&mut watch, &[name]).await;
    }

    fs::create_dir(dir.path().join("deep")).unwrap();
    fs::write(dir.path().join("deep/e.yaml"), pod("e")).unwrap();
    until(&mut watch, &["d", "e"]).await;

    fs::remove_file(&file).unwrap();
    until(&mut watch, &["e"]).await;

    fs::write(&file, "kind: [").unwrap();
    loop {
        if let Err(errors) = next(&mut watch).await {
            assert!(errors[0].to_string().contains("a.yaml:1"), "{}", errors[0]);
            break;
        }
    }
    fs::write(&file, pod("f")).unwrap();
    until(&mut watch, &["e", "f"]).await;
}

#[tokio::test]
async fn a_single_file_is_followed_through_renames_and_absence() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("only.yaml");
    let mut watch = Watch::start(Directory::new([&file])).unwrap();
    assert!(next(&mut watch).await.is_err());
    fs::write(dir.path().join("other.yaml"), pod("other")).unwrap();
    for name in ["a", "b", "c"] {
        rename_over(&file, &pod(name));
        until(&mut watch, &[name]).await;
    }
    fs::remove_file(&file).unwrap();
    assert!(next(&mut watch).await.is_err());
    fs::write(&file, pod("d")).unwrap();
    until(&mut watch, &["d"]).await;
}

/// A mounted ConfigMap: files are links through `..data`, and an update turns that one link.
#[tokio::test]
async fn a_mounted_config_map_is_followed() {
    let dir = tempdir().unwrap();
    let version = |name: &str| {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("p.yaml"), pod(name.trim_start_matches('.'))).unwrap();
        std::os::unix::fs::symlink(name, dir.path().join("..new")).unwrap();
        fs::rename(dir.path().join("..new"), dir.path().join("..data")).unwrap();
    };
    version("..one");
    std::os::unix::fs::symlink("..data/p.yaml", dir.path().join("p.yaml")).unwrap();
    let mut whole = Watch::start(Directory::new([dir.path()])).unwrap();
    let mut single = Watch::start(Directory::new([dir.path().join("p.yaml")])).unwrap();
    until(&mut whole, &["one"]).await;
    until(&mut single, &["one"]).await;
    version("..two");
    until(&mut whole, &["two"]).await;
    until(&mut single, &["two"]).await;
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_followed() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("policies");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), pod("a")).unwrap();
    let mut watch = Watch::start(Directory::new([&root])).unwrap();
    until(&mut watch, &["a"]).await;
    let fresh = dir.path().join("fresh");
    fs::create_dir(&fresh).unwrap();
    fs::write(fresh.join("a.yaml"), pod("b")).unwrap();
    fs::rename(&root, dir.path().join("old")).unwrap();
    fs::rename(&fresh, &root).unwrap();
    until(&mut watch, &["b"]).await;
    fs::write(root.join("c.yaml"), pod("c")).unwrap();
    until(&mut watch, &["b", "c"]).await;
}

#[tokio::test]
async fn what_changes_nothing_is_not_delivered_and_a_change_is_soon() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, pod("a")).unwrap();
    let mut watch = Watch::start(Directory::new([dir.path()])).unwrap();
    until(&mut watch, &["a"]).await;
    fs::write(dir.path().join("a.yaml~"), "x").unwrap();
    fs::write(&file, pod("a")).unwrap();
    assert!(timeout(Duration::from_millis(100), watch.next()).await.is_err());

    let mut delays = Vec::new();
    for round in 0..10 {
        let name = format!("r{round}");
        let start = Instant::now();
        rename_over(&file, &pod(&name));
        until(&mut watch, &[&name]).await;
        delays.push(start.elapsed());
    }
    delays.sort_unstable();
    println!("edit to delivery: median {:?}, worst {:?}", delays[5], delays[9]);
    assert!(delays[5] < Duration::from_millis(100), "{delays:?}");
}

/// What is laid over manifests is read with them: addresses, labels, objects in the place of others.
#[tokio::test]
async fn the_overlay_is_followed_too() {
    let dir = tempdir().unwrap();
    let (manifests, overlay) = (dir.path().join("manifests"), dir.path().join("pod-ips.yaml"));
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("a.yaml"), pod("a") + "---\n" + &pod("b")).unwrap();
    fs::write(&overlay, "default/a: [10.244.0.5]\n").unwrap();
    let directory = Directory::new([&manifests]).with_overlay_file(&overlay);
    let mut watch = Watch::start(directory).unwrap();
    let first = next(&mut watch).await.unwrap();
    let addresses = |loaded: &Loaded| -> Vec<usize> {
        loaded.cluster.pods().values().map(|pod| pod.addresses.len()).collect()
    };
    assert_eq!((addresses(&first), first.revision, first.files), (vec![1, 0], None, 1));

    let changed = r#"{"revision": 2, "pods": {"default/b": ["10.244.0.6"]}, "absent": ["Pod default/a"],
        "labels": {"Pod default/b": {"app": "b"}, "Pod default/nobody": {"x": null}},
        "objects": {"Pod default/c": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}}}}"#;
    rename_over(&overlay, changed);
    let second = next(&mut watch).await.unwrap();
    assert_eq!((addresses(&second), second.revision), (vec![1, 0], Some(2)));
    let names: Vec<&str> = second.cluster.pods().keys().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    let b = second.cluster.pods().values().next().unwrap();
    assert_eq!(b.labels.get("app").map(String::as_str), Some("b"));

    rename_over(&overlay, "services: {web: [10.96.0.1]}");
    let errors = next(&mut watch).await.unwrap_err();
    let [error] = &errors[..] else { panic!("{errors:?}") };
    let told = error.to_string();
    assert!(told.contains("pod-ips.yaml: services.web: \"web\" is not of the form namespace/name"), "{told}");
}
