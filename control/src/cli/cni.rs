//! `podgate cni`: the plugin put on a node, and taken off it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::Outcome;
use crate::cni::{self, Installed, Mode, PLUGIN, Places, Settings, Uninstalled};

/// Put the CNI plugin podgate-cni on this node, or take it off: with it, a pod starts when its port is guarded.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate cni install\n  podgate cni uninstall")]
pub(super) struct CniArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Install(InstallArgs),
    Uninstall(UninstallArgs),
}

/// Copy podgate-cni to this node's plugins and add it to the end of its network configuration.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  podgate cni install --cni-bin-dir /host/opt/cni/bin --cni-conf-dir /host/etc/cni/net.d\n\n\
    The first configuration by name is the one that runtimes take. A list gets one more plugin, and is\n\
    otherwise left as it is; a single configuration becomes a list. Where all of that is so already,\n\
    nothing is done: it can be run at every start."
)]
struct InstallArgs {
    #[command(flatten)]
    places: PlacesArgs,
    /// The program to copy; by default podgate-cni beside this program.
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Where the gateway answers, as this node sees it.
    #[arg(long, value_name = "PATH", default_value = cni::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// How long a pod's start waits for the gateway.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = timeout)]
    timeout: Duration,
    /// What becomes of a pod whose port cannot be guarded: it does not start, or it does.
    #[arg(long, value_enum, default_value_t = Mode::Closed)]
    mode: Mode,
}

/// Take podgate-cni out of this node's network configurations and remove it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate cni uninstall\n\n\
    Guarded ports stay guarded; 'podgate detach' opens them.")]
struct UninstallArgs {
    #[command(flatten)]
    places: PlacesArgs,
}

#[derive(Debug, Args)]
struct PlacesArgs {
    /// Where this node has its CNI plugins.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin", env = "PODGATE_CNI_BIN_DIR")]
    cni_bin_dir: PathBuf,
    /// Where this node has its network configurations.
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d", env = "PODGATE_CNI_CONF_DIR")]
    cni_conf_dir: PathBuf,
}

impl From<PlacesArgs> for Places {
    fn from(args: PlacesArgs) -> Self {
        Self { bin_dir: args.cni_bin_dir, conf_dir: args.cni_conf_dir }
    }
}

pub(super) fn run(args: CniArgs) -> Outcome {
    match args.command {
        Command::Install(args) => install(args),
        Command::Uninstall(UninstallArgs { places }) => {
            let Uninstalled { configurations, program } = cni::uninstall(&places.into())?;
            if configurations.is_empty() && program.is_none() {
                println!("{PLUGIN} was not on this node");
            }
            for path in configurations {
                println!("{} no longer names {PLUGIN}", path.display());
            }
            if let Some(program) = program {
                println!("{} is removed", program.display());
            }
            Ok(())
        }
    }
}

fn install(args: InstallArgs) -> Outcome {
    let plugin = match args.plugin {
        Some(given) => given,
        None => {
            std::env::current_exe().context("where this program is cannot be told")?.with_file_name(PLUGIN)
        }
    };
    let settings = Settings { socket: args.socket, timeout: args.timeout, mode: args.mode };
    let Installed { program, configuration, is_copied, is_changed } =
        cni::install(&args.places.into(), &plugin, &settings)?;
    let (program, configuration) = (program.display(), configuration.display());
    let names = if is_changed { "names it now" } else { "names it already" };
    let is_there = if is_copied { "is installed" } else { "was there already" };
    println!("{program} {is_there}; {configuration} {names}");
    Ok(())
}

fn timeout(text: &str) -> Result<Duration, String> {
    cni::parse_timeout(text).ok_or_else(|| "give a duration of at most 2m, as 5s or 500ms".into())
}
