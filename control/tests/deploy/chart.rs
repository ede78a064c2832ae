//! The chart.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::objects::{
    Objects, assert_known, chart, configuration, daemon_set, folder, kustomized, said, try_chart,
};

/// Without what only the one or the other has: the namespace, which helm makes itself, and the checksum that
/// has pods replaced when the configuration changes.
fn comparable(mut objects: Objects) -> Objects {
    objects.remove(&("Namespace".to_owned(), "podgate-system".to_owned()));
    for object in objects.values_mut() {
        if let Some(annotations) = object["spec"]["template"]["metadata"]["annotations"].as_object_mut() {
            annotations.remove("checksum/config");
        }
    }
    objects
}

#[test]
fn with_its_defaults_it_makes_what_the_base_is() {
    let (ours, base) = (chart("podgate", "{}"), kustomized());
    let checksum = &ours[&("DaemonSet".to_owned(), "podgate".to_owned())]["spec"]["template"]["metadata"]["annotations"]
        ["checksum/config"];
    assert_eq!(checksum.as_str().map(str::len), Some(64));
    let (ours, base) = (comparable(ours), comparable(base));
    assert_eq!(ours.keys().collect::<Vec<_>>(), base.keys().collect::<Vec<_>>());
    for (key, object) in &ours {
        assert_eq!(object, &base[key], "{key:?}");
    }
}

#[test]
fn everything_that_can_be_set_is_set_where_it_belongs() {
    let values = "
image: {repository: example.org/podgate, tag: v2, pullPolicy: Always}
imagePullSecrets: [{name: secret}]
config: {bridge: br0, listen: '[::]:9000', cpus: [1, 2], timeout: {icmp: 5s}, fallback: null}
cni: {binDir: /usr/libexec/cni, confDir: /etc/cni/other}
resources: {requests: {cpu: 1}}
appArmor: ''
priorityClassName: mine
updateStrategy: {type: OnDelete, rollingUpdate: null}
nodeSelector: {kubernetes.io/os: null, pool: guarded}
tolerations: []
affinity: {nodeAffinity: {}}
podAnnotations: {note: this}
podLabels: {team: net}
extraEnv: [{name: PODGATE_LOG, value: debug}]
serviceAccount: {name: other}
";
    let objects = chart("edge", values);
    assert_known(&objects);
    let names: BTreeSet<_> = objects.keys().map(|(kind, name)| format!("{kind} {name}")).collect();
    for name in [
        "DaemonSet edge-podgate",
        "ConfigMap edge-podgate",
        "ServiceAccount other",
        "ClusterRole edge-podgate",
    ] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    let configuration = configuration(&objects);
    let expected = "bridge: br0\ncpus:\n- 1\n- 2\nkubernetes: true\nlisten: '[::]:9000'\nlog-format: json\non-exit: hold\n\
                    services: \"on\"\ntimeout:\n  icmp: 5s\nworkers: 1\n";
    assert_eq!(configuration, expected);
    let template = daemon_set(&objects).spec.unwrap().template;
    let annotations = template.metadata.as_ref().unwrap().annotations.clone().unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["checksum/config", "note"]);
    assert_eq!(template.metadata.unwrap().labels.unwrap()["team"], "net");
    let pod = template.spec.unwrap();
    let container = &pod.containers[0];
    assert_eq!(container.image.as_deref(), Some("example.org/podgate:v2"));
    let probe = container.liveness_probe.as_ref().unwrap().http_get.as_ref().unwrap();
    assert_eq!(
        (probe.host.as_deref(), serde_json::to_value(&probe.port).unwrap()),
        (Some("::1"), Value::from(9000))
    );
    assert_eq!(container.env.as_ref().unwrap()[1].name, "PODGATE_LOG");
    assert_eq!(
        pod.node_selector.unwrap().into_iter().collect::<Vec<_>>(),
        [("pool".into(), "guarded".into())]
    );
    assert!(pod.tolerations.is_none() && pod.affinity.is_some());
    let init = &pod.init_containers.unwrap()[0];
    assert_eq!(init.args.as_ref().unwrap()[2], "--cni-bin-dir=/host/usr/libexec/cni");

    let without =
        chart("podgate", "{cni: {install: false}, rbac: {create: false}, serviceAccount: {create: false}}");
    assert_known(&without);
    assert_eq!(without.keys().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["ConfigMap", "DaemonSet"]);
    let pod = daemon_set(&without).spec.unwrap().template.spec.unwrap();
    assert!(pod.init_containers.is_none() && pod.service_account_name.as_deref() == Some("default"));
}

#[test]
fn values_that_cannot_be_are_refused() {
    for (values, word) in [
        ("config: {worker: 2}", "worker"),
        ("config: {services: off}", "services"),
        ("config: {listen: null}", "listen"),
        ("config: {workers: many}", "workers"),
        ("imge: {}", "imge"),
        ("cni: {binDir: opt}", "binDir"),
    ] {
        let output = try_chart("podgate", values);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(word), "{values}: {told}");
    }
}

#[test]
fn the_schema_knows_every_option_of_the_program() {
    let schema = std::fs::read_to_string(folder("helm/podgate/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let known = schema["properties"]["config"]["properties"].as_object().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    let output = command.args(["config", "show", "-o", "json"]).output().unwrap();
    let options: Vec<Value> = serde_json::from_str(&said(&output)).unwrap();
    let options: BTreeSet<_> = options.iter().map(|option| option["option"].as_str().unwrap()).collect();
    assert_eq!(known.keys().map(String::as_str).collect::<BTreeSet<_>>(), options);
}

#[test]
fn the_chart_is_of_the_programs_version() {
    let chart = std::fs::read_to_string(folder("helm/podgate/Chart.yaml")).unwrap();
    for field in ["version", "appVersion"] {
        assert!(chart.contains(&format!("\n{field}: {}\n", env!("CARGO_PKG_VERSION"))), "{field}");
    }
}
