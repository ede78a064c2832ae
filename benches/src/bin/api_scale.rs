//! A large cluster in a real API server, and one gateway that follows it: how long until it is in force, what
//! memory that takes, what CPU when nothing changes, and how soon the last state is enforced by a gateway that
//! is started again while the server is away.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, SysconfVar, sysconf};
use podgate_benches::served::api_of;
use podgate_dataplane::raw::RingConfig;
use podgate_dataplane::steer::Lane;
use podgate_netns_tests::manifest::{self, policy};
use podgate_netns_tests::traffic::Stamped;
use podgate_netns_tests::{ApiServer, Gateway, Node, wait_until};

/// Measure a gateway that follows a large cluster.
#[derive(Parser)]
struct Options {
    /// Pods of other nodes.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Policies.
    #[arg(long, default_value_t = 1000)]
    policies: usize,
    /// Seconds for which nothing changes.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Restarts while the API server is away.
    #[arg(long, default_value_t = 10)]
    restarts: usize,
}

const NAMESPACES: usize = 50;
const WITHIN: Duration = Duration::from_mins(2);
const PROBE: u16 = 7000;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let node = Node::with_pods(&["bench/client", "bench/server"]);
    let mut api = api_of(&node);
    let start = Instant::now();
    fill(&api, &options);
    println!(
        "{} pods, {} policies; made in {:.0} s",
        options.pods,
        options.policies,
        start.elapsed().as_secs_f64()
    );

    let mut gateway = Gateway::prepare_of_api(&node, &api, &[]);
    let start = Instant::now();
    gateway.launch();
    gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    println!("in force {:.0} ms after the start, with the API server", millis(start));
    wait_until("it is saved", WITHIN, || gateway.saved().exists());
    let saved = fs::metadata(gateway.saved())?.len();
    println!("the copy on disk: {:.1} MiB", mebi(saved));
    memory(gateway.pid(), "after the start")?;

    let (before, start) = (cpu_seconds(gateway.pid())?, Instant::now());
    std::thread::sleep(Duration::from_secs(options.seconds));
    let share = (cpu_seconds(gateway.pid())? - before) / start.elapsed().as_secs_f64();
    println!("idle for {} s: {:.2} % of a core", options.seconds, share * 100.0);
    memory(gateway.pid(), "after that")?;

    api.end();
    let mut took = Vec::new();
    for _ in 0..options.restarts {
        gateway.end(Signal::SIGTERM);
        took.push(restart(&mut gateway, &node)?);
    }
    took.sort_by(f64::total_cmp);
    let middle = took.get(took.len() / 2).copied().unwrap_or_default();
    let longest = took.last().copied().unwrap_or_default();
    println!(
        "restart without the API server, start to first allowed datagram: median {middle:.0} ms, longest {longest:.0} ms"
    );
    Ok(())
}

/// Fills the cluster: pods of other nodes with a role each, policies by role.
fn fill(api: &ApiServer, options: &Options) {
    let client = api.client();
    for number in 0..NAMESPACES {
        client.apply(&manifest::namespace(&format!("n{number}")));
    }
    for number in 0..options.policies {
        let spec = format!(
            "{{podSelector: {{matchLabels: {{role: r{}}}}}, policyTypes: [Ingress, Egress], ingress: [{{from: [{{podSelector: \
             {{matchLabels: {{role: r{}}}}}}}], ports: [{{port: {}}}]}}], egress: [{{to: [{{ipBlock: {{cidr: 172.16.{}.0/24}}}}]}}]}}",
            number % 20,
            (number + 1) % 20,
            1000 + number,
            number % 256
        );
        client.apply(&policy(&format!("n{}/p{number}", number % NAMESPACES), &spec));
    }
    for number in 0..options.pods {
        let [high, low] = (number as u16).to_be_bytes();
        let key = format!("n{}/pod-{number}", number % NAMESPACES);
        let pod = manifest::Pod::new(&key, &format!("node-{}", number % 100)).tcp(8080).udp(53);
        let pod = pod
            .label("role", &format!("r{}", number / NAMESPACES % 20))
            .label("pod-template-hash", "6d4cf56db6");
        client.apply(&pod.address([10, 45 + (number >> 16) as u8, high, low].into()).to_string());
    }
}

/// Starts it again and says when the first datagram passed, in milliseconds.
fn restart(gateway: &mut Gateway, node: &Node) -> anyhow::Result<f64> {
    let (client, server) = (node.pod("bench/client"), node.pod("bench/server"));
    let probe = Stamped::start(&client.space, &server.space, server.v4, PROBE, 2000);
    let start = Instant::now();
    gateway.launch();
    wait_until("datagrams pass", WITHIN, || probe.arrived() > 0);
    let passage = probe.stop(Duration::from_millis(50));
    let first = passage.came.iter().position(|came| *came).context("datagrams passed")?;
    gateway.instance.wait_for_pods(node.pods.iter().map(|pod| pod.key.as_str()));
    Ok(passage.sent[first].saturating_duration_since(start).as_secs_f64() * 1e3)
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn mebi(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Says what memory the process has, and how much of it is not for frames.
fn memory(pid: Pid, when: &str) -> anyhow::Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |key: &str| -> anyhow::Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).context("a line of status")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    };
    let (rss, peak) = (kib("VmRSS:")? << 10, kib("VmHWM:")? << 10);
    let RingConfig { frames, chunk_bytes, .. } = RingConfig::default();
    let umem = u64::from(frames) * u64::from(chunk_bytes) * Lane::ALL.len() as u64;
    println!(
        "memory {when}: {:.0} MiB, of which {:.0} MiB for frames: {:.0} MiB apart from them; at most so far {:.0} MiB",
        mebi(rss),
        mebi(umem),
        mebi(rss.saturating_sub(umem)),
        mebi(peak.saturating_sub(umem)),
    );
    Ok(())
}

/// What CPU time the process has used.
fn cpu_seconds(pid: Pid) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("a name in stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("a clock")?;
    Ok(ticks as f64 / per_second as f64)
}
