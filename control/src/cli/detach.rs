//! `podgate detach`: take everything down.

use clap::Args;

use super::instance::InstanceArgs;
use super::{Outcome, block_on};
use crate::agent::{self, Paths, list_instances};

/// Remove every program, the trunk and the pins of a gateway that has ended: the wire is open.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate detach --name default\n\n\
    Run it in the network namespace that the gateway ran in. A gateway that still runs must be\n\
    stopped first. Where nothing is left, nothing is done.")]
pub(super) struct DetachArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Every gateway that has left something.
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

pub(super) fn run(args: &DetachArgs) -> Outcome {
    let run_dir = &args.instance.run_dir;
    let names = if args.all { list_instances(run_dir) } else { vec![args.instance.chosen()?] };
    if names.is_empty() {
        println!("nothing to detach in {}", run_dir.display());
    }
    for name in names {
        let report = block_on(agent::detach(&Paths::new(run_dir, &name), &name))??;
        println!("{name}: detached, {} pins removed; its ports are no longer guarded", report.pins);
    }
    Ok(())
}
