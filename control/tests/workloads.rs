//! Which pods workloads stand for.

use std::fs;

use podgate_control::model::Cluster;
use podgate_control::source::{Directory, Loaded, Note, SourceError, Workloads};
use podgate_control::tools::Survey;

/// A workload of a kind, with this in its spec besides a template.
fn workload(kind: &str, name: &str, spec: &str) -> String {
    let group = match kind {
        "Job" | "CronJob" => "batch/v1",
        "ReplicationController" => "v1",
        _ => "apps/v1",
    };
    let template = format!(
        "{{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: c, ports: [{{name: http, \
         containerPort: 8080}}]}}]}}}}"
    );
    let spec = match kind {
        "CronJob" => {
            format!("{{schedule: '@daily', jobTemplate: {{spec: {{{spec} template: {template}}}}}}}")
        }
        _ => format!("{{{spec} template: {template}}}"),
    };
    format!(
        "---\napiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}, namespace: x}}\nspec: {spec}\n"
    )
}

fn try_load(text: &str, workloads: Workloads) -> Result<Loaded, Vec<SourceError>> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("all.yaml"), text).unwrap();
    Directory::new([directory.path()]).with_workloads(workloads).load()
}

fn load(text: &str, workloads: Workloads) -> Loaded {
    try_load(text, workloads).unwrap()
}

fn pods(cluster: &Cluster) -> Vec<String> {
    cluster.pods().keys().map(ToString::to_string).collect()
}

#[test]
fn each_kind_stands_for_what_it_would_make() {
    let text = [
        "{apiVersion: v1, kind: Node, metadata: {name: n1}}\n---\n{apiVersion: v1, kind: Node, metadata: {name: n2}}\n",
        &workload("Deployment", "web", "replicas: 2,"),
        &workload("Deployment", "idle", "replicas: 0,"),
        &workload("StatefulSet", "db", "replicas: 2, ordinals: {start: 5},"),
        &workload("ReplicaSet", "old", ""),
        &workload("ReplicationController", "older", "selector: {app: older},"),
        &workload("DaemonSet", "agent", ""),
        &workload("Job", "once", "parallelism: 3, completions: 2,"),
        &workload("CronJob", "daily", ""),
    ]
    .concat();
    let expected = [
        "agent-0", "agent-1", "daily-0", "db-5", "db-6", "old-0", "older-0", "once-0", "once-1", "web-0",
        "web-1",
    ]
    .map(|name| format!("x/{name}"));
    let loaded = load(&text, Workloads::Replicas);
    assert_eq!(pods(&loaded.cluster), expected);
    let pod = |name: &str| loaded.cluster.pods()[&format!("x/{name}").parse().unwrap()].clone();
    assert_eq!(pod("web-1").labels.iter().collect::<Vec<_>>(), [(&"app".to_owned(), &"web".to_owned())]);
    assert_eq!((pod("web-0").ports[0].name.as_deref(), pod("web-0").ports[0].port), (Some("http"), 8080));
    let nodes = ["agent-0", "agent-1"].map(|name| pod(name).node.clone());
    assert_eq!(nodes, [Some("n1".to_owned()), Some("n2".to_owned())]);
    assert_eq!(pod("db-5").labels["statefulset.kubernetes.io/pod-name"], "db-5");
    assert_eq!(pod("db-5").labels["apps.kubernetes.io/pod-index"], "5");
    assert_eq!(pod("once-0").labels["job-name"], "once");
    assert_eq!(loaded.background.owners[&"x/web-0".parse().unwrap()].kind, "Deployment");
    // What is scaled to nothing may be scaled up again.
    let more = load(&text, Workloads::AtLeastOne);
    assert_eq!(more.cluster.pods().len(), expected.len() + 1);
    assert!(more.cluster.pods().contains_key(&"x/idle-0".parse().unwrap()));
}

#[test]
fn a_node_makes_no_pods_up() {
    let text = workload("Deployment", "web", "replicas: many,");
    let loaded = load(&text, Workloads::Ignored);
    assert_eq!(pods(&loaded.cluster), Vec::<String>::new());
    assert!(matches!(&loaded.notes[..], [Note::IgnoredKind { kind, .. }] if kind == "apps/v1 Deployment"));
}

#[test]
fn pods_that_are_told_are_not_made_again() {
    let selector = "replicas: 3, selector: {matchLabels: {app: web}},";
    let told = "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: web-6d4cf56db6-abcde\n  namespace: x\n  labels: {app: \
                web, pod-template-hash: 6d4cf56db6}\n";
    let text = workload("Deployment", "web", selector) + told;
    assert_eq!(pods(&load(&text, Workloads::AtLeastOne).cluster), ["x/web-6d4cf56db6-abcde"]);
    // Somebody else's pod that happens to have the labels is none of its pods.
    let stranger =
        "---\napiVersion: v1\nkind: Pod\nmetadata: {name: web-1, namespace: x, labels: {app: web}}\n";
    let text = workload("Deployment", "web", selector) + stranger;
    assert_eq!(
        pods(&load(&text, Workloads::AtLeastOne).cluster),
        ["x/web-0", "x/web-1", "x/web-2", "x/web-3"]
    );
    // A Deployment stands for its ReplicaSets, old ones too.
    let owned = workload("ReplicaSet", "web-1", "replicas: 3,").replace(
        "metadata: {name: web-1, namespace: x}",
        "metadata: {name: web-1, namespace: x, ownerReferences: [{kind: Deployment, name: web, controller: true}]}",
    );
    let text = workload("Deployment", "web", "replicas: 1,") + &owned;
    assert_eq!(pods(&load(&text, Workloads::AtLeastOne).cluster), ["x/web-0"]);
    let over = workload("Job", "once", "") + "status: {completionTime: '2026-01-01T00:00:00Z'}\n";
    assert_eq!(pods(&load(&over, Workloads::AtLeastOne).cluster), Vec::<String>::new());
}

#[test]
fn mistakes_in_workloads_are_told() {
    for (spec, field) in [
        ("replicas: -1,", "spec.replicas"),
        ("replicas: 10001,", "spec.replicas"),
        ("replicas: two,", "spec.replicas"),
        ("selector: {matchLabel: {app: web}},", "spec.selector.matchLabel"),
    ] {
        let errors = try_load(&workload("Deployment", "web", spec), Workloads::Replicas).unwrap_err();
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, [field], "{spec}");
        assert_eq!(errors[0].object.as_deref(), Some("Deployment x/web"));
    }
    let bare = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1}\n";
    let errors = try_load(bare, Workloads::Replicas).unwrap_err();
    assert_eq!((errors[0].field.as_str(), errors.len()), ("spec.template", 1));
    let errors = try_load(&bare.replace("spec:", "status:"), Workloads::Replicas).unwrap_err();
    assert_eq!((errors[0].field.as_str(), errors.len()), ("spec", 1));
}

#[test]
fn a_finding_about_a_made_pod_points_at_its_workload() {
    let directory = tempfile::tempdir().unwrap();
    let text = "# pods of a Deployment\n".to_owned() + &workload("Deployment", "web", "");
    fs::write(directory.path().join("all.yaml"), text).unwrap();
    let survey = Survey::read([directory.path()]).unwrap();
    let spot = survey.spot("Pod x/web-0", "metadata.name").unwrap();
    assert_eq!((spot.line, spot.field.as_str()), (5, "metadata.name"));
    assert_eq!(survey.made["Deployment x/web"].len(), 1);
}
