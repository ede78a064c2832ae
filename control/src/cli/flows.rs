//! `podgate flows`: what a running gateway remembers of flows.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::instance::InstanceArgs;
use super::status::Format;
use super::{Failure, Outcome, block_on};
use crate::api::{Client, FlowFilter, FlowNumber, FlowRecord, ProtocolName, STATES};

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
    In no particular order. SENT is what went as the first packet did, RETURNED what came back;\n\
    both are packets and bytes.")]
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
    /// Only those with this pod at either end.
    #[arg(long, value_name = "NAMESPACE/POD")]
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
    /// Only those in this state.
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
        if args.output == Format::Table {
            writeln!(out, "{}", line(HEAD))?;
        }
        while let Some(flow) = flows.next().await? {
            match args.output {
                Format::Json => writeln!(out, "{}", serde_json::to_string(&flow)?)?,
                Format::Table => writeln!(out, "{}", line(cells(&flow).each_ref().map(String::as_str)))?,
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
        Format::Table => std::io::stdout().write_all(told(&flow).as_bytes())?,
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

const HEAD: [&str; 11] =
    ["ID", "PROTOCOL", "STATE", "SOURCE", "DESTINATION", "AGE", "IDLE", "SENT", "RETURNED", "WAY", "VERDICT"];
const WIDTHS: [usize; 11] = [9, 8, 11, 34, 34, 7, 7, 14, 14, 8, 0];

/// Lines come as flows do: a column is as wide as its cells usually are, and a wider cell pushes.
fn line(cells: [&str; 11]) -> String {
    let padded = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:<width$}"));
    padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn cells(flow: &FlowRecord) -> [String; 11] {
    let verdict = match &flow.rule {
        Some(rule) => format!("{} by {rule}", flow.reason),
        None => flow.reason.clone(),
    };
    [
        flow.id.clone(),
        flow.protocol.clone(),
        flow.state.clone(),
        end(&flow.source, &flow.source_ip, flow.source_port, &flow.protocol),
        end(&flow.destination, &flow.destination_ip, flow.destination_port, &flow.protocol),
        lasting(flow.age_seconds),
        lasting(flow.idle_seconds),
        format!("{}/{}", flow.packets_sent, flow.bytes_sent),
        format!("{}/{}", flow.packets_returned, flow.bytes_returned),
        flow.way.clone(),
        verdict,
    ]
}

fn told(flow: &FlowRecord) -> String {
    let [id, protocol, state, source, destination, age, idle, sent, returned, way, verdict] = cells(flow);
    let assured = if flow.assured { "assured" } else { "not assured" };
    let device = flow.device.as_deref().unwrap_or("(gone)");
    let FlowRecord { egress, ingress, epoch, .. } = flow;
    let expires = lasting(flow.expires_seconds);
    format!(
        "flow {id}: {protocol} {state}, {assured}\n\
         from      {source}\n\
         to        {destination}\n\
         age       {age}, idle {idle}, forgotten after {expires} more of silence\n\
         sent      {sent} packets/bytes, returned {returned}\n\
         verdict   {verdict}; egress {egress}, ingress {ingress}; decided by snapshot {epoch}\n\
         way       {way}, first seen at {device}\n"
    )
}

fn end(name: &str, ip: &str, port: u16, protocol: &str) -> String {
    let who = if name == ip { ip.to_owned() } else { format!("{name} ({ip})") };
    match port {
        0 => who,
        port if protocol.starts_with("ICMP") => format!("{who} id {port}"),
        port => format!("{who} {port}"),
    }
}

fn lasting(seconds: f64) -> String {
    let rounded = Duration::from_secs(seconds as u64);
    if seconds < 10.0 {
        format!("{seconds:.1}s")
    } else {
        humantime::format_duration(rounded).to_string().replace(' ', "")
    }
}
