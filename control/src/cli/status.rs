//! `podgate status`: how a running gateway is.

use std::collections::BTreeMap;
use std::io::Write;

use clap::{Args, ValueEnum};

use super::instance::InstanceArgs;
use super::{Outcome, block_on, source_status, table};
use crate::api::{
    ChangeReport, Client, FenceStatus, FlowTableStatus, FragmentCounts, PortStatus, QuotaUse, Status,
    TimeToPolicy,
};

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
    text.push_str(&fence(status));
    text.push_str(&match (status.epoch, status.snapshot_age_seconds, status.last_publish_ms) {
        (Some(epoch), Some(age), Some(took)) => format!(
            "snapshot {epoch}, in force for {age:.0} s ({took:.1} ms after its change): {} policies, {} endpoints, \
             {} identities, {} bytes\n",
            status.policies, status.endpoints, status.identities, status.table_bytes
        ),
        _ => "no snapshot in force yet: every frame is dropped\n".to_owned(),
    });
    text.push_str(&source_status::render(&status.source));
    if let Some(within) = status.publish_p99_ms {
        text.push_str(&format!("99 of 100 changes were in force within {within:.1} ms of being seen\n"));
    }
    if let Some(TimeToPolicy { pods, p50_ms, p99_ms, max_ms }) = &status.time_to_policy {
        text.push_str(&format!(
            "{pods} new pods were closed until their policy was in force: half within {p50_ms:.1} ms, 99 of 100 \
             within {p99_ms:.1} ms, all within {max_ms:.1} ms\n"
        ));
    }
    text.push_str(&flows(status));
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
                behind(port),
                port.addresses.join(" "),
                port.forwarded.to_string(),
                port.drops.values().sum::<u64>().to_string(),
                port.time_to_policy_ms.map_or_else(|| "-".into(), |took| format!("{took:.1} ms")),
                reasons(&port.drops),
            ]
        })
        .collect();
    text.push_str(&table::render(
        ["DEVICE", "POD", "ADDRESSES", "FORWARDED", "DROPPED", "TIME TO POLICY", "REASONS"],
        &ports,
    ));
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

/// The pod at a port, or who it is to be.
fn behind(port: &PortStatus) -> String {
    let told = port.cni.as_ref().and_then(|told| told.pod.as_ref());
    match (&port.pod, told) {
        (Some(pod), _) => pod.clone(),
        (None, Some(told)) => format!("(closed: {told}, which is not known)"),
        (None, None) => "(no known pod)".into(),
    }
}

fn fence(status: &Status) -> String {
    let Some(FenceStatus { table, is_whole, open_ports, dropped_from_pods, dropped_to_pods, put_back }) =
        &status.fence
    else {
        return "fence: none; new pods are open until they are guarded\n".to_owned();
    };
    let state = if *is_whole { "closes" } else { "SHOULD CLOSE" };
    let mut text = format!(
        "fence: nft table {table} {state} all veths but {open_ports}; {dropped_from_pods} frames from such pods and \
         {dropped_to_pods} to them dropped"
    );
    if *put_back > 0 {
        text.push_str(&format!("; put back {put_back} times"));
    }
    text + "\n"
}

fn flows(status: &Status) -> String {
    let FlowTableStatus { opened, expired, evicted, full, over_flow_quota, over_half_open_quota, .. } =
        &status.flow_table;
    let mut text = format!(
        "flows {} of {}: {opened} opened, {expired} expired, {evicted} evicted, {} cut by changes of policy\n",
        status.flows, status.flow_capacity, status.flows_cut
    );
    if full + over_flow_quota + over_half_open_quota > 0 {
        let over = over_flow_quota + over_half_open_quota;
        text.push_str(&format!("flows refused: {full} without room, {over} over their pod's quota\n"));
    }
    let FlowTableStatus { flows_per_pod, half_open_per_pod, near_quota, fragments, .. } = &status.flow_table;
    for QuotaUse { pod, device, passage, flows, half_open } in near_quota {
        let who = pod.as_deref().unwrap_or(device);
        text.push_str(&format!(
            "near its quota: {who} {passage}, {flows} of {flows_per_pod} flows, {half_open} of \
             {half_open_per_pod} half-open\n"
        ));
    }
    let FragmentCounts { recorded, completed, overlapping, evicted, over_quota } = fragments;
    if *recorded > 0 {
        text.push_str(&format!(
            "fragmented datagrams {recorded}: {completed} complete, {overlapping} overlapping, {evicted} evicted, \
             {over_quota} over their pod's share\n"
        ));
    }
    text + &format!("events lost {}\n", status.events_lost)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_table_takes_one_line() {
        let status = Status { flows: 3, flow_capacity: 131_072, ..Status::default() };
        assert_eq!(
            flows(&status),
            "flows 3 of 131072: 0 opened, 0 expired, 0 evicted, 0 cut by changes of policy\nevents lost 0\n"
        );
        assert!(render(&status).contains(&flows(&status)));
    }

    #[test]
    fn a_table_under_pressure_says_who_and_what() {
        let full_of = |pod: Option<&str>, passage: &str, flows, half_open| QuotaUse {
            pod: pod.map(str::to_owned),
            device: "veth9".into(),
            passage: passage.into(),
            flows,
            half_open,
        };
        let flow_table = FlowTableStatus {
            opened: 2_000,
            expired: 900,
            removed: 7,
            evicted: 100,
            reopened: 3,
            full: 2,
            over_flow_quota: 5,
            over_half_open_quota: 11,
            flows_per_pod: 1024,
            half_open_per_pod: 256,
            near_quota: vec![
                full_of(Some("shop/web"), "from-pod", 1024, 3),
                full_of(None, "to-pod", 250, 250),
            ],
            fragments: FragmentCounts {
                recorded: 9,
                completed: 6,
                overlapping: 2,
                evicted: 1,
                over_quota: 3,
            },
        };
        let status = Status {
            flows: 990,
            flow_capacity: 1000,
            flows_cut: 4,
            flow_table,
            events_lost: 8,
            ..Status::default()
        };
        let expected = "\
flows 990 of 1000: 2000 opened, 900 expired, 100 evicted, 4 cut by changes of policy
flows refused: 2 without room, 16 over their pod's quota
near its quota: shop/web from-pod, 1024 of 1024 flows, 3 of 256 half-open
near its quota: veth9 to-pod, 250 of 1024 flows, 250 of 256 half-open
fragmented datagrams 9: 6 complete, 2 overlapping, 1 evicted, 3 over their pod's share
events lost 8
";
        assert_eq!(flows(&status), expected);
    }
}
