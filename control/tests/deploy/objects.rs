//! Objects as they are rendered, and as Kubernetes reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Objects by kind and name.
pub type Objects = BTreeMap<(String, String), Value>;

pub fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// The documents of a stream that hold an object.
pub fn objects(text: &str) -> Objects {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut objects = Objects::new();
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{document}")).to_owned();
        let key = (text(&document["kind"]), text(&document["metadata"]["name"]));
        let before = objects.insert(key.clone(), document);
        assert_eq!(before, None, "{key:?} is there twice");
    }
    objects
}

/// The kustomize base, by the kustomize that kubectl has.
pub fn kustomized() -> Objects {
    let output = Command::new("kubectl").arg("kustomize").arg(folder("kustomize/base")).output();
    objects(&said(&output.expect("kubectl (package kubernetes-client)")))
}

/// The chart with these values, as `helm template RELEASE --namespace podgate-system` would.
pub fn try_chart(release: &str, values: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), values).unwrap();
    let mut command = Command::new(renderer());
    command.arg(folder("helm/podgate")).args([release, "podgate-system"]).arg(file.path()).output().unwrap()
}

pub fn chart(release: &str, values: &str) -> Objects {
    objects(&said(&try_chart(release, values)))
}

/// The renderer, built once, from Debian's packages alone.
fn renderer() -> &'static Path {
    static RENDERER: OnceLock<PathBuf> = OnceLock::new();
    RENDERER.get_or_init(|| {
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("render-chart");
        let mut command = Command::new("go");
        command.args(["build", "-o"]).arg(&built).arg("render.go");
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy"));
        command.envs([("GO111MODULE", "off"), ("GOFLAGS", ""), ("GOPATH", "/usr/share/gocode")]);
        command.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"));
        said(&command.output().expect("go (package golang-go)"));
        built
    })
}

pub fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Reads every object as Kubernetes does; a field that it does not have is a mistake.
pub fn assert_known(objects: &Objects) {
    for ((kind, name), object) in objects {
        match kind.as_str() {
            "Namespace" => strictly::<Namespace>(object),
            "ServiceAccount" => strictly::<ServiceAccount>(object),
            "ClusterRole" => strictly::<ClusterRole>(object),
            "ClusterRoleBinding" => strictly::<ClusterRoleBinding>(object),
            "ConfigMap" => strictly::<ConfigMap>(object),
            "DaemonSet" => strictly::<DaemonSet>(object),
            _ => panic!("{kind} {name} is none of what podgate needs"),
        }
    }
}

fn strictly<T: DeserializeOwned>(object: &Value) {
    let mut unknown = Vec::new();
    let read: Result<T, _> = serde_ignored::deserialize(object, |path| unknown.push(path.to_string()));
    if let Err(error) = read {
        panic!("{error}: {object}");
    }
    assert!(unknown.is_empty(), "{unknown:?} of {object}");
}

/// The DaemonSet among `objects`.
pub fn daemon_set(objects: &Objects) -> DaemonSet {
    let (_, found) = objects.iter().find(|((kind, _), _)| kind == "DaemonSet").expect("a DaemonSet");
    serde_json::from_value(found.clone()).unwrap()
}

/// The configuration file among `objects`.
pub fn configuration(objects: &Objects) -> String {
    let (_, found) = objects.iter().find(|((kind, _), _)| kind == "ConfigMap").expect("a ConfigMap");
    found["data"]["podgate.yaml"].as_str().expect("the file").to_owned()
}
