//! `podgate flows`: what a running gateway remembers of flows.

use std::io::Write;
use std::net::IpAddr;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::instance::InstanceArgs;
use super::status::Format;
use super::{Failure, Outcome, block_on, flow_table};
use crate::api::{Client, FlowFilter, FlowNumber, ProtocolName, STATES};
use crate::model::ObjectKey;

/// Flows that are held back to be sorted. More come as a stream, in the order of the table.
const SORTED: usize = 10_000;

/// Show the connections that a running gateway tracks, or forget some.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate flows list --pod shop/db --state ESTABLISHED\n  \
    podgate flows flush --pod shop/db --protocol udp")]
pub(super) struct FlowsArgs {
    #[command(subcommand)]
    command: FlowsCommand,
}

#[derive(Debug, Subcommand)]
enum FlowsCommand {
    List(ListArgs),
    Get(GetArgs),
    Flush(FlushArgs),
}

/// Show flows, one a line.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate flows list --pod shop/db\n  \
    podgate flows list --protocol tcp --port 5432 -o json --limit 100\n\n\
    Those that had a packet last come first, as long as there are not more than 10000. SENT is what went\n\
    as the first packet did, RETURNED what came back; both are packets and bytes. Addresses, and more, are\n\
    in 'podgate flows get' and -o json.")]
struct ListArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Not more than this many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How to print them; JSON is one object a line.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Show everything that is known of one flow.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate flows get 1c.3\n\nThe exit code is 1 if there is no such flow.")]
struct GetArgs {
    /// Its id, as 'podgate flows list' shows it.
    id: FlowNumber,
    #[command(flatten)]
    instance: InstanceArgs,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Forget flows: their next packet is judged as if it were their first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate flows flush --pod shop/db --protocol udp\n  \
    podgate flows flush --all\n\n\
    A TCP connection that is forgotten is cut: what comes of it is no opening packet.")]
struct FlushArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Forget all of them.
    #[arg(long)]
    all: bool,
}

/// Flows that fit all that is given.
#[derive(Clone, Debug, Args)]
struct FilterArgs {
    /// Only those with this pod, or node:NAME, at either end.
    #[arg(long, value_name = "NAMESPACE/POD", value_parser = pod)]
    pod: Option<String>,
    /// Only those with this address at either end.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// Only those with this port at either end.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only those of this protocol: TCP, UDP, SCTP, ICMP, ICMPv6 or a number.
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<ProtocolName>,
    /// Only those in this state, as in ESTABLISHED or UNREPLIED.
    #[arg(long, value_name = "STATE", ignore_case = true, hide_possible_values = true,
          value_parser = PossibleValuesParser::new(STATES))]
    state: Option<String>,
}

impl FilterArgs {
    fn filter(self, limit: Option<usize>) -> FlowFilter {
        let Self { pod, address, port, protocol, state } = self;
        FlowFilter { id: None, pod, address, port, protocol, state, limit }
    }
}

pub(super) fn run(args: FlowsArgs) -> Outcome {
    match args.command {
        FlowsCommand::List(args) => list(args),
        FlowsCommand::Get(args) => get(&args),
        FlowsCommand::Flush(args) => flush(args),
    }
}

fn list(args: ListArgs) -> Outcome {
    let client = Client::new(&args.instance.paths()?.socket());
    let filter = args.filter.filter(args.limit);
    block_on(async {
        let mut flows = client.flows(&filter).await?;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        match args.output {
            Format::Json => {
                while let Some(flow) = flows.next().await? {
                    writeln!(out, "{}", serde_json::to_string(&flow)?)?;
                }
            }
            Format::Table => {
                let mut first = Vec::new();
                while first.len() < SORTED
                    && let Some(flow) = flows.next().await?
                {
                    first.push(flow);
                }
                first.sort_by(|one, other| one.idle_seconds.total_cmp(&other.idle_seconds));
                if first.is_empty() {
                    eprintln!("{}", if filter.is_open() { "there are no flows" } else { "no flow fits" });
                    return anyhow::Ok(());
                }
                let columns = flow_table::Columns::of(&first);
                writeln!(out, "{}", columns.head())?;
                for flow in &first {
                    writeln!(out, "{}", columns.line(flow))?;
                }
                while let Some(flow) = flows.next().await? {
                    writeln!(out, "{}", columns.line(&flow))?;
                }
            }
        }
        out.flush()?;
        anyhow::Ok(())
    })??;
    Ok(())
}

fn get(args: &GetArgs) -> Outcome {
    let client = Client::new(&args.instance.paths()?.socket());
    let filter = FlowFilter { id: Some(args.id), limit: Some(1), ..FlowFilter::default() };
    let found = block_on(async { client.flows(&filter).await?.next().await })??;
    let Some(flow) = found else {
        eprintln!(
            "podgate: there is no flow {} (any more); 'podgate flows list' shows those there are",
            args.id
        );
        return Err(Failure::Code(1));
    };
    match args.output {
        Format::Json => writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&flow)?)?,
        Format::Table => std::io::stdout().write_all(flow_table::told(&flow).as_bytes())?,
    }
    Ok(())
}

fn flush(args: FlushArgs) -> Outcome {
    let filter = args.filter.filter(None);
    if filter.is_open() != args.all {
        let told = if args.all { "--all goes without a filter" } else { "say which (see --help), or --all" };
        return Err(anyhow::anyhow!("which flows are to be forgotten? {told}").into());
    }
    let client = Client::new(&args.instance.paths()?.socket());
    let flushed = block_on(client.flush(&filter))??;
    let flows = if flushed.removed == 1 { "flow" } else { "flows" };
    writeln!(std::io::stdout(), "{} {flows} forgotten", flushed.removed)?;
    Ok(())
}

fn pod(text: &str) -> Result<String, &'static str> {
    let is_node = text.strip_prefix("node:").is_some_and(|node| !node.is_empty());
    let is_pod = text.parse::<ObjectKey>().is_ok();
    if is_node || is_pod { Ok(text.into()) } else { Err("use NAMESPACE/POD, as in shop/db, or node:NAME") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_namespace() {
        for text in ["shop/db", "node:worker-1"] {
            assert_eq!(pod(text).as_deref(), Ok(text));
        }
        for text in ["", "db", "node:", "/db", "shop/"] {
            assert!(pod(text).is_err(), "{text}");
        }
    }
}
