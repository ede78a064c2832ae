//! Plain bridge, floor and gateway on the same two pods, in turn, in one run: packets a second at a
//! receiver, TCP, round trips. Medians over the rounds, and ratios to the floor.
//!
//! The sender is pinned to cpu 0, the worker and the receiver to cpu 1.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podgate_netns_tests::traffic::{Blast, Iperf, IperfServer, Load, Pace, Sink, checksum_errors, ping};
use podgate_netns_tests::{Gateway, Node};

/// Measure the gateway beside the floor and the plain bridge.
#[derive(Parser)]
struct Options {
    /// Rounds; each measures every variant once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Policies that the gateway has in force.
    #[arg(long, default_value_t = 1000)]
    policies: usize,
    /// Only these questions.
    #[arg(long, value_delimiter = ',', default_value = "udp,tcp,ping")]
    questions: Vec<String>,
    /// More options for `podgate run`.
    #[arg(long, allow_hyphen_values = true)]
    gateway: Vec<String>,
}

const VARIANTS: [&str; 3] = ["plain bridge", "floor", "podgate"];

#[derive(Clone, Copy, Default)]
struct Figures {
    udp_pps: f64,
    tcp_bps: f64,
    retransmits: f64,
    checksum_errors: f64,
    ping_ms: f64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let node = Node::with_pods(&["bench/client", "bench/server"]);
    let policies = policies(options.policies);
    let mut measured: [Vec<Figures>; 3] = Default::default();
    for round in 1..=options.rounds {
        for (variant, figures) in VARIANTS.iter().zip(&mut measured) {
            let found = match *variant {
                "floor" => {
                    let floor = Floor::start(&node)?;
                    let found = measure(&node, &options)?;
                    floor.stop()?;
                    found
                }
                "podgate" => {
                    let mut flags = vec!["--cpus", "1", "--on-exit", "detach"];
                    flags.extend(options.gateway.iter().map(String::as_str));
                    let mut gateway = Gateway::start(&node, &policies, &flags);
                    let found = measure(&node, &options)?;
                    gateway.end(Signal::SIGTERM);
                    found
                }
                _ => measure(&node, &options)?,
            };
            eprintln!(
                "round {round} {variant:12} {:7.0} pps  {:5.2} Gbit/s  {:5.0} retransmits  {:.3} ms",
                found.udp_pps,
                found.tcp_bps / 1e9,
                found.retransmits,
                found.ping_ms
            );
            figures.push(found);
        }
    }
    report(&measured);
    Ok(())
}

/// What the gateway does not care about and must not be slowed by: the server is selected by all
/// of them, and the last one allows.
fn policies(count: usize) -> String {
    let policy = |number: usize| {
        let peer = if number + 1 == count { "name: client".to_owned() } else { format!("team: t{number}") };
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p{number:05}, namespace: bench}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Ingress], ingress: [{{from: [\
             {{podSelector: {{matchLabels: {{{peer}}}}}}}, {{ipBlock: {{cidr: 172.{}.{}.0/24}}}}]}}]}}\n",
            16 + number / 256 % 16,
            number % 256
        )
    };
    let open = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
        metadata: {name: z-open, namespace: bench}\n\
        spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]}\n";
    (0..count.saturating_sub(1)).map(policy).chain([open.to_owned()]).collect()
}

fn measure(node: &Node, options: &Options) -> anyhow::Result<Figures> {
    let (client, server) = (node.pod("bench/client"), node.pod("bench/server"));
    let asked = |question: &str| options.questions.iter().any(|asked| asked == question);
    let time = Duration::from_secs(options.seconds.into());
    let mut figures = Figures::default();
    // Neighbours are known, caches are warm.
    ping(&client.space, server.v4, "-c 3 -i 0.1 -W 2");
    if asked("udp") {
        let sink = Sink::open(&server.space, 9000, Some(1));
        let blast = Blast::start(&client.space, server.v4, 9000, Pace::Flat, Some(0));
        sink.rate(Duration::from_millis(500));
        figures.udp_pps = sink.rate(time);
        blast.stop();
    }
    if asked("tcp") {
        let _server = IperfServer::start(&server.space, 5201);
        let iperf = Iperf::run(&client.space, server.v4, 5201, Load::Tcp, options.seconds, &["-A", "0,1"]);
        let iperf = iperf.map_err(|error| anyhow!(error))?;
        figures.tcp_bps = iperf.received_bps;
        figures.retransmits = iperf.retransmits as f64;
        let errors = [&client.space, &server.space].map(checksum_errors);
        figures.checksum_errors =
            errors.iter().flat_map(|errors| &errors.0).map(|(_, count)| *count as f64).sum();
    }
    if asked("ping") {
        figures.ping_ms = ping(&client.space, server.v4, "-f -c 5000").mean_ms;
    }
    Ok(figures)
}

/// A line of the report: its name, the figure, and the unit it is told in.
type Row = (&'static str, fn(&Figures) -> f64, f64);

fn report(measured: &[Vec<Figures>; 3]) {
    let median = |variant: usize, of: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = measured[variant].iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let rows: [Row; 5] = [
        ("64-byte UDP, kpps at the receiver", |figures| figures.udp_pps, 1e3),
        ("TCP, Gbit/s", |figures| figures.tcp_bps, 1e9),
        ("TCP retransmits", |figures| figures.retransmits, 1.0),
        ("checksum errors", |figures| figures.checksum_errors, 1.0),
        ("ping flood RTT, us", |figures| figures.ping_ms, 1e-3),
    ];
    println!(
        "{:36} {:>12} {:>12} {:>12} {:>14} {:>14}",
        "median", "plain", "floor", "podgate", "podgate/floor", "podgate/plain"
    );
    for (name, of, unit) in rows {
        let values = [0, 1, 2].map(|variant| median(variant, of) / unit);
        println!(
            "{name:36} {:12.2} {:12.2} {:12.2} {:14.2} {:14.2}",
            values[0],
            values[1],
            values[2],
            values[2] / values[1],
            values[2] / values[0]
        );
    }
}

/// The floor program, running on a node.
struct Floor {
    child: Child,
    run_dir: PathBuf,
}

impl Floor {
    fn start(node: &Node) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("floor");
        let run_dir = std::env::temp_dir().join(format!("podgate-floor-{}", std::process::id()));
        let mut command: Command = node.space.command(&program);
        command.args(["--bridge", "cni0", "--cpus", "1", "--run-dir"]).arg(&run_dir).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("{} (build it with cargo build --release)", program.display()))?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(anyhow!("the floor did not start"));
        }
        Ok(Self { child, run_dir })
    }

    fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        let _ = std::fs::remove_dir_all(&self.run_dir);
        if status.success() { Ok(()) } else { Err(anyhow!("the floor ended with {status}")) }
    }
}
