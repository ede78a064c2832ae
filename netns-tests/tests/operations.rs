//! What an operator and a cluster ask of a running gateway: probes, metrics, `podgate wait`.

#![expect(clippy::float_cmp, reason = "counts, which floats hold as they are")]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use podgate_control::api::Readiness;
use podgate_control::source::SourceKind;
use podgate_netns_tests::manifest::{deny_ingress, policy};
use podgate_netns_tests::space::finish;
use podgate_netns_tests::traffic::{DENIED_AFTER, Reach, Server, ping, reach, reach_within};
use podgate_netns_tests::{Gateway, Node, Turn, wait_until};

const SOON: Duration = Duration::from_secs(10);
const ADDRESS: &str = "127.0.0.1:9474";

fn two() -> Node {
    Node::with_pods(&["shop/web", "shop/client"])
}

/// `curl` in the node's namespace: the code, and what was said.
#[track_caller]
fn ask(node: &Node, path: &str, accept: &str) -> (u16, String) {
    let url = format!("http://{ADDRESS}{path}");
    let accept = format!("Accept: {accept}");
    let mut command = node.space.command("curl");
    let answer = finish(command.args(["-sS", "-m", "5", "-w", "\n%{http_code}", "-H", &accept, &url]));
    assert_eq!(answer.code, 0, "{url}: {}", answer.stderr);
    let (said, code) = answer.stdout.rsplit_once('\n').expect("a code");
    (code.parse().expect("a code"), said.to_owned())
}

fn readiness(node: &Node) -> (u16, Readiness) {
    let (code, said) = ask(node, "/readyz", "application/json");
    (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// Every series and its value.
fn scrape(node: &Node) -> BTreeMap<String, f64> {
    let (code, text) = ask(node, "/metrics", "*/*");
    assert_eq!(code, 200, "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// The value of a series that counts, or says yes or no.
#[track_caller]
fn count(metrics: &BTreeMap<String, f64>, series: &str) -> u64 {
    let value = metrics.get(series).unwrap_or_else(|| panic!("{series} is not there"));
    value.to_string().parse().unwrap_or_else(|_| panic!("{series} is {value}"))
}

#[test]
fn probes_tell_what_is_in_force_and_what_is_held_back() {
    let _turn = Turn::shared();
    let node = two();
    let gateway = Gateway::start(&node, "", &["--listen", ADDRESS]);
    assert_eq!(ask(&node, "/healthz", "*/*"), (200, "alive\n".to_owned()));
    let (code, ready) = readiness(&node);
    assert!(code == 200 && ready.ready && ready.reasons.is_empty(), "{ready:?}");
    assert_eq!(ready.epoch, gateway.instance.status().epoch);
    let source = ready.source.expect("a source");
    assert!(source.kind == SourceKind::Manifests && source.synced && source.told.is_none(), "{source:?}");

    // The last good state stays in force: still ready, and it says that this is not the newest.
    gateway.write("policies.yaml", "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\n");
    wait_until("the bad manifest is told", SOON, || {
        readiness(&node).1.source.is_some_and(|source| !source.synced)
    });
    let (code, ready) = readiness(&node);
    let told = ready.source.as_ref().and_then(|source| source.told.clone()).expect("why");
    assert!(code == 200 && told.contains("policies.yaml") && told.contains("stay in force"), "{told}");
    let (_, text) = ask(&node, "/readyz", "*/*");
    assert!(text.starts_with("ready: snapshot ") && text.contains("NOT SYNCED"), "{text}");
    assert_eq!(ask(&node, "/healthz", "*/*").0, 200);
    let metrics = scrape(&node);
    assert_eq!(count(&metrics, "podgate_source_synced{kind=\"manifests\"}"), 0);
    assert_eq!(count(&metrics, "podgate_alarms{subject=\"manifests\"}"), 1);
    assert_eq!(count(&metrics, "podgate_alarms{subject=\"workers\"}"), 0);
    assert_eq!(count(&metrics, "podgate_ready"), 1);
}

#[test]
fn metrics_count_what_happens_on_the_wire_and_do_not_forget_a_pod_that_went() {
    let _turn = Turn::shared();
    let mut node = two();
    let gateway = Gateway::start(&node, &deny_ingress("shop/deny-all"), &["--listen", ADDRESS]);
    let before = scrape(&node);
    let dropped = "podgate_drop_packets_total{reason=\"policy-ingress\",direction=\"from-pod\"}";
    assert_eq!(count(&before, dropped), 0);
    let web = node.pod("shop/web").v4;
    let client = &node.pod("shop/client").space;
    assert_eq!(reach_within(client, web, 80, DENIED_AFTER), Reach::TimedOut);
    // A pod may always reach its node, as far as policy goes the other way.
    assert_eq!(ping(&node.space, web, "-c 64 -i 0.01 -W 2").lost(), 0);

    wait_until("a residence was recorded", SOON, || {
        // One batch in 16 is timed.
        ping(&node.space, web, "-c 32 -i 0.005 -W 2");
        scrape(&node)["podgate_residence_seconds_count"] > 0.0
    });
    let metrics = scrape(&node);
    let status = gateway.instance.status();
    assert_eq!(count(&metrics, dropped), status.drops["policy-ingress"]);
    assert!(metrics[dropped] >= 1.0);
    assert!(metrics["podgate_forwarded_packets_total{direction=\"to-pod\"}"] >= 64.0, "{metrics:?}");
    assert!(metrics["podgate_forwarded_bytes_total{direction=\"to-pod\"}"] >= 64.0 * 98.0);
    let lifted: u64 = status.ports.iter().map(|port| port.lifted).sum();
    assert_eq!(count(&metrics, "podgate_steered_packets_total{way=\"lifted\"}"), lifted);
    assert_eq!(metrics["podgate_snapshot_epoch"], f64::from(status.epoch.expect("a snapshot")));
    assert_eq!(metrics["podgate_ports{pod=\"known\"}"], 2.0);
    assert_eq!(metrics["podgate_flows_limit"], 131_072.0);
    assert_eq!(count(&metrics, "podgate_worker_alive{worker=\"0\"}"), 1);
    assert!(metrics["podgate_worker_heartbeat_age_seconds{worker=\"0\"}"] < 0.5);
    assert!(metrics["podgate_publish_duration_seconds_count"] >= 1.0);
    assert!(metrics["process_resident_memory_bytes"] > 1e6);
    let (_, open) = ask(&node, "/metrics", "application/openmetrics-text; version=1.0.0");
    assert!(open.ends_with("# EOF\n") && open.contains("podgate_drop_packets_total{"), "{open}");

    // A new pod: how long it was closed is in the histogram.
    node.add("shop/late");
    gateway.refresh(&node);
    let with_late = scrape(&node);
    assert_eq!(count(&with_late, "podgate_pod_time_to_policy_seconds_count"), 1);
    // Counters never go back when a pod goes.
    node.pods.retain(|pod| pod.key != "shop/client");
    gateway.refresh(&node);
    wait_until("its port is gone", SOON, || scrape(&node)["podgate_ports{pod=\"known\"}"] == 2.0);
    let after = scrape(&node);
    for (series, value) in metrics.iter().filter(|(series, _)| series.contains("_total")) {
        assert!(after[series] >= *value, "{series}: {value}, then {}", after[series]);
    }
}

#[test]
fn liveness_fails_when_nobody_turns_and_comes_back() {
    let _turn = Turn::shared();
    let node = two();
    let gateway = Gateway::start(&node, "", &["--listen", ADDRESS]);
    // Stopped as a whole, nobody answers: the kubelet counts that as a failure.
    kill(gateway.pid(), Signal::SIGSTOP).expect("it runs");
    let mut command = node.space.command("curl");
    let silent = finish(command.args(["-sS", "-m", "1", &format!("http://{ADDRESS}/healthz")]));
    kill(gateway.pid(), Signal::SIGCONT).expect("it runs");
    assert_ne!(silent.code, 0, "{}", silent.stdout);
    wait_until("it lives", SOON, || ask(&node, "/healthz", "*/*").0 == 200);
}

fn waiting(gateway: &Gateway, words: &[&str]) -> Child {
    let mut command: Command = gateway.instance.command(&[&["wait"], words].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("podgate")
}

#[test]
fn wait_returns_when_the_policy_is_obeyed_and_not_before() {
    let _turn = Turn::shared();
    let node = two();
    let gateway = Gateway::start(&node, "", &[]);
    let _server = Server::start(node.pod("shop/web"), 80);
    let web = node.pod("shop/web").v4;
    let client = &node.pod("shop/client").space;
    assert_eq!(reach(client, web, 80), Reach::Connected);

    let once = gateway.instance.ask(&["wait", "--policy", "shop/only-81", "--timeout", "0s"]);
    assert_eq!(once.code, 1, "{}", once.stdout);
    assert!(once.stderr.contains("shop/only-81 is not in force on this node"), "{}", once.stderr);

    let only = |port: u16| {
        policy("shop/only-81", &format!("{{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}"))
    };
    let by_name = waiting(&gateway, &["--policy", "shop/only-81", "--timeout", "20s"]);
    gateway.write("policies.yaml", &only(80));
    let done = by_name.wait_with_output().expect("podgate");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stdout).contains("policy shop/only-81 is in force"));

    // By its content: the policy of that name that is in force already does not count.
    let wanted = gateway.run_dir().join("wanted.yaml");
    std::fs::write(&wanted, only(81)).expect("a file");
    let wanted = wanted.display().to_string();
    let early = gateway.instance.ask(&["wait", "-f", &wanted, "--timeout", "0s"]);
    assert!(early.code == 1 && early.stderr.contains("says something else"), "{}", early.stderr);
    assert_eq!(reach(client, web, 80), Reach::Connected);
    let by_content = waiting(&gateway, &["-f", &wanted, "--timeout", "20s"]);
    gateway.write("policies.yaml", &only(81));
    let done = by_content.wait_with_output().expect("podgate");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // Obeyed at once.
    assert_eq!(reach_within(client, web, 80, DENIED_AFTER), Reach::TimedOut);

    let gone = waiting(&gateway, &["--policy", "shop/only-81", "--deleted", "--timeout", "20s"]);
    gateway.write("policies.yaml", "");
    assert!(gone.wait_with_output().expect("podgate").status.success());
    assert_eq!(reach(client, web, 80), Reach::Connected);
}

#[test]
fn wait_says_why_a_policy_is_held_back() {
    let _turn = Turn::shared();
    let node = two();
    let gateway = Gateway::start(&node, "", &[]);
    gateway.write(
        "policies.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: 7}\n",
    );
    let told = gateway.instance.ask(&["wait", "--policy", "shop/web", "--timeout", "2s"]);
    assert_eq!(told.code, 1, "{}", told.stdout);
    for words in ["shop/web is not in force", "held back: ", "policies.yaml", "timed out after 2s"] {
        assert!(told.stderr.contains(words), "{words}: {}", told.stderr);
    }
    let nothing = gateway.instance.ask(&["wait"]);
    assert!(nothing.code == 2 && nothing.stderr.contains("--policy"), "{}", nothing.stderr);
}
