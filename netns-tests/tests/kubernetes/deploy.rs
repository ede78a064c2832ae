//! What `deploy/` holds is taken by an API server, field by field.

use std::path::{Path, PathBuf};
use std::process::Command;

use podgate_netns_tests::space::finish;
use podgate_netns_tests::{ApiServer, Node, Turn};
use serde_json::Value;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[track_caller]
fn objects(command: &mut Command) -> Vec<Value> {
    let finished = finish(command);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&finished.stdout).expect("YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn kustomized() -> Vec<Value> {
    objects(Command::new("kubectl").arg("kustomize").arg(folder("deploy/kustomize/base")))
}

/// The chart with these values, rendered as the tests of `control/tests/deploy` do.
fn chart(values: &str) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("a directory");
    let (renderer, file) = (dir.path().join("render"), dir.path().join("values.yaml"));
    std::fs::write(&file, values).expect("a file");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&renderer).arg("render.go");
    build.current_dir(folder("control/tests/deploy"));
    build.envs([("GO111MODULE", "off"), ("GOFLAGS", ""), ("GOPATH", "/usr/share/gocode")]);
    build.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"));
    let built = finish(&mut build);
    assert_eq!(built.code, 0, "go (package golang-go): {}", built.stderr);
    let mut render = Command::new(renderer);
    objects(render.arg(folder("deploy/helm/podgate")).args(["podgate", "podgate-system"]).arg(file))
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// That everything that was sent has come back; a server adds to it.
#[track_caller]
fn assert_kept(at: &str, sent: &Value, kept: &Value) {
    match (sent, kept) {
        (Value::Object(sent), _) => {
            for (key, value) in sent {
                assert_kept(&format!("{at}.{key}"), value, &kept[key]);
            }
        }
        (Value::Array(sent), Value::Array(kept)) if sent.len() == kept.len() => {
            for (number, (sent, kept)) in sent.iter().zip(kept).enumerate() {
                assert_kept(&format!("{at}[{number}]"), sent, kept);
            }
        }
        (sent, kept) => assert_eq!(sent, kept, "{at}"),
    }
}

#[test]
fn every_object_is_taken_as_it_is_by_an_api_server() {
    let _turn = Turn::shared();
    let node = Node::new();
    let api = ApiServer::start(&node.space);
    let base = kustomized();
    let titles: Vec<_> = base.iter().map(title).collect();
    let expected = [
        "Namespace podgate-system",
        "ServiceAccount podgate",
        "ClusterRole podgate",
        "ClusterRoleBinding podgate",
        "ConfigMap podgate",
        "DaemonSet podgate",
    ];
    assert_eq!(titles, expected, "all of them, none left out");
    let namespace = &base[0];
    api.client().try_apply(namespace).expect("a namespace");
    // What is only tried is not there, and the others are in it.
    api.client().create("/api/v1/namespaces", namespace.clone());
    let all_set = "{imagePullSecrets: [{name: secret}], podAnnotations: {note: this}, podLabels: {team: net}, \
                   extraEnv: [{name: PODGATE_LOG, value: debug}], config: {cpus: [1, 2], listen: '[::]:9000'}}";
    for (from, rendered) in
        [("the base", base.clone()), ("the chart", chart("{}")), ("with values", chart(all_set))]
    {
        for object in &rendered {
            let what = format!("{from}: {}", title(object));
            let kept = api.client().try_apply(object).unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
            assert_kept(&what, object, &kept);
        }
    }
    // It would have said if it had not known one.
    let found = base.iter().find(|object| object["kind"] == "DaemonSet");
    let mut odd = found.expect("a DaemonSet").clone();
    odd["spec"]["template"]["spec"]["hostnetwork"] = true.into();
    let refusal = api.client().try_apply(&odd).expect_err("such a field");
    assert!(refusal.message.contains("hostnetwork"), "{refusal:?}");
}
