//! `podgate lab probe`: every outcome, and lists that a lab is held to.

use std::fs;

use podgate_netns_tests::space::Finished;
use podgate_netns_tests::{TestLab, Turn};
use serde_json::Value;

const CLUSTER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: mute, namespace: shop, labels: {app: mute}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
";

const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-from-client, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: mute-says-nothing, namespace: shop}
spec: {podSelector: {matchLabels: {app: mute}}, policyTypes: [Egress]}
";

fn probe(lab: &TestLab, words: &[&str]) -> Finished {
    lab.instance.ask(&[&["lab", "probe"], words].concat())
}

/// From, to, outcome, a policy that is named.
const OUTCOMES: [(&str, &str, &str, Option<&str>); 9] = [
    ("shop/client", "http://web/", "allowed", Some("shop/web-from-client")),
    ("shop/client", "pod:shop/web:8080", "allowed", Some("shop/web-from-client")),
    ("shop/client", "pod:shop/web:53/UDP", "allowed", Some("shop/web-from-client")),
    ("shop/client", "pod:shop/mute:81", "refused", None),
    ("shop/client", "http://empty/", "refused", None),
    ("shop/client", "http://nobody/", "no-such-name", None),
    ("shop/mute", "http://web/", "dns-blocked", Some("shop/mute-says-nothing")),
    ("shop/mute", "pod:shop/web:8080", "dropped", Some("shop/mute-says-nothing")),
    ("node", "pod:shop/web:8080", "allowed", None),
];

#[test]
fn each_outcome_is_told_with_its_policy_and_lists_are_held_to() {
    let _turn = Turn::shared();
    let lab = TestLab::up(CLUSTER, POLICIES);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("expect.yaml");
    let path = file.to_str().expect("a path");
    let held = |list: &str| {
        fs::write(&file, list).expect("a file");
        probe(&lab, &["--expect", path, "-o", "json"])
    };
    let line = |(from, to, outcome, policy): (&str, &str, &str, Option<&str>)| {
        let policy = policy.map_or_else(String::new, |policy| format!(", policy: {policy}"));
        format!("- {{from: {from}, to: '{to}', expect: {outcome}{policy}}}\n")
    };
    let done = held(&OUTCOMES.map(line).concat());
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let rows: Vec<Value> = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(rows.len(), OUTCOMES.len());
    for (row, (from, to, outcome, _)) in rows.iter().zip(OUTCOMES) {
        assert_eq!((&row["from"], &row["to"], &row["outcome"]), (&from.into(), &to.into(), &outcome.into()));
    }
    assert_eq!(rows[0]["destination"], "shop/web", "the backend: {}", rows[0]);

    // Each turned round is told, and nothing else.
    let wrong = held(
        &OUTCOMES
            .map(|(from, to, outcome, _)| {
                line((from, to, if outcome == "allowed" { "dropped" } else { "allowed" }, None))
            })
            .concat(),
    );
    assert_eq!(wrong.code, 1, "{}", wrong.stdout);
    let rows: Vec<Value> = serde_json::from_str(&wrong.stdout).expect("JSON");
    for (row, (_, _, outcome, _)) in rows.iter().zip(OUTCOMES) {
        let expected = if outcome == "allowed" { "dropped" } else { "allowed" };
        assert_eq!(row["wrong"], format!("expected {expected}, got {outcome}"));
    }
    let other = held(&line(("shop/mute", "pod:shop/web:8080", "dropped", Some("shop/web-from-client"))));
    assert_eq!(other.code, 1, "{}", other.stdout);
    assert!(other.stdout.contains("shop/mute-says-nothing"), "{}", other.stdout);

    for (list, told) in [
        ("[]", "the list is empty"),
        ("- {from: shop/client, to: web, expect: allowed}", "item 1, to: \"web\" is nothing to connect to"),
        ("- {from: shop/client, to: 'web:80', expect: denied}", "denied"),
        ("- {from: shop/client, to: 'web:80', expect: allowed, polcy: x}", "polcy"),
        ("- {from: shop/nobody, to: 'web:80', expect: allowed}", "shop/nobody"),
    ] {
        let refused = held(list);
        assert!(
            refused.code == 2 && refused.stderr.contains(told),
            "{list}: {}: {}",
            refused.code,
            refused.stderr
        );
    }

    let all = probe(&lab, &["--all", "--port", "8080"]);
    assert_eq!(all.code, 0, "{}", all.stderr);
    // Three pods, each with two others, and a headline.
    assert_eq!(all.stdout.lines().count(), 7, "{}", all.stdout);
}
