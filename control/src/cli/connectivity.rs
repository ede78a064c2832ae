//! `podgate connectivity`: who can reach whom.

use std::io::Write;

use clap::Args;

use super::Outcome;
use super::status::Format;
use super::survey::{SourceArgs, headline, json, look};
use crate::tools::connectivity::{by_destination, connectivity, edges, matrix};
use crate::tools::explain::PortQuery;
use crate::tools::{Grouping, Judge};

/// Say who can reach whom, from manifests alone or as a running gateway has it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate connectivity examples/first-look\n  \
    podgate connectivity examples/first-look --port 8080\n  \
    podgate connectivity pods/ policies/ --edges\n  \
    podgate connectivity --name lab --port 8080\n\n\
    Exit code: 0, or 2 for bad usage or input.\n\
    Without --port: for each destination, the ports that may be opened and by whom. With it: a matrix.\n\
    A pod may always reach itself, and its node may always reach it; that is not shown.")]
pub(super) struct ConnectivityArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Only this destination port: 80/TCP, 53/UDP, the name it has on each pod, or icmp.
    #[arg(long, value_name = "PORT")]
    port: Option<PortQuery>,
    /// How to put pods together.
    #[arg(long, value_enum, default_value_t = Grouping::Workload)]
    by: Grouping,
    /// A line for each pair that can open anything, instead.
    #[arg(long)]
    edges: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: &ConnectivityArgs) -> Outcome {
    let survey = args.source.survey()?;
    let judge = Judge::new(&survey.cluster)?;
    let found = connectivity(&survey, &judge, args.by, args.port.as_ref());
    let mut out = std::io::stdout().lock();
    if args.output == Format::Json {
        return json(&mut out, &survey, &found);
    }
    if let Some(note) = survey.elsewhere() {
        eprintln!("note: {note}");
    }
    for (pod, why) in &found.absent {
        eprintln!("note: {pod} is left out: {why}");
    }
    let text = match &args.port {
        _ if args.edges => edges(&found),
        Some(port) => matrix(&found, &port.to_string()),
        None => by_destination(&found, look(&out).width),
    };
    out.write_all(headline(&survey).as_bytes())?;
    out.write_all(text.as_bytes())?;
    Ok(())
}
