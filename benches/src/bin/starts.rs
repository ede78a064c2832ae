//! Pods that start and go, as a container runtime has it: how long ADD takes, what of it is podgate-cni's, and how
//! many disallowed packets of a pod that sends without rest come through, before ADD returns and after.
//!
//! Needs Debian's package containernetworking-plugins, and root.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Parser, ValueEnum};
use nix::sys::signal::Signal;
use podgate_netns_tests::cni::{Container, Network, OURS};
use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::node::{BRIDGE, NODE_NAME};
use podgate_netns_tests::pod::parse_mac;
use podgate_netns_tests::traffic::{Ear, Means, Spinner};
use podgate_netns_tests::{Gateway, Node};
use serde_json::json;

/// Measure how long pods take to start, and what gets out of them meanwhile.
#[derive(Parser)]
struct Options {
    /// Pods that start and go, one after the other.
    #[arg(long, default_value_t = 500)]
    pods: usize,
    /// Pods that are there all the time.
    #[arg(long, default_value_t = 30)]
    neighbours: usize,
    /// Only this sender in the starting pod.
    #[arg(long, value_enum)]
    sender: Option<Sender>,
    /// More options for `podgate run`.
    #[arg(long, allow_hyphen_values = true)]
    gateway: Vec<String>,
}

/// What sends in a pod while it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Sender {
    /// Nothing.
    None,
    /// UDP sockets.
    Sockets,
    /// Whole frames, from when the device is up.
    Frames,
}

const DENIED: u16 = 9;
const BEFORE: u8 = 1;
const AFTER: u8 = 2;
/// How long a pod lives after ADD.
const LIFE: Duration = Duration::from_millis(50);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    println!(
        "{} pods beside {}, dual-stack, egress denied but to a neighbour",
        options.pods, options.neighbours
    );
    println!(
        "{:8} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>14} {:>14} {:>10}",
        "sender",
        "pods",
        "ADD p50",
        "p99",
        "max ms",
        "ours p50",
        "p99",
        "DEL p50",
        "p99",
        "through before",
        "through after",
        "pods leak"
    );
    for sender in [Sender::None, Sender::Sockets, Sender::Frames] {
        if options.sender.is_none_or(|wanted| wanted == sender) {
            measure(&options, sender)?;
        }
    }
    Ok(())
}

fn measure(options: &Options, sender: Sender) -> anyhow::Result<()> {
    let keys: Vec<_> = (0..options.neighbours.max(1)).map(|number| format!("bench/n{number}")).collect();
    let node = Node::with_pods(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let rights = policy(
        "bench/new",
        "{podSelector: {matchLabels: {role: new}}, policyTypes: [Ingress, Egress], \
         egress: [{to: [{podSelector: {matchLabels: {app: n0}}}], ports: [{port: 80}]}]}",
    );
    let more: Vec<_> = options.gateway.iter().map(String::as_str).collect();
    let mut gateway = Gateway::prepare(&node, &rights, &[&["--on-exit", "detach"], &more[..]].concat());
    let new = manifest::Pod::new("bench/new", NODE_NAME).label("role", "new").phase("Pending");
    gateway.write("cluster.yaml", &format!("{}{new}", node.manifest()));
    gateway.launch();
    gateway.instance.wait_for_pods(keys.iter().map(String::as_str));
    let network = Network::bridged(&gateway, "1.0.0", &json!({}));

    // The node itself: nothing of the pod's policy allows it, and no other port stands before it.
    let ear = Ear::open(&node.space, DENIED);
    let mac = parse_mac(node.space.link(BRIDGE)["address"].as_str().unwrap_or_default());
    let to = [SocketAddr::from((Node::V4, DENIED)), (Node::V6, DENIED).into()];
    let (mut add, mut ours, mut del, mut leaky) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..options.pods {
        let container = Container::of("bench/new");
        let before = ear.heard(BEFORE);
        let spinner = match sender {
            Sender::None => None,
            Sender::Sockets => Some(Spinner::start(&container.space, Means::Sockets, &to, BEFORE)),
            Sender::Frames => Some(Spinner::start(&container.space, Means::Frames(mac), &to[..1], BEFORE)),
        };
        let added = match network.add(&node, &container) {
            Ok(added) => added,
            Err(failure) => bail!("{failure:?}\n{}", gateway.log()),
        };
        if let Some(spinner) = spinner {
            spinner.say(AFTER);
            std::thread::sleep(LIFE);
            spinner.stop();
        }
        add.push(added.took.iter().map(|(_, took)| *took).sum());
        ours.extend(added.took.iter().filter(|(plugin, _)| plugin == OURS).map(|(_, took)| *took));
        let start = Instant::now();
        if let Err(failure) = network.del(&node, &container, Some(&added)) {
            bail!("{failure:?}");
        }
        del.push(start.elapsed());
        leaky += usize::from(ear.heard(BEFORE) > before);
    }
    std::thread::sleep(LIFE);
    let [add, ours, del] = [add, ours, del].map(Times::of);
    println!(
        "{:8} {:5} {:9.1} {:9.1} {:9.1} {:9.1} {:9.1} {:9.1} {:9.1} {:14} {:14} {:10}",
        format!("{sender:?}").to_lowercase(),
        options.pods,
        add.p50,
        add.p99,
        add.max,
        ours.p50,
        ours.p99,
        del.p50,
        del.p99,
        ear.heard(BEFORE),
        ear.heard(AFTER),
        leaky
    );
    gateway.end(Signal::SIGTERM);
    Ok(())
}

/// Milliseconds.
struct Times {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: f64| {
            let position = (times.len() as f64 * part).ceil() as usize;
            times.get(position.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Self { p50: at(0.50), p99: at(0.99), max: at(1.0) }
    }
}
