//! From a change in a real API server to the first frame that obeys it, on live frames: a policy is created
//! and deleted, and a pod relabelled, each denying and allowing a probe in turn.
//!
//! The clock starts when the request is sent to the API server and stops at the sending of the first datagram
//! that was treated by the new policy.

use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::signal::Signal;
use podgate_benches::obeyed::{Obeyed, change_in_turn};
use podgate_benches::served::api_of;
use podgate_netns_tests::apiserver::Client;
use podgate_netns_tests::manifest::policy;
use podgate_netns_tests::traffic::Stamped;
use podgate_netns_tests::{Gateway, Node};
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
    let api = api_of(&node);
    let client = api.client();
    for number in 0..options.policies {
        let spec = format!(
            "{{podSelector: {{matchLabels: {{app: other}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: \
             {{tier: t{number}}}}}}}]}}]}}"
        );
        client.apply(&policy(&format!("bench/p{number:05}"), &spec));
    }
    let mut gateway = Gateway::of_api(&node, &api, &["--on-exit", "detach"]);
    println!("{} policies besides, {} changes of each kind", options.policies, options.changes);
    println!("{:22} {}", "change", Obeyed::titles());
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
    let edits = change_in_turn(&probe, options.changes, |allows| {
        let at = Instant::now();
        change(allows);
        Ok(at)
    })?;
    let over = Instant::now();
    let mut obeyed = Obeyed::of(&probe.stop(QUIET), &edits, over)?;
    println!("{what:22} {}", obeyed.columns());
    if obeyed.strays > 0 {
        println!(
            "{} datagrams of the probe were treated by the policy of before after one had obeyed",
            obeyed.strays
        );
    }
    Ok(())
}
