//! `podgate diff`: which connections a change allows or denies.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::status::Format;
use super::survey::{refused, tell};
use super::{Failure, Outcome};
use crate::tools::diff::diff;
use crate::tools::{Grouping, Survey};

/// Say which connections become allowed or denied between two states of manifests.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate diff before/ after/\n  \
    podgate diff policies.old policies --with cluster.yaml --exit-code\n\n\
    What the manifests look like does not matter, only what they mean. `podgate explain` says why.\n\
    Exit code: 0; with --exit-code 1 if any connection changes; 2 bad usage or input.")]
pub(super) struct DiffArgs {
    /// A file or directory: how it was.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// A file or directory: how it will be.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Files and directories that belong to both: pods, for instance.
    #[arg(long, value_name = "PATH")]
    with: Vec<PathBuf>,
    /// How to put pods together.
    #[arg(long, value_enum, default_value_t = Grouping::Workload)]
    by: Grouping,
    /// Exit with 1 if any connection changes.
    #[arg(long)]
    exit_code: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: &DiffArgs) -> Outcome {
    let paths = |path: &PathBuf| -> Vec<PathBuf> { [path].into_iter().chain(&args.with).cloned().collect() };
    let both = Survey::read_both(paths(&args.old), paths(&args.new));
    let (old, new) = both.map_err(|failed| refused(&failed))?;
    tell(&new);
    let difference = diff(&old, &new, args.by)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&difference)?)?,
        Format::Table => out.write_all(difference.render().as_bytes())?,
    }
    if args.exit_code && !difference.is_empty() { Err(Failure::Code(1)) } else { Ok(()) }
}
