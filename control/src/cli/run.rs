//! `podgate run`: the gateway on an existing bridge.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::gateway_args::{GatewayArgs, OnExitArg};
use super::kubernetes_args::KubernetesArgs;
use super::survey::refused;
use super::{Outcome, block_on};
use crate::agent::{self, DevicePattern, RunError, RunOptions};
use crate::source::Workloads;

/// Run the gateway on an existing bridge, until told to end.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("source").required(true),
    group = ArgGroup::new("where").required(true).multiple(true),
    after_help = "Examples:\n  podgate run --bridge cni0 --kubernetes\n  \
    podgate run --bridge cni0 --kubeconfig /etc/podgate/kubeconfig --node \"$HOSTNAME\"\n  \
    podgate run --bridge cni0 --manifests /etc/podgate/manifests --cpus 1\n  \
    podgate run --routed 'veth*' --manifests /etc/podgate/manifests\n\n\
    Every veth port of the bridge is guarded; a pod is found by the addresses at its end of the veth.\n\
    When told to end, the guard stays up (--on-exit hold): nothing passes until a gateway runs again,\n\
    or 'podgate detach' opens the wire."
)]
pub(super) struct RunArgs {
    /// A YAML file with options by their names, as in "workers: 2"; a flag or a variable of the environment
    /// counts before it. 'podgate config' tells more.
    #[arg(long, value_name = "FILE", env = "PODGATE_CONFIG")]
    config: Option<PathBuf>,
    /// The bridge whose ports are guarded.
    #[arg(long, value_name = "DEVICE", env = "PODGATE_BRIDGE", group = "where")]
    bridge: Option<String>,
    /// Veths that lead to pods and are ports of no bridge, as the CNI plugin ptp makes them: a name, or how names
    /// begin and a '*'. No other veth may have such a name.
    #[arg(long, value_name = "PATTERN", env = "PODGATE_ROUTED", group = "where")]
    routed: Option<DevicePattern>,
    /// A file or directory of Kubernetes manifests, watched; may be given again.
    #[arg(long, group = "source", value_name = "PATH", env = "PODGATE_MANIFESTS")]
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
    /// Where /healthz, /readyz and /metrics are answered over HTTP, as in 127.0.0.1:9474; not at all without it.
    #[arg(long, value_name = "ADDRESS:PORT", env = "PODGATE_LISTEN")]
    listen: Option<SocketAddr>,
    /// Take workloads for the pods of their templates, as a lab does.
    #[arg(long, hide = true)]
    workloads: bool,
    #[command(flatten)]
    kubernetes: KubernetesArgs,
    #[command(flatten)]
    on_exit: OnExitArg,
    #[command(flatten)]
    gateway: GatewayArgs,
}

impl RunArgs {
    /// What the gateway is told.
    pub(super) fn options(self) -> RunOptions {
        let options = self.gateway.options(self.name, self.bridge.unwrap_or_default(), self.manifests);
        RunOptions {
            kubernetes: self.kubernetes.options(&options.name, options.node.clone()),
            routed: self.routed,
            except: self.except,
            pod_ips: self.pod_ips,
            on_exit: self.on_exit.on_exit,
            listen: self.listen,
            workloads: if self.workloads { Workloads::Replicas } else { Workloads::Ignored },
            ..options
        }
    }
}

pub(super) fn run(args: RunArgs) -> Outcome {
    let ended = block_on(agent::run(args.options(), |gateway| {
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
