//! `podgate status`: how a running gateway is.

use std::collections::BTreeMap;
use std::io::Write;

use clap::{Args, ValueEnum};

use super::instance::InstanceArgs;
use super::{Outcome, block_on, table};
use crate::api::{ChangeReport, Client, Status};

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Say how a running gateway is: ports and their pods, policy in force, drops, workers, alarms.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate status\n  podgate status --name lab -o json")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: &StatusArgs) -> Outcome {
    let client = Client::new(&args.instance.paths()?.socket());
    let status = block_on(client.status())??;
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?,
        Format::Table => out.write_all(render(&status).as_bytes())?,
    }
    Ok(())
}

fn render(status: &Status) -> String {
    let mut text = format!(
        "gateway {} on {}, process {}, up {:.0} s; without a live worker: {}; on exit: {}\n",
        status.name, status.bridge, status.pid, status.uptime_seconds, status.fallback, status.on_exit
    );
    text.push_str(&match (status.epoch, status.snapshot_age_seconds, status.last_publish_ms) {
        (Some(epoch), Some(age), Some(took)) => format!(
            "snapshot {epoch}, in force for {age:.0} s ({took:.1} ms after its change): {} policies, {} endpoints, \
             {} identities, {} bytes\n",
            status.policies, status.endpoints, status.identities, status.table_bytes
        ),
        _ => "no snapshot in force yet: every frame is dropped\n".to_owned(),
    });
    if let Some(within) = status.publish_p99_ms {
        text.push_str(&format!("99 of 100 changes were in force within {within:.1} ms of being seen\n"));
    }
    text.push_str(&format!(
        "flows {} of {}, cut by changes of policy {}; events lost {}\n",
        status.flows, status.flow_capacity, status.flows_cut, status.events_lost
    ));
    if let Some(change) = &status.last_change {
        text.push_str(&told(change));
    }
    for alarm in &status.alarms {
        text.push_str(&format!("ALARM {alarm}\n"));
    }
    text.push('\n');
    let ports: Vec<_> = status
        .ports
        .iter()
        .map(|port| {
            [
                port.device.clone(),
                port.pod.clone().unwrap_or_else(|| "(no known pod)".into()),
                port.addresses.join(" "),
                port.forwarded.to_string(),
                port.drops.values().sum::<u64>().to_string(),
                reasons(&port.drops),
            ]
        })
        .collect();
    text.push_str(&table::render(["DEVICE", "POD", "ADDRESSES", "FORWARDED", "DROPPED", "REASONS"], &ports));
    text.push('\n');
    let workers: Vec<_> = status
        .workers
        .iter()
        .map(|worker| {
            [
                worker.worker.to_string(),
                worker.cpu.map_or_else(|| "any".into(), |cpu| cpu.to_string()),
                if worker.alive { "yes" } else { "NO" }.to_owned(),
                worker.received.to_string(),
                (worker.rx_dropped + worker.rx_ring_full + worker.rx_fill_ring_empty + worker.tx_refused)
                    .to_string(),
            ]
        })
        .collect();
    text.push_str(&table::render(["WORKER", "CPU", "ALIVE", "FRAMES", "RING DROPS"], &workers));
    text
}

fn told(change: &ChangeReport) -> String {
    let ChangeReport { epoch, allowed, cut, kept, .. } = change;
    let mut text = format!("live flows at snapshot {epoch}: {allowed} still allowed, {cut} cut");
    if *kept > 0 {
        text.push_str(&format!(", {kept} kept though no longer allowed"));
    }
    text + "\n"
}

fn reasons(drops: &BTreeMap<String, u64>) -> String {
    drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}
