//! The API server is away for long: whether anything changes for a pod that may send and for one that may not, and
//! what the gateway says of itself meanwhile.
//!
//! In the first half the connection is cut off, so that nothing comes and nothing breaks; in the second the server
//! is not there, and connections are refused. Afterwards the server is back, and the next change is obeyed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use nix::sys::signal::Signal;
use podgate_benches::obeyed::await_verdict;
use podgate_benches::served::api_of;
use podgate_control::api::Readiness;
use podgate_netns_tests::manifest::policy;
use podgate_netns_tests::space::finish;
use podgate_netns_tests::traffic::Stamped;
use podgate_netns_tests::{Gateway, Node};

/// Measure what becomes of a node whose API server is away.
#[derive(Parser)]
struct Options {
    /// How long it is away.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Datagrams a second of each probe.
    #[arg(long, default_value_t = 500)]
    probe_pps: u32,
}

const ALLOWED: u16 = 7000;
const DENIED: u16 = 7001;
const ADDRESS: &str = "127.0.0.1:9474";
const QUIET: Duration = Duration::from_millis(300);
/// How often probes are counted and the gateway is asked.
const EVERY: Duration = Duration::from_secs(1);
/// So soon the gateway has to have noticed, and to have noticed that it is over.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// What was seen while the server was away.
#[derive(Default)]
struct Seen {
    looks: u32,
    /// `/healthz` did not say 200.
    not_alive: u32,
    /// `/readyz` did not say 200, or said that all is current.
    not_honest: u32,
    /// Seconds in which nothing of the pod that may send came.
    silent: u32,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let node = Node::with_pods(&["bench/client", "bench/other", "bench/server"]);
    let mut api = api_of(&node);
    api.client().apply(&admitting("client"));
    let silence = ["--api-silence", "3s", "--listen", ADDRESS, "--on-exit", "detach"];
    let mut gateway = Gateway::of_api(&node, &api, &silence);
    let server = node.pod("bench/server");
    let probe = |from: &str, port| {
        Stamped::start(&node.pod(from).space, &server.space, server.v4, port, options.probe_pps)
    };
    let (allowed, denied) = (probe("bench/client", ALLOWED), probe("bench/other", DENIED));
    await_verdict(&allowed, true, 0)?;

    let half = Duration::from_secs(options.seconds / 2);
    let mut seen = Seen::default();
    api.cut_off(&node.space);
    let cut = Instant::now();
    let noticed = until(&node, false)?;
    look(&node, &allowed, half.saturating_sub(cut.elapsed()), &mut seen)?;
    api.end();
    api.mend(&node.space);
    look(&node, &allowed, half, &mut seen)?;
    let back = Instant::now();
    api.launch(&node.space);
    let current = until(&node, true)?;
    let (sent, away) = (allowed.sent(), back - cut);
    api.client().apply(&admitting("nobody"));
    await_verdict(&allowed, false, sent)?;

    let (allowed, denied) = (allowed.stop(QUIET), denied.stop(QUIET));
    let while_away = allowed.between(cut, back);
    let lost = while_away.clone().filter(|number| !allowed.came[*number]).count();
    let let_through = denied.came.iter().filter(|came| **came).count();
    println!("away for {:.0} s, {} looks", away.as_secs_f64(), seen.looks);
    println!("noticed after {noticed:.1} s; current again {current:.1} s after the server was started");
    println!("of {} datagrams that may pass, lost while it was away: {lost}", while_away.len());
    println!("seconds in which none of them came: {}", seen.silent);
    println!("of {} datagrams that may not, let through: {let_through}", denied.came.len());
    println!("looks at which /healthz was not 200: {}", seen.not_alive);
    println!("looks at which /readyz was not 200, or said that all is current: {}", seen.not_honest);
    gateway.end(Signal::SIGTERM);
    Ok(())
}

fn admitting(app: &str) -> String {
    let spec = format!(
        "{{podSelector: {{matchLabels: {{app: server}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: \
         {app}}}}}}}]}}]}}"
    );
    policy("bench/admitting", &spec)
}

/// Looks at the gateway and the probe once a second for so long.
fn look(node: &Node, allowed: &Stamped, time: Duration, seen: &mut Seen) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        let before = allowed.newest();
        std::thread::sleep(EVERY);
        seen.looks += 1;
        seen.silent += u32::from(allowed.newest() == before);
        seen.not_alive += u32::from(ask(node, "/healthz")?.0 != 200);
        let (code, readiness) = readiness(node)?;
        seen.not_honest += u32::from(code != 200 || is_current(&readiness));
    }
    Ok(())
}

/// Waits until readiness says that what is in force is current, or that it is not; seconds.
fn until(node: &Node, current: bool) -> anyhow::Result<f64> {
    let start = Instant::now();
    while is_current(&readiness(node)?.1) != current {
        if start.elapsed() > NOTICED_WITHIN {
            bail!("/readyz does not say that policy is {}current", if current { "" } else { "not " });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(start.elapsed().as_secs_f64())
}

fn is_current(readiness: &Readiness) -> bool {
    readiness.source.as_ref().is_some_and(|source| source.synced)
}

fn readiness(node: &Node) -> anyhow::Result<(u16, Readiness)> {
    let (code, said) = ask(node, "/readyz")?;
    Ok((code, serde_json::from_str(&said).context(said)?))
}

fn ask(node: &Node, path: &str) -> anyhow::Result<(u16, String)> {
    let url = format!("http://{ADDRESS}{path}");
    let mut command = node.space.command("curl");
    let answer = finish(command.args([
        "-sS",
        "-m",
        "5",
        "-w",
        "\n%{http_code}",
        "-H",
        "Accept: application/json",
        &url,
    ]));
    ensure!(answer.code == 0, "{url}: {}", answer.stderr);
    let (said, code) = answer.stdout.rsplit_once('\n').context("no code")?;
    Ok((code.parse()?, said.to_owned()))
}
