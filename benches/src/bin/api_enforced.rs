//! From a change in a real API server to the first frame that obeys it, on live frames: a policy is created
//! and deleted, and a pod relabelled, each denying and allowing a probe in turn.
//!
//! The clock starts when the request is sent to the API server and stops at the sending of the first datagram
//! that was treated by the new policy.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use nix::sys::signal::Signal;
use podgate_benches::obeyed::{Edit, await_verdict, obeyed, percentile};
use podgate_netns_tests::apiserver::Client;
use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::node::NODE_NAME;
use podgate_netns_tests::traffic::Stamped;
use podgate_netns_tests::{ApiServer, Gateway, Node};
use serde_json::json;

/// Measure how soon changes in an API server are obeyed.
#[derive(Parser)]
struct Options {
    /// Changes of each kind, half of which deny and half allow.
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// Policies that are in force besides.
    #[arg(long, default_value_t = 100)]
    policies: usize,
    /// Datagrams a second of the probe.
    #[arg(long, default_value_t = 5000)]
    probe_pps: u32,
}

const PROBE: u16 = 7000;
const QUIET: Duration = Duration::from_millis(300);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let node = Node::with_pods(&["bench/client", "bench/server"]);
    let api = ApiServer::start(&node.space);
    let client = api.client();
    client.apply(&manifest::node(NODE_NAME, &[Node::V4.into(), Node::V6.into()]));
    client.apply(&manifest::namespace("bench"));
    for pod in &node.pods {
        client.apply(&manifest::Pod::new(&pod.key, NODE_NAME).address(pod.v4.into()).to_string());
    }
    for number in 0..options.policies {
        let spec = format!(
            "{{podSelector: {{matchLabels: {{app: other}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: \
             {{tier: t{number}}}}}}}]}}]}}"
        );
        client.apply(&policy(&format!("bench/p{number:05}"), &spec));
    }
    let mut gateway = Gateway::of_api(&node, &api, &["--on-exit", "detach"]);
    println!("{} policies besides, {} changes of each kind", options.policies, options.changes);
    println!(
        "{:22} {:>7} {:>8} {:>8} {:>8} {:>9} {:>9}",
        "change", "changes", "p50 ms", "p99 ms", "max ms", "deny p99", "allow p99"
    );
    // Isolates the server, and allows nothing.
    let isolating =
        policy("bench/isolating", "{podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress]}");
    measure(&options, &node, "policy created/deleted", |allows| {
        if allows { client.delete("NetworkPolicy bench/isolating") } else { client.apply(&isolating) }
    })?;
    let admitting = "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: \
                     {app: client}}}]}]}";
    client.apply(&policy("bench/admitting", admitting));
    measure(&options, &node, "pod relabelled", |allows| relabel(client, allows))?;
    let p99 = gateway.instance.status().publish_p99_ms.unwrap_or_default();
    println!("as the gateway sees it, noticed to published: p99 {p99:.1} ms");
    gateway.end(Signal::SIGTERM);
    Ok(())
}

fn relabel(client: &Client, allows: bool) {
    let app = if allows { "client" } else { "else" };
    client.patch("Pod bench/client", json!({"metadata": {"labels": {"app": app}}}));
}

fn measure(options: &Options, node: &Node, what: &str, change: impl Fn(bool)) -> anyhow::Result<()> {
    let (client, server) = (node.pod("bench/client"), node.pod("bench/server"));
    let probe = Stamped::start(&client.space, &server.space, server.v4, PROBE, options.probe_pps);
    await_verdict(&probe, true, 0)?;
    let mut edits = Vec::new();
    for number in 0..options.changes {
        // Not in step with anything: 20 to 60 ms, by a multiplication that scatters.
        std::thread::sleep(Duration::from_millis(20 + (number as u64).wrapping_mul(0x9e37_79b9) % 41));
        let allows = number % 2 == 1;
        let sent = probe.sent();
        edits.push(Edit { at: Instant::now(), allows });
        change(allows);
        await_verdict(&probe, allows, sent)?;
    }
    let over = Instant::now();
    let probe = probe.stop(QUIET);
    let (mut all, mut of, mut strays) = (Vec::new(), [Vec::new(), Vec::new()], 0);
    for (position, edit) in edits.iter().enumerate() {
        let until = edits.get(position + 1).map_or(over, |next| next.at);
        let (took, others) = obeyed(&probe, edit, until).context("a change that no datagram has obeyed")?;
        all.push(took);
        of[usize::from(edit.allows)].push(took);
        strays += others;
    }
    println!(
        "{what:22} {:7} {:8.1} {:8.1} {:8.1} {:9.1} {:9.1}",
        all.len(),
        percentile(&mut all, 50),
        percentile(&mut all, 99),
        percentile(&mut all, 100),
        percentile(&mut of[0], 99),
        percentile(&mut of[1], 99),
    );
    if strays > 0 {
        println!("{strays} datagrams of the probe were treated by the policy of before after one had obeyed");
    }
    Ok(())
}
