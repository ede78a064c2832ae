//! `podgate policy`: the compiled policy of a running gateway, or of manifests.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};
use podgate_flowtable::Epoch;

use super::instance::InstanceArgs;
use super::status::Format;
use super::{Outcome, block_on, survey, table};
use crate::api::{Client, Compilation, PolicyStats};
use crate::compile::{Limits, Locality, Settings, compile};
use crate::model::Cluster;

/// Look at policy as it is compiled.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate policy stats\n  podgate policy stats manifests/ --node worker-1")]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Stats(StatsArgs),
}

/// Say how large the compiled policy is, how near its limits, and how long the last change took.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate policy stats --name lab\n  \
    podgate policy stats examples/first-look\n  \
    podgate policy stats manifests/ --node worker-1 -o json\n\n\
    Without a PATH a running gateway is asked. With one, manifests are compiled here: as the gateway of\n\
    --node would, or without it as if every pod were on one node, which is more than any gateway holds.\n\
    What would be more than a limit is not put in force; the snapshot before stays.")]
struct StatsArgs {
    /// Files and directories with pods, namespaces, nodes and policies, in place of a gateway.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Compile as the gateway of this node.
    #[arg(long, value_name = "NODE", requires = "paths")]
    node: Option<String>,
    #[command(flatten)]
    instance: InstanceArgs,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: &PolicyArgs) -> Outcome {
    let PolicyCommand::Stats(args) = &args.command;
    let stats = if args.paths.is_empty() {
        let client = Client::new(&args.instance.paths()?.socket());
        block_on(client.policy_stats())??
    } else {
        let survey = survey::files(&args.paths)?;
        of(&survey.cluster, &locality(&survey.cluster, args.node.as_deref())?)?
    };
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&stats)?)?,
        Format::Table => out.write_all(render(&stats).as_bytes())?,
    }
    Ok(())
}

/// Where the cluster is looked at from.
fn locality(cluster: &Cluster, node: Option<&str>) -> anyhow::Result<Locality> {
    let Some(name) = node else { return Ok(Locality::Everything) };
    let own_addresses = cluster.nodes().get(name).map(|node| node.addresses.clone());
    let is_bound_to = cluster.pods().values().any(|pod| pod.node.as_deref() == Some(name));
    if own_addresses.is_none() && !is_bound_to {
        anyhow::bail!("there is no node {name:?}, and no pod's spec.nodeName says it; look at --node");
    }
    Ok(Locality::Node { name: Some(name.to_owned()), own_addresses: own_addresses.unwrap_or_default() })
}

fn of(cluster: &Cluster, locality: &Locality) -> anyhow::Result<PolicyStats> {
    let start = Instant::now();
    let compiled = compile(cluster, locality, &[], Settings::new(Epoch(1), 0))?;
    let took = start.elapsed();
    let mut stats = PolicyStats::new(&compiled.snapshot, compiled.sizes, Limits::default());
    stats.compilation = Some(Compilation::new(compiled.work, took));
    Ok(stats)
}

fn render(stats: &PolicyStats) -> String {
    let row = |what: &str, count: usize, of: &str| [what.to_owned(), count.to_string(), of.to_owned()];
    let near = |name: &str| {
        let limit = stats.limits.iter().find(|limit| limit.name == name);
        let percent = |limit: &crate::api::LimitUse| limit.used as f64 * 100.0 / limit.limit.max(1) as f64;
        limit.map_or_else(String::new, |limit| format!("{:.1} % of {}", percent(limit), limit.limit))
    };
    let rows = [
        row("policies in force", stats.policies, ""),
        row("rules", stats.rules, ""),
        row("endpoints", stats.endpoints, ""),
        row("addresses", stats.addresses, ""),
        row("identities", stats.identities, &near("identities")),
        row("rows", stats.rows, ""),
        row("pairs", stats.pairs, &near("pairs")),
        row("lists of ports", stats.lists, ""),
        row("ranges of ports", stats.ranges, ""),
        row("bytes of the table", stats.table_bytes, ""),
        row("bytes of the endpoint map", stats.endpoint_map_bytes, ""),
        row("bytes of names", stats.names_bytes, ""),
    ];
    let mut text = String::new();
    if let Some(epoch) = stats.epoch {
        text.push_str(&format!("snapshot {epoch}\n"));
    }
    text.push_str(&table::render(["WHAT", "COUNT", "LIMIT"], &rows));
    if let Some(compilation) = &stats.compilation {
        text.push_str(&told(compilation));
    }
    if let Some(enforced) = &stats.enforced {
        text.push_str(&format!("in force {:.1} ms after its change was seen", enforced.last_ms));
        if let (Some(half), Some(most)) = (enforced.p50_ms, enforced.p99_ms) {
            text.push_str(&format!(
                "; half of all changes within {half:.1} ms, 99 of 100 within {most:.1} ms"
            ));
        }
        text.push('\n');
    }
    text
}

fn told(compilation: &Compilation) -> String {
    let Compilation { milliseconds, pods, policies, namespaces, endpoints, rows, cells, .. } = compilation;
    let counted = survey::counted;
    if !compilation.incremental {
        return format!("compiled from scratch in {milliseconds:.2} ms\n");
    }
    let namespaces = counted(*namespaces, "namespace");
    let policies = match policies {
        1 => "1 policy".to_owned(),
        count => format!("{count} policies"),
    };
    format!(
        "last change: {}, {policies}, {namespaces}; compiled in {milliseconds:.2} ms: {}, {}, {} anew\n",
        counted(*pods, "pod"),
        counted(*endpoints, "endpoint"),
        counted(*rows, "row"),
        counted(*cells, "pair"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EnforceTimes, LimitUse};

    fn stats() -> PolicyStats {
        let limit = |name: &str, used, limit| LimitUse { name: name.to_owned(), used, limit };
        PolicyStats {
            epoch: Some(7),
            policies: 3,
            rules: 5,
            endpoints: 12,
            addresses: 20,
            identities: 9,
            rows: 4,
            pairs: 36,
            lists: 6,
            ranges: 11,
            table_bytes: 4_096,
            endpoint_map_bytes: 512,
            names_bytes: 2_048,
            limits: vec![limit("identities", 9, 65_536), limit("pairs", 36, 72)],
            compilation: Some(Compilation {
                milliseconds: 0.1234,
                incremental: true,
                pods: 1,
                policies: 0,
                namespaces: 2,
                endpoints: 1,
                rows: 0,
                cells: 4,
            }),
            enforced: Some(EnforceTimes { last_ms: 1.0, p50_ms: Some(1.25), p99_ms: Some(9.96) }),
        }
    }

    #[test]
    fn a_running_gateway_in_words() {
        let expected = "\
snapshot 7
WHAT                       COUNT  LIMIT
policies in force          3
rules                      5
endpoints                  12
addresses                  20
identities                 9      0.0 % of 65536
rows                       4
pairs                      36     50.0 % of 72
lists of ports             6
ranges of ports            11
bytes of the table         4096
bytes of the endpoint map  512
bytes of names             2048
last change: 1 pod, 0 policies, 2 namespaces; compiled in 0.12 ms: 1 endpoint, 0 rows, 4 pairs anew
in force 1.0 ms after its change was seen; half of all changes within 1.2 ms, 99 of 100 within 10.0 ms
";
        assert_eq!(render(&stats()), expected);
    }

    #[test]
    fn without_a_gateway_there_is_no_more_than_a_compilation() {
        let compilation = stats().compilation.map(|last| Compilation { incremental: false, ..last });
        let offline = PolicyStats { epoch: None, enforced: None, compilation, ..stats() };
        let text = render(&offline);
        assert!(text.starts_with("WHAT"), "{text}");
        assert!(text.ends_with("2048\ncompiled from scratch in 0.12 ms\n"), "{text}");
    }

    #[test]
    fn a_node_that_nobody_tells_of_is_refused() {
        assert!(locality(&Cluster::new(), Some("n1")).is_err());
        assert_eq!(locality(&Cluster::new(), None).unwrap(), Locality::Everything);
    }
}
