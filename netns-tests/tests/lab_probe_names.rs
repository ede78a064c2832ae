//! `podgate lab probe` by name: as a program in the pod would look it up and connect; and what goes wrong with one
//! attempt leaves the others alone.

use std::io::Read;
use std::net::TcpListener;

use podgate_netns_tests::{TestLab, Turn};
use serde_json::Value;

/// A pod with addresses of its own.
fn pod(name: &str, addresses: &[&str], ports: &str) -> String {
    let addresses: Vec<String> = addresses.iter().map(|ip| format!("{{ip: '{ip}'}}")).collect();
    let addresses = addresses.join(", ");
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n\
         spec: {{containers: [{{name: c, ports: [{ports}]}}]}}\nstatus: {{podIPs: [{addresses}]}}\n"
    )
}

/// A headless Service with more endpoints than fit a datagram.
fn many() -> String {
    let endpoints: Vec<String> = (1..=60).map(|last| format!("{{addresses: [10.200.0.{last}]}}")).collect();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: many, namespace: shop}}\n\
         spec: {{clusterIP: None, ports: [{{port: 80}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: many-1, namespace: shop, labels: {{kubernetes.io/service-name: many}}}}\n\
         addressType: IPv4\nports: [{{port: 80}}]\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}

const WEB: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: datagrams-alone, namespace: shop}
spec: {podSelector: {matchLabels: {app: guarded}}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: old-addresses-alone, namespace: shop}
spec: {podSelector: {matchLabels: {app: old}}, policyTypes: [Egress], egress: [
  {ports: [{port: 53, protocol: UDP}]}, {to: [{ipBlock: {cidr: 10.244.0.0/16}}]}]}
";

fn probe(lab: &TestLab, words: &[&str]) -> Vec<Value> {
    let done = lab.instance.ask(&[&["lab", "probe", "-o", "json"], words].concat());
    assert_eq!(done.code, 0, "{}: {}", done.line, done.stderr);
    serde_json::from_str(&done.stdout).expect("JSON")
}

fn is_v6(row: &Value) -> bool {
    row["address"].as_str().is_some_and(|address| address.contains(':'))
}

#[test]
fn names_are_found_and_connected_to_as_by_a_program_in_the_pod() {
    let _turn = Turn::shared();
    let both = |last: u32| (format!("10.244.3.{last}"), format!("fd00:244::3:{last}"));
    let mut cluster = pod("six", &["fd00:244::3:1"], "") + WEB + &many();
    for (last, name, ports) in [
        (2, "client", ""),
        (3, "guarded", ""),
        (4, "old", ""),
        (5, "web", "{containerPort: 8080}"),
        (6, "hasty", ""),
    ] {
        let (v4, v6) = both(last);
        cluster += &pod(name, &[&v4, &v6], ports);
    }
    cluster += &pod("four", &["10.244.3.7"], "");
    let lab = TestLab::up(&cluster, POLICIES);

    // IPv6 where there is IPv6, as curl in the same pod does.
    for (from, v6) in [("shop/six", true), ("shop/client", true), ("shop/four", false)] {
        let rows = probe(&lab, &["--from", from, "--to", "http://web/"]);
        assert_eq!((&rows[0]["outcome"], is_v6(&rows[0])), (&"allowed".into(), v6), "{}", rows[0]);
        assert_eq!(rows[0]["destination"], "shop/web", "{}", rows[0]);
        let told = lab.exec(from, &["curl", "-sS", "-m", "5", "http://web/"]);
        let client = told.stdout.lines().find(|line| line.starts_with("client:")).expect("the client");
        assert_eq!(client.contains('['), v6, "{}{}", told.stdout, told.stderr);
    }
    // And the other where that one fails.
    let rows = probe(&lab, &["--from", "shop/old", "--to", "http://web/"]);
    assert_eq!((&rows[0]["outcome"], is_v6(&rows[0])), (&"allowed".into(), false), "{}", rows[0]);

    // Asked for again by TCP, which policy judges too.
    let rows = probe(&lab, &["--from", "shop/client", "--from", "shop/guarded", "--to", "http://many.shop/"]);
    assert_eq!(rows[0]["outcome"], "dropped", "it has a name, and none of its pods is there: {}", rows[0]);
    assert!(rows[0]["address"].as_str().is_some_and(|ip| ip.starts_with("10.200.0.")), "{}", rows[0]);
    assert_eq!(rows[1]["outcome"], "dns-blocked", "{}", rows[1]);
    assert_eq!(rows[1]["policies"], serde_json::json!(["shop/datagrams-alone"]), "{}", rows[1]);

    // What goes wrong is a row of its own.
    let hasty = lab.pod("shop/hasty");
    let listener = hasty.space.run(|| TcpListener::bind((hasty.v4, 9000)).expect("a port"));
    let closing = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let _ = client.read(&mut [0; 64]).expect("a request");
    });
    let list = lab.aside(
        "expect.yaml",
        &format!(
            "- {{from: shop/client, to: 'http://{}:9000/', expect: failed}}\n\
             - {{from: shop/client, to: 'http://web/', expect: allowed}}\n\
             - {{from: shop/client, to: '[fe80::1]:80', expect: failed}}\n\
             - {{from: shop/four, to: '[fd00:244::3:5]:8080', expect: failed}}\n\
             - {{from: shop/client, to: 'pod:shop/nobody:80', expect: failed}}\n\
             - {{from: shop/client, to: 'a..b:80', expect: failed}}\n",
            hasty.v4
        ),
    );
    let rows = probe(&lab, &["--expect", &list]);
    let why = |row: &Value| row["why"].as_str().unwrap_or_default().to_owned();
    assert_eq!(why(&rows[0]), "the connection was closed without an answer");
    assert_eq!(rows[0]["destination"], "shop/hasty");
    assert!(why(&rows[3]).contains("has no address of the family of fd00:244::3:5"), "{}", rows[3]);
    assert!(why(&rows[4]).contains("shop/nobody"), "{}", rows[4]);
    assert!(why(&rows[5]).starts_with("cannot look the name up"), "{}", rows[5]);
    closing.join().expect("a client");
}

#[test]
fn a_dns_that_is_not_there_is_told_from_one_that_is_blocked() {
    let _turn = Turn::shared();
    let dns = "---\napiVersion: v1\nkind: Service\nmetadata: {name: kube-dns, namespace: kube-system}\n\
               spec: {clusterIP: 10.96.0.10, selector: {app: nobody}, ports: [{name: dns, port: 53, protocol: UDP}]}\n";
    let lab = TestLab::up(&(pod("client", &["10.244.3.2"], "") + dns), "");
    let rows = probe(&lab, &["--from", "shop/client", "--to", "http://web/"]);
    assert_eq!(rows[0]["outcome"], "dns-failed", "{}", rows[0]);
    assert_eq!(rows[0]["why"], "nobody serves names at 10.96.0.10:53 (service-no-backend)", "{}", rows[0]);
}
