//! `podgate run`: the gateway on an existing bridge.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::gateway_args::{GatewayArgs, OnExitArg};
use super::survey::refused;
use super::{Outcome, block_on};
use crate::agent::{self, DevicePattern, RunError, RunOptions};
use crate::source::Workloads;

/// Run the gateway on an existing bridge, until told to end.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  podgate run --bridge cni0 --manifests /etc/podgate/manifests --cpus 1\n  \
    podgate run --routed 'veth*' --manifests /etc/podgate/manifests\n\n\
    Every veth port of the bridge is guarded; a pod is found by the addresses at its end of the veth.\n\
    When told to end, the guard stays up (--on-exit hold): nothing passes until a gateway runs again,\n\
    or 'podgate detach' opens the wire."
)]
pub(super) struct RunArgs {
    /// The bridge whose ports are guarded.
    #[arg(long, value_name = "DEVICE", env = "PODGATE_BRIDGE", required_unless_present = "routed")]
    bridge: Option<String>,
    /// Veths that lead to pods and are ports of no bridge, as the CNI plugin ptp makes them: a name, or how names
    /// begin and a '*'. No other veth may have such a name.
    #[arg(long, value_name = "PATTERN", env = "PODGATE_ROUTED")]
    routed: Option<DevicePattern>,
    /// A file or directory of Kubernetes manifests, watched; may be given again.
    #[arg(long, required = true, value_name = "PATH", env = "PODGATE_MANIFESTS")]
    manifests: Vec<PathBuf>,
    /// The instance's name.
    #[arg(long, default_value = "default", value_name = "NAME", env = "PODGATE_NAME")]
    name: String,
    /// A veth that leads to no pod and stays unguarded; may be given again.
    #[arg(long, value_name = "DEVICE")]
    except: Vec<String>,
    /// YAML that gives addresses to pods whose manifest has no status.podIPs: "namespace/pod: [address]".
    #[arg(long, value_name = "FILE")]
    pod_ips: Option<PathBuf>,
    /// Take workloads for the pods of their templates, as a lab does.
    #[arg(long, hide = true)]
    workloads: bool,
    #[command(flatten)]
    on_exit: OnExitArg,
    #[command(flatten)]
    gateway: GatewayArgs,
}

pub(super) fn run(args: RunArgs) -> Outcome {
    let options = args.gateway.options(args.name, args.bridge.unwrap_or_default(), args.manifests);
    let options = RunOptions {
        routed: args.routed,
        except: args.except,
        pod_ips: args.pod_ips,
        on_exit: args.on_exit.on_exit,
        ..options
    };
    let workloads = if args.workloads { Workloads::Replicas } else { Workloads::Ignored };
    let options = RunOptions { workloads, ..options };
    let ended = block_on(agent::run(options, |gateway| {
        let status = gateway.status();
        // The one line on stdout; whoever started this waits for it, or does not listen.
        let _ = writeln!(
            std::io::stdout(),
            "guarding {} ports of {} with {} policies in force; 'podgate status' and 'podgate observe' tell more",
            status.ports.len(),
            status.bridge,
            status.policies
        );
    }))?;
    match ended {
        Err(RunError::Manifests(failed)) => Err(refused(&failed)),
        ended => Ok(ended?),
    }
}
