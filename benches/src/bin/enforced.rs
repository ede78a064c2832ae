//! From the edit of a policy to the first frame that obeys it, on live frames: a probe is allowed and
//! denied in turn, by an edit of one of many policies, while another flow goes on and a third is denied
//! all the time.
//!
//! The clock starts when the edited file is renamed into its place and stops at the sending of the first
//! datagram that was treated by the new policy.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use nix::sys::signal::Signal;
use podgate_benches::obeyed::{Edit, Obeyed, change_in_turn};
use podgate_netns_tests::manifest::policy;
use podgate_netns_tests::traffic::{Passage, Stamped};
use podgate_netns_tests::{Gateway, Node};

/// Measure how soon an edited policy is obeyed.
#[derive(Parser)]
struct Options {
    /// Edits, half of which allow and half deny.
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// Policies that the gateway has in force.
    #[arg(long, default_value_t = 1000)]
    policies: usize,
    /// Datagrams a second of the probe.
    #[arg(long, default_value_t = 5000)]
    probe_pps: u32,
    /// Datagrams a second of the flow that no edit is about.
    #[arg(long, default_value_t = 10_000)]
    flow_pps: u32,
    /// Only this layout of the manifests: `one-file` or `file-each`.
    #[arg(long)]
    layout: Option<String>,
    /// More options for `podgate run`.
    #[arg(long, allow_hyphen_values = true)]
    gateway: Vec<String>,
}

const PROBE: u16 = 7000;
const FLOW: u16 = 9;
const DENIED: u16 = 10;
const QUIET: Duration = Duration::from_millis(300);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    println!(
        "{} policies, {} edits, probe {} a second, unaffected flow {} a second",
        options.policies, options.changes, options.probe_pps, options.flow_pps
    );
    println!("{:10} {} {:>14} {:>16}", "manifests", Obeyed::titles(), "flow: lost", "denied: through");
    for layout in ["one-file", "file-each"] {
        if options.layout.as_deref().is_none_or(|wanted| wanted == layout) {
            measure(&options, layout)?;
        }
    }
    Ok(())
}

/// Policy number `number`. All select the servers, and those but the first are about others.
fn one(number: usize) -> String {
    policy(
        &format!("bench/p{number:05}"),
        &format!(
            "{{podSelector: {{matchLabels: {{app: server}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: \
             {{tier: t{number}}}}}}}, {{ipBlock: {{cidr: 172.{}.{}.0/24}}}}], ports: [{{protocol: UDP, port: {}}}]}}]}}",
            16 + number / 256 % 16,
            number % 256,
            20_000 + number % 1000
        ),
    )
}

/// The policy that is edited: the flow always, the probe if `allows`.
fn edited(allows: bool) -> String {
    let ports = if allows { [FLOW, PROBE] } else { [FLOW, FLOW] };
    policy(
        "bench/edited",
        &format!(
            "{{podSelector: {{matchLabels: {{app: server}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: \
             {{app: client}}}}}}], ports: [{{protocol: UDP, port: {}}}, {{protocol: UDP, port: {}}}]}}]}}",
            ports[0], ports[1]
        ),
    )
}

/// Manifests as they lie in the folder.
struct Manifests {
    dir: PathBuf,
    /// Beside the folder, where a file is written before it is renamed.
    aside: PathBuf,
    /// What stands in the file of the edited policy before it.
    others: String,
}

impl Manifests {
    /// Writes all, in one file or each in its own.
    fn write(gateway: &Gateway, layout: &str, count: usize) -> anyhow::Result<Self> {
        let dir = gateway.manifests();
        let aside = dir.parent().context("a folder above")?.join("aside");
        let mut manifests = Self { dir, aside, others: String::new() };
        for number in 0..count - 1 {
            if layout == "one-file" {
                manifests.others += &one(number);
            } else {
                fs::write(manifests.dir.join(format!("p{number:05}.yaml")), one(number))?;
            }
        }
        manifests.edit(true)?;
        Ok(manifests)
    }

    fn edit(&self, allows: bool) -> anyhow::Result<Instant> {
        fs::write(&self.aside, self.others.clone() + &edited(allows))?;
        let at = Instant::now();
        fs::rename(&self.aside, self.dir.join("policies.yaml"))?;
        Ok(at)
    }
}

fn measure(options: &Options, layout: &str) -> anyhow::Result<()> {
    let node = Node::with_pods(&["bench/client", "bench/server", "bench/guest"]);
    let more: Vec<_> = options.gateway.iter().map(String::as_str).collect();
    let mut gateway = Gateway::prepare(&node, "", &[&["--on-exit", "detach"], &more[..]].concat());
    let manifests = Manifests::write(&gateway, layout, options.policies)?;
    gateway.launch();
    gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    let (client, server) = (node.pod("bench/client"), node.pod("bench/server"));
    let flow = Stamped::start(&client.space, &server.space, server.v4, FLOW, options.flow_pps);
    let denied = Stamped::start(&node.pod("bench/guest").space, &server.space, server.v4, DENIED, 1000);
    let probe = Stamped::start(&client.space, &server.space, server.v4, PROBE, options.probe_pps);
    let edits = change_in_turn(&probe, options.changes, |allows| manifests.edit(allows))?;
    let over = Instant::now();
    let [probe, flow, denied] = [probe, flow, denied].map(|stamped| stamped.stop(QUIET));
    let status = gateway.instance.status();
    gateway.end(Signal::SIGTERM);

    let mut obeyed = Obeyed::of(&probe, &edits, over)?;
    let lost = format!("{} of {}", flow.lost(), flow.sent.len());
    let through = format!("{} of {}", denied.came.len() - denied.lost(), denied.sent.len());
    println!("{layout:10} {} {lost:>14} {through:>16}", obeyed.columns());
    if obeyed.strays > 0 {
        println!(
            "{} datagrams of the probe were treated by the policy of before after one had obeyed",
            obeyed.strays
        );
    }
    if flow.lost() > 0 {
        println!("losses at {:?}; drops {:?}", places(&flow, &edits), status.drops);
        println!("{:?}", status.workers);
    }
    let p99 = status.publish_p99_ms.unwrap_or_default();
    println!("{:10} as the gateway sees it, noticed to published: p99 {p99:.1} ms", "");
    Ok(())
}

/// How long after an edit losses were sent: edit, milliseconds, number.
fn places(flow: &Passage, edits: &[Edit]) -> Vec<(usize, f64, usize)> {
    let lost = (0..flow.came.len()).filter(|number| !flow.came[*number]);
    let place = |number: usize| {
        let edit = edits.partition_point(|edit| edit.at <= flow.sent[number]).checked_sub(1)?;
        Some((edit, flow.sent[number].duration_since(edits[edit].at).as_secs_f64() * 1e3, number))
    };
    lost.filter_map(place).take(50).collect()
}
