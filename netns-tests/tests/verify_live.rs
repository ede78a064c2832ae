//! `podgate verify --live`: the truth tables of upstream's end-to-end tests and of field semantics, decided by
//! real packets in labs that the program builds and takes down.

use std::fs;
use std::path::Path;
use std::process::Command;

use podgate_control::verify::parse_yaml;
use podgate_netns_tests::Turn;
use podgate_netns_tests::cases::directory;
use podgate_netns_tests::program::podgate;
use podgate_netns_tests::space::{Finished, finish};
use serde_json::{Value, json};

const ITSELF: &str = "what asks itself never leaves its own network";
const OBJECTS: &str = "what a Service leads to is a matter of objects, not of packets";
const KERNELS: &str = "in a sequence of packets the kernels at both ends would answer by themselves";

/// Runs it under a name of its own; returns what it said and what is left of it.
fn verify(paths: &[&Path]) -> (Finished, Vec<String>) {
    let mut command = Command::new(podgate());
    command.args(["verify", "--live", "-o", "json", "--name", "verify-test"]).args(paths);
    let ended = finish(&mut command);
    let mut left = Vec::new();
    for directory in ["/run/netns", "/run/podgate", "/run/podgate/labs", "/sys/fs/bpf/podgate"] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            left.extend(name.contains("verify-test").then(|| format!("{directory}/{name}")));
        }
    }
    (ended, left)
}

/// Everything that a report has, counted, so that nothing falls under the table.
fn assert_holds(suite: &str, counts: &[(&str, usize)], not_shown: &[(usize, &str)]) {
    let (ended, left) = verify(&[&directory().join(suite)]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    assert!(left.is_empty(), "{left:?}");
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    let not_shown = not_shown.iter().map(|(count, because)| json!({"count": count, "because": because}));
    let mut expected = json!({
        "cases": 0, "checks": 0, "cells": 0, "probes": 0, "services": 0, "packets": 0, "manifests": 0,
        "undefined": 0, "failures": [], "not_shown": not_shown.collect::<Vec<_>>(),
    });
    for (what, count) in counts {
        expected[*what] = json!(count);
    }
    assert_eq!(found, expected, "{}", ended.stderr);
}

#[test]
fn e2e_cases_hold_on_live_frames() {
    let _turn = Turn::alone();
    let counts = [("cases", 48), ("checks", 5432), ("cells", 5400), ("probes", 32)];
    assert_holds("e2e", &counts, &[(675, ITSELF)]);
}

#[test]
fn edge_cases_hold_on_live_frames() {
    let _turn = Turn::alone();
    let counts = [("cases", 55), ("checks", 4672), ("cells", 4566), ("probes", 106), ("undefined", 1)];
    assert_holds("edge", &counts, &[(573, ITSELF), (4, OBJECTS)]);
}

/// What one machine cannot show is not passed.
#[test]
fn what_cannot_be_shown_is_no_pass() {
    let (ended, _) = verify(&[&directory().join("flows")]);
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&found["cases"], &found["checks"]), (&json!(0), &json!(0)));
    assert_eq!(found["not_shown"], json!([{"count": 68, "because": KERNELS}]));
}

/// One wrong expectation each way, by every protocol: real packets and the gateway's own word agree on why.
#[test]
fn what_does_not_hold_on_live_frames_is_told() {
    let _turn = Turn::alone();
    let mut case: Value = parse_yaml(CASE).unwrap();
    let probes = case["steps"][0]["probes"].as_array_mut().unwrap();
    for probe in &mut *probes {
        let other = if probe["expect"] == "allow" { "deny" } else { "allow" };
        probe["expect"] = json!(other);
    }
    let asked = probes.len();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrong.json"), case.to_string()).unwrap();
    fs::write(folder.path().join("right.yaml"), CASE).unwrap();
    let (ended, left) = verify(&[folder.path()]);
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    assert!(left.is_empty(), "{left:?}");
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&found["cases"], &found["checks"]), (&json!(2), &json!(2 * asked)));
    let failures = found["failures"].as_array().unwrap();
    assert_eq!(failures.len(), asked, "{failures:?}");
    for failure in failures {
        assert!(failure["file"].as_str().unwrap().ends_with("wrong.json"), "{failure}");
        let (expected, why) = match failure["got"].as_str().unwrap() {
            "allow" => ("deny", "the packet came through"),
            _ => (
                "allow",
                "policy-ingress: The destination pod is isolated for ingress and no rule allows it. Isolated by x/p.",
            ),
        };
        assert_eq!((&failure["expected"], &failure["why"]), (&json!(expected), &json!(why)), "{failure}");
    }
}

const CASE: &str = r"
name: live
description: Every protocol, both families, both ways.
source: {suite: own}
tags: []
cluster:
  nodes: [{name: n1, ips: [192.168.0.1], labels: {}}]
  namespaces: {x: {labels: {}}}
  pods:
  - {namespace: x, name: a, labels: {app: a}, ips: [10.0.0.1, 'fd00::1'], node: n1}
  - {namespace: x, name: b, labels: {app: b}, ips: [10.0.0.2, 'fd00::2'], node: n1}
  - {namespace: x, name: c, labels: {app: c}, ips: [10.0.0.3, 'fd00::3'], node: n1}
  services:
  - {namespace: x, name: web, clusterIPs: [10.96.0.1], selector: {app: a}, ports: [{port: 80, protocol: TCP, targetPort: 8080}]}
  externals: [{name: far, ips: [203.0.113.9]}]
policies:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: p, namespace: x}
  spec:
    podSelector: {matchLabels: {app: a}}
    ingress: [{from: [{podSelector: {matchLabels: {app: b}}}]}]
steps:
- id: 0
  probes:
  - {from: x/b, to: x/a, protocol: TCP, port: 80, expect: allow}
  - {from: x/c, to: x/a, protocol: TCP, port: 80, expect: deny}
  - {from: x/b, to: x/a, protocol: UDP, port: 80, expect: allow}
  - {from: x/c, to: x/a, protocol: UDP, port: 80, expect: deny}
  - {from: x/b, to: x/a, protocol: SCTP, port: 80, expect: allow}
  - {from: x/c, to: x/a, protocol: SCTP, port: 80, expect: deny}
  - {from: x/b, to: x/a, protocol: ICMP, expect: allow}
  - {from: x/c, to: x/a, protocol: ICMP, expect: deny}
  - {from: x/b, to: x/a, protocol: TCP, port: 80, family: IPv6, expect: allow}
  - {from: x/c, to: x/a, protocol: UDP, port: 80, family: IPv6, expect: deny}
  - {from: x/b, to: x/a, protocol: SCTP, port: 80, family: IPv6, expect: allow}
  - {from: x/b, to: x/a, protocol: ICMP, family: IPv6, expect: allow}
  - {from: x/c, to: x/a, protocol: ICMP, family: IPv6, expect: deny}
  - {from: x/b, to: 'svc:x/web', protocol: TCP, port: 80, expect: allow}
  - {from: 'node:n1', to: x/a, protocol: TCP, port: 80, expect: allow}
  - {from: 'ext:far', to: x/a, protocol: TCP, port: 80, expect: deny}
  - {from: 'ext:far', to: x/b, protocol: SCTP, port: 80, expect: allow}
  - {from: x/a, to: 'ip:198.51.100.77', protocol: UDP, port: 53, expect: allow}
";
