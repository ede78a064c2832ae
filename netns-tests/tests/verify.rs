//! `podgate verify` as a program: what it says and how it ends, and that it sees what is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podgate_control::verify::parse_yaml;
use podgate_netns_tests::cases::directory;
use podgate_netns_tests::program::podgate;
use podgate_netns_tests::space::{Finished, finish};
use serde_json::{Value, json};

/// A case on paper: x/a may be reached on TCP 80 by x/b only.
const CASE: &str = r"
name: small
description: One rule.
source: {suite: own}
tags: []
cluster:
  nodes: [{name: n1, ips: [192.168.0.1], labels: {}}]
  namespaces: {x: {labels: {}}}
  pods:
  - {namespace: x, name: a, labels: {app: a}, ips: [10.0.0.1], node: n1}
  - {namespace: x, name: b, labels: {app: b}, ips: [10.0.0.2], node: n1}
  - {namespace: x, name: c, labels: {app: c}, ips: [10.0.0.3], node: n1}
  services:
  - {namespace: x, name: web, clusterIPs: [10.96.0.1], selector: {app: a}, ports: [{port: 80, protocol: TCP}]}
policies:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: p, namespace: x}
  spec:
    podSelector: {matchLabels: {app: a}}
    ingress: [{from: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: 80}]}]
steps:
- id: 7
  matrices:
  - protocol: TCP
    port: 80
    order: [x/a, x/b, x/c]
    hand: {default: allow, set: [[x/c, x/a, deny]]}
    rows: {x/a: '...', x/b: '...', x/c: 'X..'}
  probes:
  - {from: x/b, to: x/a, protocol: TCP, port: 81, expect: deny}
  - {from: x/b, to: 'svc:x/web', protocol: TCP, port: 80, expect: allow}
  sequence:
  - {pkt: {from: x/b, to: x/a, protocol: TCP, sport: 4000, dport: 80, flags: SYN}, expect: forward}
  - {action: {delete: {kind: NetworkPolicy, namespace: x, name: p}}}
  - {pkt: {from: x/c, to: x/a, protocol: TCP, sport: 4000, dport: 80, flags: SYN}, expect: forward}
";

/// A directory with one file.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.file(), text).unwrap();
        folder
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("case.yaml")
    }
}

fn verify(words: &[&str], paths: &[&Path]) -> Finished {
    finish(Command::new(podgate()).arg("verify").args(words).args(paths))
}

fn on(text: &str, words: &[&str]) -> Finished {
    let folder = Folder::with(text);
    let mut ended = verify(words, &[&folder.file()]);
    // The folder has another name each time.
    let name = folder.0.path().display().to_string();
    for said in [&mut ended.stdout, &mut ended.stderr] {
        *said = said.replace(&name, "DIR");
    }
    ended
}

#[test]
fn a_case_that_holds() {
    let ended = on(CASE, &[]);
    let expected = "1 case, 16 checks (9 cells, 2 probes, 1 Service, 4 packets): all hold\n";
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (0, expected, ""));
}

#[test]
fn what_does_not_hold_is_told_with_what_was_expected_and_why_it_is_not() {
    let wrong = CASE
        .replace("set: [[x/c, x/a, deny]]", "set: []")
        .replace("x/c: 'X..'", "x/c: '...'")
        .replace("port: 81, expect: deny", "port: 80, expect: deny")
        .replace("protocol: TCP, port: 80, expect: allow}", "protocol: TCP, port: 80, expect: no-endpoints}")
        .replace("flags: SYN}, expect: forward}\n  - {action", "flags: SYN}, expect: drop}\n  - {action");
    let ended = on(&wrong, &[]);
    let expected = "\
FAIL small step 7: x/b -> svc:x/web 80/TCP: expected no endpoints, got endpoints x/a
     the Service's selector and ports lead there
     in DIR/case.yaml
FAIL small step 7: x/c -> x/a 80/TCP: expected allow, got deny
     on n1: policy-ingress: The destination pod is isolated for ingress and no rule allows it. Isolated by x/p.
     in DIR/case.yaml
FAIL small step 7: x/b -> x/a 80/TCP: expected deny, got allow
     on n1: policy: A rule allows it. Allowed by x/p ingress[0].
     in DIR/case.yaml
FAIL small step 7 packet 0 with live connections kept: x/b -> x/a 80/TCP: expected drop, got forward
     on n1: policy: A rule allows it. Allowed by x/p ingress[0].
     in DIR/case.yaml
FAIL small step 7 packet 0 with live connections judged again: x/b -> x/a 80/TCP: expected drop, got forward
     on n1: policy: A rule allows it. Allowed by x/p ingress[0].
     in DIR/case.yaml
1 case, 15 checks (9 cells, 1 probe, 1 Service, 4 packets): 5 failed
";
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (1, expected, ""));
}

#[test]
fn json_has_the_same() {
    let wrong = CASE.replace("port: 81, expect: deny", "port: 81, expect: allow");
    let ended = on(&wrong, &["-o", "json"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    let why = "on n1: policy-ingress: The destination pod is isolated for ingress and no rule allows it. \
               Isolated by x/p.";
    let expected = json!({
        "cases": 1, "checks": 16, "cells": 9, "probes": 2, "services": 1, "packets": 4, "manifests": 0,
        "undefined": 0,
        "failures": [{
            "file": "DIR/case.yaml", "case": "small", "step": 7, "from": "x/b", "to": "x/a",
            "protocol": "TCP", "port": 81, "expected": "allow", "got": "deny", "why": why,
        }],
        "not_shown": [],
    });
    assert_eq!(found, expected);
}

#[test]
fn a_case_that_cannot_be_read_names_the_place_and_is_no_pass() {
    let mistakes = [
        (("tags: []", "tags: []\nextra: 1"), "DIR/case.yaml:6: unknown field `extra`"),
        (("id: 7", "id: 7\n  matrixes: []"), "unknown field `matrixes`"),
        (("port: 81, expect", "prot: 81, expect"), "unknown field `prot`"),
        (("port: 81, expect", "expect"), "step 7: probes[0]: port is missing"),
        (("expect: deny}", "expect: denied}"), "unknown variant `denied`, expected one of allow, deny"),
        (("from: x/b, to: x/a", "from: xb, to: x/a"), "\"xb\" is neither ns/pod nor node:"),
        (("from: x/b, to: x/a", "from: x/z, to: x/a"), "step 7: probes[0]: there is no x/z"),
        (("svc:x/web", "svc:x/wob"), "step 7: probes[1]: there is no Service x/wob with port 80/TCP"),
        (("x/c: 'X..'", "x/c: '...'"), "x/c to x/a: the row says Allow, by hand it is Deny"),
        (("x/c: 'X..'", "x/c: 'X.'"), "step 7: matrices[0]: row \"X.\" of x/c"),
        (("flags: SYN}, expect", "flags: SYM}, expect"), "\"SYM\" is no TCP flag; use SYN, ACK, FIN and RST"),
        (("- {action:", "- {pkt: {}, action:"), "missing field"),
        (("expect: forward}\n  - {action", "expect: maybe}\n  - {action"), "expect is forward, drop or"),
        (
            ("namespace: x, name: p}}}", "namespace: x, name: q}}}"),
            "sequence[1]: there is no NetworkPolicy x/q",
        ),
        (("[{port: 80}]}]", "[{port: 0}]}]"), "spec.ingress[0].ports[0].port"),
        (("ips: [10.0.0.1], node: n1", "ips: [10.0.0.1], node: n9"), "Pod x/a: node is \"n9\""),
        (("name: small", "name: [small"), "DIR/case.yaml:"),
    ];
    for ((from, to), said) in mistakes {
        assert!(CASE.contains(from), "{from}");
        let ended = on(&CASE.replacen(from, to, 1), &[]);
        assert_eq!((ended.code, &*ended.stdout), (2, ""), "{to}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{to}: {}", ended.stderr);
        assert!(ended.stderr.contains("DIR/case.yaml"), "{to}: {}", ended.stderr);
        assert!(ended.stderr.ends_with("1 mistake: nothing was verified\n"), "{to}: {}", ended.stderr);
    }
}

#[test]
fn manifests_with_verdicts_are_cases_too() {
    let ended = verify(&[], &[&directory().join("validation.yaml")]);
    let expected = "1 case, 48 checks (48 manifests): all hold\n";
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (0, expected, ""));
    let text = fs::read_to_string(directory().join("validation.yaml")).unwrap();
    let ended = on(&text.replacen("Invalid value: 0:", "Invalid value: 1:", 1), &[]);
    let says = "must be between 1 and 65535, inclusive";
    let expected = format!(
        "FAIL port-zero: expected rejected: spec.ingress[0].ports[0].port: Invalid value: 1: {says}, got rejected: \
         spec.ingress[0].ports[0].port: Invalid value: 0: {says}\n     read as a new object\n     in DIR/case.yaml\n\
         1 case, 48 checks (48 manifests): 1 failed\n"
    );
    assert_eq!((ended.code, &*ended.stdout), (1, &*expected), "{}", ended.stderr);
}

/// The guide's example.
#[test]
fn the_guide_shows_a_case_that_holds() {
    let guide = fs::read_to_string(directory().join("../../docs/verify.md")).unwrap();
    let mut examples = guide.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let ended = on(examples.next().unwrap(), &[]);
    let expected = "1 case, 14 checks (9 cells, 4 probes, 1 Service): all hold\n";
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (0, expected, ""));
    let ended = on(examples.last().unwrap(), &[]);
    assert_eq!((ended.code, &*ended.stdout), (0, "1 case, 1 check (1 manifest): all hold\n"));
}

#[test]
fn nothing_to_check_is_no_pass() {
    let (head, _) = CASE.split_once("\n  matrices:").unwrap();
    let ended = on(head, &[]);
    assert_eq!((ended.code, &*ended.stdout), (2, ""));
    assert!(
        ended.stderr.contains("DIR/case.yaml: no step has a matrix, a probe or a packet"),
        "{}",
        ended.stderr
    );
    let empty = tempfile::tempdir().unwrap();
    let ended = verify(&[], &[empty.path()]);
    assert_eq!((ended.code, &*ended.stdout), (2, ""));
    assert!(
        ended.stderr.contains(&format!("there is no case in {}", empty.path().display())),
        "{}",
        ended.stderr
    );
    let ended = verify(&[], &[Path::new("/nowhere")]);
    assert_eq!((ended.code, &*ended.stdout), (2, ""));
    assert!(ended.stderr.contains("/nowhere: cannot be read"), "{}", ended.stderr);
}

/// One expectation of one case of each suite, turned round.
#[test]
fn one_wrong_expectation_in_a_suite_is_found() {
    for (suite, cases) in [("e2e", 24), ("cyclonus", 24), ("recipes", 14), ("edge", 24), ("flows", 9)] {
        let mut files: Vec<PathBuf> =
            fs::read_dir(directory().join(suite)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        // All of them are run, unturned, elsewhere.
        files.truncate(24);
        let folder = tempfile::tempdir().unwrap();
        for (number, path) in files.iter().enumerate() {
            let mut case: Value = parse_yaml(&fs::read_to_string(path).unwrap()).unwrap();
            if number == files.len() / 2 {
                turn(&mut case["steps"][0]);
            }
            let name = path.with_extension("json");
            fs::write(folder.path().join(name.file_name().unwrap()), case.to_string()).unwrap();
        }
        let ended = verify(&["-o", "json"], &[folder.path()]);
        assert_eq!(ended.code, 1, "{suite}: {}", ended.stderr);
        let found: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(found["cases"], cases, "{suite}");
        let wrong: Vec<&str> = found["failures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|failure| failure["case"].as_str().unwrap())
            .collect();
        let turned = files[files.len() / 2].file_stem().unwrap().to_str().unwrap();
        assert!(!wrong.is_empty() && wrong.iter().all(|case| *case == turned), "{suite}: {wrong:?}");
        assert!(suite == "flows" || wrong.len() == 1, "{suite}: {wrong:?}");
    }
}

/// Turns one expectation of a step round.
fn turn(step: &mut Value) {
    let other = |word: &Value| match word.as_str() {
        Some("allow") => "deny",
        Some("deny") => "allow",
        Some("forward") => "drop",
        _ => "forward",
    };
    if let Some(matrix) = step["matrices"].get_mut(0) {
        let (from, to) = (matrix["order"][0].clone(), matrix["order"][1].clone());
        let row = matrix["rows"][from.as_str().unwrap()].as_str().unwrap().to_owned();
        let (cell, verdict) = if &row[1..2] == "." { ("X", "deny") } else { (".", "allow") };
        matrix["rows"][from.as_str().unwrap()] = json!(format!("{}{cell}{}", &row[..1], &row[2..]));
        matrix["hand"]["set"].as_array_mut().unwrap().push(json!([from, to, verdict]));
    } else if let Some(probe) = step["probes"].get_mut(0) {
        probe["expect"] = json!(other(&probe["expect"]));
    } else {
        let packet = &mut step["sequence"][0];
        packet["expect"] = json!(other(&packet["expect"]));
    }
}
