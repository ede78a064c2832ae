//! `podgate diff`: which connections a change allows or denies.

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::status::Format;
use super::survey::{GatewayName, headline, json, look, refused, tell};
use super::{Failure, Outcome};
use crate::tools::diff::diff;
use crate::tools::{Grouping, Survey};

/// Say which connections become allowed or denied between two states of manifests, or if some were
/// applied to a running gateway.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  podgate diff before/ after/\n  \
    podgate diff policies.old policies --with cluster.yaml --exit-code\n  \
    podgate diff --name lab new-policies/\n  \
    podgate diff --name lab all-policies/ --prune\n\n\
    What the manifests look like does not matter, only what they mean. `podgate explain` says why.\n\
    With --name: what would change if the PATHs were applied to what is in force there.\n\
    Exit code: 0; with --exit-code 1 if any connection changes; 2 bad usage or input.",
    override_usage = "podgate diff [OPTIONS] OLD NEW\n       podgate diff [OPTIONS] --name NAME PATH..."
)]
pub(super) struct DiffArgs {
    /// How it was, and how it will be: OLD and NEW. With --name: what would be applied.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    gateway: GatewayName,
    /// With --name: policies in force that are not among the PATHs would be gone.
    #[arg(long, requires = "name")]
    prune: bool,
    /// Files and directories that belong to both: pods, for instance.
    #[arg(long, value_name = "PATH", conflicts_with = "name")]
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
    let (old, new) = both(args)?;
    tell(&new);
    if let Some(note) = new.elsewhere() {
        eprintln!("note: {note}");
    }
    let difference = diff(&old, &new, args.by)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => json(&mut out, &old, &difference)?,
        Format::Table => {
            out.write_all(headline(&old).as_bytes())?;
            out.write_all(difference.render(look(&out).width).as_bytes())?;
        }
    }
    if args.exit_code && !difference.is_empty() { Err(Failure::Code(1)) } else { Ok(()) }
}

fn both(args: &DiffArgs) -> Result<(Survey, Survey), Failure> {
    let both = match args.gateway.in_force()? {
        Some(in_force) => in_force.before_and_after(&args.paths, args.prune),
        None => {
            let [old, new] = &args.paths[..] else {
                let error =
                    "two states are compared: give OLD and NEW, or --name and what would be applied there";
                return Err(anyhow!(error).into());
            };
            let paths =
                |path: &PathBuf| -> Vec<PathBuf> { [path].into_iter().chain(&args.with).cloned().collect() };
            Survey::read_both(paths(old), paths(new))
        }
    };
    both.map_err(|failed| refused(&failed))
}
