//! `podgate observe`: which frames were dropped and which flows opened, and which policy said so.

use std::io::Write;

use clap::Args;

use super::instance::InstanceArgs;
use super::status::Format;
use super::{Outcome, block_on};
use crate::api::{Client, EventFilter, EventLine, EventRecord, VerdictWord};
use crate::model::ObjectKey;

/// Say which frames were dropped and which flows were opened, when, by whom, and which policy
/// decided.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate observe --verdict dropped --follow\n  \
    podgate observe --pod shop/db --last 20 -o json\n\n\
    There is an event for every dropped frame and for every flow that opens; not for each frame of\n\
    a flow. The last 4096 are kept.")]
pub(super) struct ObserveArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Only these.
    #[arg(long, value_enum)]
    verdict: Option<VerdictWord>,
    /// Only those with this pod at either end.
    #[arg(long, value_name = "NAMESPACE/POD")]
    pod: Option<ObjectKey>,
    /// Go on with what happens from now on.
    #[arg(short, long)]
    follow: bool,
    /// At most this many of those that are kept.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// How to print them; JSON is one object a line.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: &ObserveArgs) -> Outcome {
    let client = Client::new(&args.instance.paths()?.socket());
    let filter = EventFilter {
        verdict: args.verdict,
        pod: args.pod.as_ref().map(ToString::to_string),
        follow: args.follow,
        last: args.last,
    };
    block_on(async {
        let mut events = client.events(&filter).await?;
        while let Some(line) = events.next().await? {
            let event = match line {
                EventLine::Event(event) => event,
                EventLine::Lost { lost } => {
                    eprintln!("podgate: {lost} events were lost: they came faster than they were read here");
                    continue;
                }
            };
            let line = match args.output {
                Format::Json => serde_json::to_string(&event)?,
                Format::Table => render(&event),
            };
            // A lock per line: stdout is not held while waiting for the next event.
            writeln!(std::io::stdout().lock(), "{line}")?;
        }
        anyhow::Ok(())
    })??;
    Ok(())
}

fn render(event: &EventRecord) -> String {
    let verdict = match event.verdict {
        VerdictWord::Forwarded => "forwarded",
        VerdictWord::Dropped => "DROPPED  ",
    };
    let end = |name: &Option<String>, ip: &Option<String>| match (name, ip) {
        (Some(name), Some(ip)) if name != ip => format!("{name} ({ip})"),
        (Some(name), _) | (None, Some(name)) => name.clone(),
        (None, None) => "?".into(),
    };
    let what = match (&event.protocol, event.destination_port) {
        (Some(protocol), 0) => protocol.clone(),
        (Some(protocol), port) if protocol.starts_with("ICMP") => format!("{protocol} id {port}"),
        (Some(protocol), port) => format!("{protocol}/{port}"),
        (None, _) => event.device.clone().unwrap_or_default(),
    };
    let mut line = format!(
        "{} {verdict} {} -> {} {what}  {}",
        event.time,
        end(&event.source, &event.source_ip),
        end(&event.destination, &event.destination_ip),
        event.reason
    );
    if let Some(called) = event.called {
        let service = event
            .service
            .as_ref()
            .map_or_else(|| called.to_string(), |name| format!("{name}:{} ({called})", called.port()));
        line.push_str(&format!("  asked for {service}"));
    }
    match (&event.rule, &event.policies[..]) {
        (Some(rule), _) => line.push_str(&format!("  by {rule}")),
        (None, []) => {}
        (None, policies) => line.push_str(&format!("  isolated by {}", policies.join(", "))),
    }
    if event.policies_left_out > 0 {
        line.push_str(&format!(" and {} more", event.policies_left_out));
    }
    line
}
