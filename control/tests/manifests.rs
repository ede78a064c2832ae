//! Manifests as people write them: what is read, what is refused, and where the finger points.

use std::fs;
use std::path::Path;

use podgate_control::model::*;
use podgate_control::source::{Directory, Note, Overlay, Problem, Reading, Strictness, read_manifests};
use tempfile::tempdir;

fn read(text: &str) -> Reading {
    read_manifests(text, Path::new("p.yaml"), Strictness::New)
}

/// The one policy with this spec, written as flow YAML.
fn policy(spec: &str) -> NetworkPolicy {
    let reading = read(&format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p}}, spec: {spec}}}"
    ));
    assert_eq!(reading.errors, [], "{spec}");
    let mut cluster = Cluster::new();
    reading.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
    NetworkPolicy::clone(&cluster.policies()[&ObjectKey::new("default", "p")])
}

/// Field, problem and line of everything that is wrong.
fn wrong(text: &str) -> Vec<String> {
    let errors = read(text).errors;
    errors
        .iter()
        .map(|error| format!("{}: {}: {}", error.place.line.unwrap_or(0), error.field, error.problem))
        .collect()
}

#[test]
fn null_missing_and_empty_mean_what_they_mean_to_the_api_server() {
    let deny = policy("{podSelector: {}}");
    for same in [
        "null",
        "{}",
        "{podSelector: null}",
        "{ingress: null}",
        "{ingress: []}",
        "{policyTypes: [], egress: []}",
    ] {
        assert_eq!(policy(same), deny, "{same}");
    }
    assert_eq!(deny.types, PolicyTypes { ingress: true, egress: false });
    assert_eq!(deny.pod_selector, Selector::everything());
    assert_eq!(deny.ingress, []);

    let all = Rule { peers: Peers::Any, ports: Ports::Every };
    for open in ["[{}]", "[null]", "[{from: [], ports: []}]", "[{from: null, ports: null}]"] {
        assert_eq!(policy(&format!("{{ingress: {open}}}")).ingress, std::slice::from_ref(&all), "{open}");
    }
    let tcp = Ports::AnyOf(vec![PortSpec { protocol: Protocol::Tcp, port: PortMatch::Every }]);
    for every_tcp in ["[{}]", "[null]", "[{protocol: null, port: null, endPort: null}]"] {
        let spec = format!("{{ingress: [{{ports: {every_tcp}}}]}}");
        assert_eq!(policy(&spec).ingress[0].ports, tcp, "{every_tcp}");
    }
}

#[test]
fn types_are_inferred_only_where_none_are_listed() {
    let types = |spec| {
        let PolicyTypes { ingress, egress } = policy(spec).types;
        (ingress, egress)
    };
    assert_eq!(types("{egress: [{}]}"), (true, true));
    assert_eq!(types("{policyTypes: null, egress: []}"), (true, false));
    assert_eq!(types("{policyTypes: [Egress], ingress: [{}]}"), (false, true));
    assert_eq!(types("{policyTypes: [Egress, Egress]}"), (false, true));
    assert_eq!(types("{policyTypes: [Egress, Ingress]}"), (true, true));
}

#[test]
fn peers_tell_no_selector_from_an_empty_one() {
    let peers = policy(
        "{ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}, {namespaceSelector: {}, podSelector: {matchLabels: {y: n}}}]}]}",
    );
    let anything = Selector::everything;
    let labelled = Selector::new(vec![Requirement {
        key: "y".to_owned(),
        operator: Operator::In(["n".to_owned()].into()),
    }]);
    let expected = [
        PodPeer { namespaces: NamespaceScope::Own, pods: anything() },
        PodPeer { namespaces: NamespaceScope::Matching(anything()), pods: anything() },
        PodPeer { namespaces: NamespaceScope::Matching(anything()), pods: labelled },
    ];
    assert_eq!(peers.ingress[0].peers, Peers::AnyOf(expected.into_iter().map(Peer::Pods).collect()));
}

#[test]
fn a_typo_is_refused_with_its_line_and_what_was_meant() {
    let text = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: p
  namespce: x
spec:
  podSelecter: {}
  ingress:
  - from:
    - podSelector:
        matchlabels: {a: b}
    port: 80
";
    assert_eq!(
        wrong(text),
        [
            "5: metadata.namespce: unknown field",
            "7: spec.podSelecter: unknown field",
            "12: spec.ingress[0].port: unknown field",
            "11: spec.ingress[0].from[0].podSelector.matchlabels: unknown field",
        ]
    );
    let shown = read(text).errors[1].to_string();
    assert_eq!(
        shown,
        "p.yaml:7 (document 1): NetworkPolicy default/p: spec.podSelecter: unknown field (did you mean podSelector?)"
    );
}

#[test]
fn every_document_is_read_whatever_is_wrong_with_the_others() {
    let text = "# header
%YAML 1.2
---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {n: 1}}
---
a: [
---
# nothing
--- # on the marker's line
apiVersion: v1
kind: ConfigMap
metadata: {name: s, namespace: x}
...
apiVersion: networking.k8s.io/v1beta1
kind: NetworkPolicy
metadata: {name: old}
---
kind: Pod
";
    let reading = read(text);
    let places: Vec<_> = reading
        .errors
        .iter()
        .map(|error| (error.place.document, error.place.line, error.field.as_str()))
        .collect();
    assert_eq!(places[0], (Some(1), Some(6), "metadata.labels"));
    assert_eq!((places[1].0, places[1].2), (Some(2), ""));
    assert!(matches!(reading.errors[1].problem, Problem::Syntax { .. }), "{}", reading.errors[1]);
    assert_eq!(places[2].0, Some(4));
    assert_eq!(places[2].2, "apiVersion");
    assert_eq!((places[3].0, places[3].2), (Some(5), "apiVersion"));
    assert_eq!(places.len(), 4, "{places:?}");
    let [note] = &reading.notes[..] else { panic!("{:?}", reading.notes) };
    assert!(note.to_string().starts_with("p.yaml:12 (document 3): v1 ConfigMap x/s is ignored"), "{note}");
}

#[test]
fn lists_are_opened_and_other_groups_kinds_left_alone() {
    let text = "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: x}}
- apiVersion: v1
  kind: PodList
  items:
  - {metadata: {name: a, namespace: x}}
- {apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: c}, spec: {selector: all()}}
";
    let reading = read(text);
    assert_eq!(reading.errors, []);
    let titles: Vec<_> = reading.manifests.iter().map(|manifest| manifest.object.title()).collect();
    assert_eq!(titles, ["Namespace x", "Pod x/a"]);
    assert!(
        matches!(&reading.notes[..], [Note::IgnoredKind { kind, .. }] if kind == "projectcalico.org/v3 NetworkPolicy")
    );
}

#[test]
fn a_pod_is_read_as_far_as_policy_needs_it() {
    let text = "apiVersion: v1
kind: Pod
metadata: {name: a, uid: 7f-3, labels: {app: y}, annotations: {x: '1'}}
spec:
  nodeName: n1
  volumes: [{name: v, whatever: [1, 2]}]
  initContainers:
  - {name: once, ports: [{name: gone, containerPort: 1}]}
  - {name: stays, restartPolicy: Always, ports: [{name: side, containerPort: 2}]}
  containers:
  - {name: c, ports: [{name: dns, containerPort: 53, protocol: UDP}, {containerPort: 80}]}
  - {name: none}
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]
";
    let mut cluster = Cluster::new();
    read(text).manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
    let port =
        |name: Option<&str>, port, protocol| ContainerPort { name: name.map(str::to_owned), port, protocol };
    let expected = Pod {
        uid: Some("7f-3".to_owned()),
        labels: [("app".to_owned(), "y".to_owned())].into(),
        node: Some("n1".to_owned()),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        phase: Phase::Running,
        ports: vec![
            port(Some("side"), 2, Protocol::Tcp),
            port(Some("dns"), 53, Protocol::Udp),
            port(None, 80, Protocol::Tcp),
        ],
        ..Pod::new(ObjectKey::new("default", "a"))
    };
    assert_eq!(*cluster.pods()[&expected.key], expected);
    assert_eq!(cluster.implied_namespaces().collect::<Vec<_>>(), ["default"]);
}

/// The runtime knows a static pod by the UID that the kubelet gave it, and the API server by that of its mirror.
#[test]
fn a_mirror_has_the_uid_of_its_static_pod() {
    let text = "apiVersion: v1
kind: Pod
metadata: {name: a, uid: of-the-mirror, annotations: {kubernetes.io/config.mirror: of-the-pod}}
";
    let mut cluster = Cluster::new();
    read(text).manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
    let pod = &cluster.pods()[&ObjectKey::new("default", "a")];
    assert_eq!(pod.uid.as_deref(), Some("of-the-pod"));
}

#[test]
fn a_directory_is_read_in_order_and_duplicates_name_both_places() {
    let dir = tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let pod = |name: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n");
    write("b.yaml", &pod("b"));
    write("a/deep.yml", &pod("a"));
    write("c.json", r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}}"#);
    write("notes.txt", "no: [yaml");
    write(".b.yaml.swp", "no: [yaml");
    write("..2026/b.yaml", &pod("b"));
    let overlay: Overlay =
        [(ObjectKey::new("default", "c"), vec!["10.0.0.3".parse().unwrap()])].into_iter().collect();
    // A file that two paths lead to is read once.
    let paths = [dir.path().to_owned(), dir.path().join("b.yaml")];
    let directory = Directory::new(paths).with_overlay(overlay);
    let loaded = directory.load().unwrap();
    assert_eq!(loaded.files, 3);
    let names: Vec<_> =
        loaded.cluster.pods().values().map(|pod| (pod.key.name.as_str(), pod.addresses.len())).collect();
    assert_eq!(names, [("a", 0), ("b", 0), ("c", 1)]);
    assert_eq!(loaded.notes, [Note::ImpliedNamespace { name: "default".to_owned() }]);

    write("z.yaml", &format!("---\n{}---\n{}", pod("z"), pod("b")));
    let errors = directory.load().unwrap_err();
    let [error] = &errors[..] else { panic!("{errors:?}") };
    let Problem::Duplicate { first } = &error.problem else { panic!("{error}") };
    assert_eq!(error.object.as_deref(), Some("Pod default/b"));
    assert!(error.place.file.ends_with("z.yaml") && error.place.document == Some(2), "{error}");
    assert!(first.file.ends_with("b.yaml") && first.document == Some(1), "{error}");
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let dir = tempdir().unwrap();
    let errors = Directory::new([dir.path().join("nowhere")]).load().unwrap_err();
    assert!(
        matches!(&errors[..], [error] if matches!(error.problem, Problem::Unreadable { .. })),
        "{errors:?}"
    );
    fs::write(dir.path().join("latin.yaml"), b"a: 1\nb: \xe9\n").unwrap();
    let errors = Directory::new([dir.path()]).load().unwrap_err();
    assert!(matches!(&errors[..], [error] if error.place.line == Some(2)), "{errors:?}");
    assert!(Directory::new(Vec::<&Path>::new()).load().unwrap().cluster.pods().is_empty());
}

/// An editor may take a file away between the listing and the reading.
#[test]
fn a_file_that_comes_and_goes_is_no_error() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                fs::write(dir.path().join("b.tmp"), "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n")
                    .unwrap();
                fs::rename(dir.path().join("b.tmp"), &path).unwrap();
                std::thread::yield_now();
                fs::remove_file(&path).unwrap();
            }
        });
        let directory = Directory::new([dir.path()]);
        let seen: Vec<usize> =
            (0..200).map(|_| directory.load().map(|loaded| loaded.files)).map(Result::unwrap).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(seen.iter().all(|files| *files <= 1));
    });
}

/// To leave out what is nearly a policy would open what it is to close.
#[test]
fn what_is_nearly_a_kind_that_is_read_is_refused_as_by_the_api_server() {
    let object = |version: &str, kind: &str| {
        wrong(&format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: p}}}}")).join("; ")
    };
    let policy = "1: apiVersion: Unsupported value:";
    for version in
        ["v1", "apps/v1", "networking.k8s.io/v1beta1", "networking.k8s.io/v2", "extensions/v1beta1"]
    {
        let expected = format!("{policy} {version:?}: supported values: \"networking.k8s.io/v1\"");
        assert_eq!(object(version, "NetworkPolicy"), expected);
    }
    for kind in ["networkpolicy", "Networkpolicy", "NetWorkPolicy"] {
        let expected = format!("1: kind: Unsupported value: {kind:?}: supported values: \"NetworkPolicy\"");
        assert_eq!(object("networking.k8s.io/v1", kind), expected);
    }
    assert_eq!(object("v1", "pod"), "1: kind: Unsupported value: \"pod\": supported values: \"Pod\"");
    assert_eq!(
        object("apps/v1", "Pod"),
        "1: apiVersion: Unsupported value: \"apps/v1\": supported values: \"v1\""
    );
    // Kinds of others, and other kinds.
    for (version, kind) in [
        ("crd.projectcalico.org/v1", "NetworkPolicy"),
        ("serving.knative.dev/v1", "Service"),
        ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
        ("networking.k8s.io/v1", "Ingress"),
    ] {
        assert_eq!(object(version, kind), "", "{version} {kind}");
    }
}

#[test]
fn metadata_is_judged_as_by_the_api_server() {
    let policy = |metadata: &str| {
        wrong(&format!("{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {metadata}}}"))
    };
    assert_eq!(policy("{name: p, annotations: {a: '1', example.com/B: null, c: ''}}"), [""; 0]);
    assert_eq!(
        policy("{name: p, annotations: {a: 1}}"),
        ["1: metadata.annotations: expected a string (in quotes), found the number 1 under \"a\""]
    );
    let [found] = &policy("{name: p, annotations: {'bad key': x}}")[..] else { panic!("one") };
    assert!(
        found.starts_with("1: metadata.annotations: Invalid value: \"bad key\": name part must"),
        "{found}"
    );
    let large = format!("{{name: p, annotations: {{a: '{}'}}}}", "x".repeat(256 << 10));
    assert_eq!(
        policy(&large),
        ["1: metadata.annotations: Invalid value: 262145 bytes: may not be more than 262144 bytes"]
    );
    // An empty namespace is a missing one.
    let reading =
        read("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: ''}}");
    assert_eq!(reading.errors, []);
    assert_eq!(reading.manifests[0].object.title(), "NetworkPolicy default/p");
}
