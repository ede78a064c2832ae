//! `podgate lab probe`: what becomes of connection attempts.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::{LabName, block_on, target};
use crate::cli::status::Format;
use crate::cli::{Failure, Outcome, table};
use crate::lab::Lab;
use crate::lab::probe::{Attempt, Attempted, Expectation, Target, probe, read_expectations};

/// Try connections in a lab and say what became of each, and which policy decided.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  podgate lab probe --from shop/frontend --to http://api.shop:8080/\n  \
    podgate lab probe --from shop/frontend --to pod:shop/db:5432 --to 10.96.0.10:53/UDP\n  \
    podgate lab probe --all --port 80 --port 53/UDP\n  \
    podgate lab probe --expect reachable.yaml\n\n\
    A target is http://HOST[:PORT]/, HOST:PORT[/UDP] or pod:NAMESPACE/NAME:PORT[/UDP]; a name is looked up\n\
    as a program in the pod would; of IPv6 and IPv4 the preferred is tried, then the other, as curl does. An\n\
    attempt is allowed (answered), dropped (silence), refused, dns-blocked (silence where the name was asked\n\
    for), dns-failed (an error there), no-such-name, or failed (could not be made, or no answer to HTTP).\n\
    An expectation is a list of\n\
    {from: shop/frontend, to: 'http://api.shop:8080/', expect: allowed, policy: shop/api}.\n\
    Exit code: 0; with --expect, 1 if anything came out otherwise; 2 for bad usage or input.")]
pub(super) struct ProbeArgs {
    #[command(flatten)]
    lab: LabName,
    /// Who tries: a pod (NAMESPACE/POD, deploy/NAME, ...), an external host, or node. Every pod if left out.
    #[arg(long, value_name = "HOST")]
    from: Vec<String>,
    /// The namespace of a host that is named without one.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// What is tried.
    #[arg(long, value_name = "TARGET", required_unless_present_any = ["all", "expect"])]
    to: Vec<Target>,
    /// Every pod, on each --port.
    #[arg(long, requires = "port")]
    all: bool,
    /// With --all: the port, as 80 or 53/UDP.
    #[arg(long, value_name = "PORT")]
    port: Vec<String>,
    /// Try what this file lists, and hold the lab to it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "all"])]
    expect: Option<PathBuf>,
    /// How long silence has to last.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = patience)]
    timeout: Duration,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// The shortest silence that says anything.
const SHORTEST: Duration = Duration::from_millis(10);

fn patience(text: &str) -> Result<Duration, String> {
    let patience = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if patience < SHORTEST {
        return Err("no answer comes in so short a time; wait 10ms at least".to_owned());
    }
    Ok(patience)
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    attempted: &'a Attempted,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrong: Option<String>,
}

pub(super) fn run(args: &ProbeArgs) -> Outcome {
    let lab = Lab::open(&args.lab.chosen()?)?;
    let expected = match &args.expect {
        Some(path) => read_expectations(path).map_err(anyhow::Error::from)?,
        None => Vec::new(),
    };
    let attempts = match &args.expect {
        Some(_) => expected
            .iter()
            .map(|one| attempt(&lab, args, &one.from, one.to.clone()))
            .collect::<Result<_, _>>()?,
        None => given(&lab, args)?,
    };
    let attempted = block_on(probe(&lab, attempts, args.timeout))??;
    let wrong = |(number, attempted): (usize, &Attempted)| {
        expected.get(number).and_then(|expected: &Expectation| expected.missed_by(attempted))
    };
    let wrong: Vec<Option<String>> = attempted.iter().enumerate().map(wrong).collect();
    let misses = wrong.iter().flatten().count();
    let rows = attempted.iter().zip(wrong).map(|(attempted, wrong)| Row { attempted, wrong });
    let rows: Vec<Row<'_>> = rows.collect();
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?,
        Format::Table => out.write_all(rendered(&rows, args.expect.is_some()).as_bytes())?,
    }
    if misses > 0 { Err(Failure::Code(1)) } else { Ok(()) }
}

fn attempt(lab: &Lab, args: &ProbeArgs, from: &str, to: Target) -> anyhow::Result<Attempt> {
    let from = target::resolve(lab, from, args.namespace.as_deref())?;
    Ok(Attempt { from, to })
}

/// Every pair that the options name; no pod tries itself.
fn given(lab: &Lab, args: &ProbeArgs) -> anyhow::Result<Vec<Attempt>> {
    let pods: Vec<String> =
        lab.pods().filter(|pod| !pod.serves_dns).map(|pod| pod.reference.clone()).collect();
    let sources = if args.from.is_empty() { &pods } else { &args.from };
    let mut attempts = Vec::new();
    for from in sources {
        for to in &args.to {
            attempts.push(attempt(lab, args, from, to.clone())?);
        }
        for to in pods.iter().filter(|to| args.all && *to != from) {
            for port in &args.port {
                attempts.push(attempt(lab, args, from, format!("pod:{to}:{port}").parse()?)?);
            }
        }
    }
    if attempts.is_empty() {
        bail!("there is nothing to try: the lab has no two pods");
    }
    Ok(attempts)
}

fn rendered(rows: &[Row<'_>], is_held: bool) -> String {
    let cells = |row: &Row<'_>| {
        let Attempted { from, to, outcome, why, policies, address, destination } = row.attempted;
        let by = if why.starts_with("by ") || policies.is_empty() {
            why.clone()
        } else {
            format!("{why}: {}", policies.join(", "))
        };
        // What is written there already is not said again.
        let found = [address.map(|address| address.to_string()), destination.clone()].into_iter().flatten();
        let found: Vec<String> = found.filter(|one| !to.contains(one.as_str())).collect();
        let to = match found.as_slice() {
            _ if to.starts_with("pod:") => to.clone(),
            [] => to.clone(),
            found => format!("{to} ({})", found.join(", ")),
        };
        let held = row
            .wrong
            .clone()
            .unwrap_or_else(|| if is_held { "as expected".to_owned() } else { String::new() });
        [from.clone(), to, outcome.name().to_owned(), by, held]
    };
    let rows: Vec<[String; 5]> = rows.iter().map(cells).collect();
    table::render(["FROM", "TO", "OUTCOME", "DECIDED BY", if is_held { "EXPECTED" } else { "" }], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_patience_is_no_way_to_tell_silence() {
        for (text, read) in [("10ms", Some(10)), ("1s", Some(1000)), ("0s", None), ("9ms", None), ("1", None)]
        {
            assert_eq!(patience(text).ok(), read.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_row_says_which_address_was_tried() {
        let row = |to: &str, address: &str, pod: Option<&str>| {
            let attempted = Attempted {
                from: "shop/web".into(),
                to: to.into(),
                outcome: crate::lab::probe::Outcome::Allowed,
                why: "by a/b ingress[0]".into(),
                policies: vec!["a/b".into()],
                address: address.parse().ok(),
                destination: pod.map(str::to_owned),
            };
            let text = rendered(&[Row { attempted: &attempted, wrong: None }], false);
            text.lines().nth(1).unwrap_or_default().split("  ").nth(1).unwrap_or_default().trim().to_owned()
        };
        assert_eq!(row("http://a/", "fd00::1", Some("shop/a-0")), "http://a/ (fd00::1, shop/a-0)");
        assert_eq!(row("10.96.0.1:80", "10.96.0.1", Some("shop/a-0")), "10.96.0.1:80 (shop/a-0)");
        assert_eq!(row("10.96.0.1:80", "10.96.0.1", None), "10.96.0.1:80");
        assert_eq!(row("pod:shop/a:80", "10.0.0.1", Some("shop/a")), "pod:shop/a:80");
    }
}
