//! What a gateway can be told, on `run` and on `lab up` alike.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::steer::Fallback;

use super::flow_args::FlowArgs;
use crate::agent::{FenceMode, OnExit, RunOptions};
use crate::service::ServiceMode;
use crate::source::Strictness;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub(super) struct GatewayArgs {
    /// The Node object that is this node; without it, the one that has an address of this machine.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Which CIDRs in policies are taken: those of new objects, or also what an API server may hold from
    /// earlier (host bits, leading zeros, IPv4-mapped IPv6).
    #[arg(long, value_enum, default_value_t = AcceptArg::New)]
    accept: AcceptArg,
    /// Worker threads; each has a queue of the trunk.
    #[arg(long, default_value_t = 1, value_name = "N", env = "PODGATE_WORKERS")]
    workers: u32,
    /// CPUs to pin the workers to, in turn.
    #[arg(long, value_delimiter = ',', value_name = "LIST", env = "PODGATE_CPUS")]
    cpus: Vec<usize>,
    /// What happens to frames while no live worker is there.
    #[arg(long, value_enum, default_value_t = FallbackArg::Closed, env = "PODGATE_FALLBACK")]
    fallback: FallbackArg,
    /// Whether new veths are closed by an nft rule until they are guarded, where the fallback is closed.
    #[arg(long, value_enum, default_value_t = FenceMode::On, env = "PODGATE_FENCE")]
    fence: FenceMode,
    /// What happens to live flows that a new policy no longer allows.
    #[arg(long, value_enum, default_value_t = LiveConnections::Recheck)]
    live_connections: LiveConnections,
    /// Whether connections of pods to Services are translated here; where not, kube-proxy does it, and egress policy
    /// sees the Service's address.
    #[arg(long, value_enum, default_value_t = ServiceMode::On, env = "PODGATE_SERVICES")]
    services: ServiceMode,
    /// Tunnels (VXLAN, Geneve, IPIP, GRE, WireGuard) from pods to node addresses.
    #[arg(long, value_enum, default_value_t = Tunnels::Drop)]
    tunnels_to_nodes: Tunnels,
    /// Connections that a pod opens to its own node, where egress policy does not allow them.
    #[arg(long, value_enum, default_value_t = OwnNodeEgress::Deny)]
    egress_to_own_node: OwnNodeEgress,
    /// Broadcast and multicast frames that a pod may send a second.
    #[arg(long, default_value_t = 400, value_name = "N")]
    broadcast_pps: u32,
    /// Frames a second above which a pod's traffic goes by the heavy lane, apart from the others'.
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    heavy_pps: u32,
    /// Smallest segment that a pod may have the kernel cut (TCP and UDP segmentation offload).
    #[arg(long, default_value_t = 88, value_name = "BYTES")]
    min_gso: u32,
    /// Where gateways keep their files.
    #[arg(long, default_value = "/run/podgate", value_name = "DIR", env = "PODGATE_RUN_DIR")]
    pub(super) run_dir: PathBuf,
    #[command(flatten)]
    flows: FlowArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum AcceptArg {
    /// As the API server takes new objects.
    New,
    /// As it holds them: for manifests that were written out of a cluster.
    Stored,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum FallbackArg {
    /// Drop.
    Closed,
    /// Pass unfiltered.
    Open,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum LiveConnections {
    /// Decide them again, and cut those.
    Recheck,
    /// Let them live until they end.
    Keep,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Tunnels {
    /// Drop them: what the node unwraps carries an inner source of the pod's choice.
    Drop,
    /// Judge them by policy like anything else.
    Allow,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum OwnNodeEgress {
    /// Drop them, as policy says.
    Deny,
    /// Let them pass: the API leaves it open.
    Allow,
}

impl GatewayArgs {
    /// Options for a gateway called `name` on `bridge`.
    pub(super) fn options(self, name: String, bridge: String, manifests: Vec<PathBuf>) -> RunOptions {
        RunOptions {
            strictness: self.strictness(),
            name,
            node: self.node,
            workers: self.workers,
            cpus: self.cpus,
            fallback: match self.fallback {
                FallbackArg::Closed => Fallback::Closed,
                FallbackArg::Open => Fallback::Open,
            },
            switches: Switches {
                drop_tunnels_to_nodes: self.tunnels_to_nodes == Tunnels::Drop,
                recheck_live_flows: self.live_connections == LiveConnections::Recheck,
                allow_egress_to_own_node: self.egress_to_own_node == OwnNodeEgress::Allow,
            },
            fence: self.fence,
            services: self.services,
            flows: self.flows.options(),
            broadcast_pps: self.broadcast_pps,
            heavy_pps: self.heavy_pps,
            min_gso_bytes: self.min_gso,
            run_dir: self.run_dir,
            ..RunOptions::new(bridge, manifests)
        }
    }

    /// How addresses and CIDRs in manifests are judged.
    pub(super) fn strictness(&self) -> Strictness {
        match self.accept {
            AcceptArg::New => Strictness::New,
            AcceptArg::Stored => Strictness::Stored,
        }
    }

    /// The same, as arguments for a `podgate run` of its own.
    pub(super) fn to_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        if let Some(node) = &self.node {
            add("--node", node.clone());
        }
        add("--accept", word(&self.accept));
        add("--workers", self.workers.to_string());
        if !self.cpus.is_empty() {
            add("--cpus", self.cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        }
        add("--fallback", word(&self.fallback));
        add("--fence", word(&self.fence));
        add("--live-connections", word(&self.live_connections));
        add("--services", word(&self.services));
        add("--tunnels-to-nodes", word(&self.tunnels_to_nodes));
        add("--egress-to-own-node", word(&self.egress_to_own_node));
        add("--broadcast-pps", self.broadcast_pps.to_string());
        add("--heavy-pps", self.heavy_pps.to_string());
        add("--min-gso", self.min_gso.to_string());
        arguments.extend(self.flows.to_arguments());
        arguments
    }
}

fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The word for what happens at the end.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OnExitArg {
    /// What happens to the guard when the gateway is told to end (SIGTERM, SIGINT).
    #[arg(long, value_enum, default_value_t = OnExit::Hold, env = "PODGATE_ON_EXIT")]
    pub(super) on_exit: OnExit,
}
