//! explain, connectivity and diff about a running gateway: what is in force there, and nothing else.

use podgate_netns_tests::program::PATIENCE;
use podgate_netns_tests::traffic::Reach;
use podgate_netns_tests::traffic::reach;
use podgate_netns_tests::{TestLab, Turn, manifest, wait_until};
use serde_json::Value;

/// A workload besides a pod; neither has an address before the lab gives it one.
const CLUSTER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
";

const DENY: &str = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}";
const ALLOW: &str = "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}]}]}";

#[test]
fn tools_tell_what_is_in_force() {
    let _turn = Turn::shared();
    let lab = TestLab::up(CLUSTER, &manifest::policy("shop/web", DENY));
    let client = lab.pod("shop/client");
    let web = lab.pod("shop/web-1");
    let service = ["explain", "--from", "shop/client", "--to", "svc:shop/web", "--port", "80", "-o", "json"];
    let ask = |words: &[&str]| -> (i32, Value) {
        let finished = lab.instance.ask(words);
        let told = serde_json::from_str(&finished.stdout);
        (
            finished.code,
            told.unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr)),
        )
    };

    let (code, denied) = ask(&service);
    assert_eq!((code, &denied["allowed"]), (1, &Value::Bool(false)), "{denied}");
    assert_eq!(denied["gateway"]["epoch"], lab.instance.status().epoch.expect("a snapshot"));
    assert_eq!(denied["gateway"]["held_back"], Value::Array(Vec::new()));
    let backends: Vec<(&Value, &Value)> = denied["service"]["backends"]
        .as_array()
        .expect("backends")
        .iter()
        .map(|backend| (&backend["name"], &backend["port"]))
        .collect();
    assert!(backends.contains(&(&"shop/web-1".into(), &8080.into())), "{backends:?}");
    // The addresses that the lab gave, both families of both pods.
    assert_eq!(backends.len(), 4, "{denied}");
    assert!(denied.to_string().contains(&web.v4.to_string()), "{denied}");
    assert_ne!(reach(&client.space, web.v4, 8080), Reach::Connected);

    // What would change is told without changing it.
    let aside = tempfile::tempdir().expect("a directory");
    let wanted = aside.path().join("wanted.yaml");
    std::fs::write(&wanted, manifest::policy("shop/web", ALLOW)).expect("a file");
    let wanted = wanted.display().to_string();
    let (code, change) = ask(&["diff", &wanted, "--exit-code", "-o", "json"]);
    assert_eq!(code, 1, "{change}");
    let pairs = change["allowed"].as_array().expect("pairs");
    assert!(pairs.iter().all(|pair| pair["to"] == "shop/web (2)"), "{change}");
    assert_eq!(change["denied"], Value::Array(Vec::new()), "{change}");
    assert_eq!(ask(&service).0, 1);

    lab.apply(&manifest::policy("shop/web", ALLOW));
    let (code, allowed) = ask(&service);
    assert_eq!((code, &allowed["allowed"]), (0, &Value::Bool(true)), "{allowed}");
    assert_eq!(reach(&client.space, web.v4, 8080), Reach::Connected);
    assert_eq!(ask(&["diff", &wanted, "--exit-code", "-o", "json"]).0, 0);

    // Bad manifests are not in force: what is asked about is what still is, and it is said so.
    lab.write("policies.yaml", &manifest::policy("shop/web", "{podSelecter: {}}"));
    wait_until("the mistake is known", PATIENCE, || !lab.instance.status().alarms.is_empty());
    let (code, held) = ask(&service);
    assert_eq!((code, &held["gateway"]["epoch"]), (0, &allowed["gateway"]["epoch"]));
    assert!(held["gateway"]["held_back"][0].as_str().expect("a reason").contains("podSelecter"), "{held}");
    let table = lab.instance.ask(&["connectivity", "--port", "8080"]).stdout;
    assert!(table.starts_with("gateway ") && table.contains("cannot be put in force"), "{table}");
    assert!(table.contains("shop/web (2)"), "{table}");
}
