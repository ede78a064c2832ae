//! What a gateway is told.

use std::net::SocketAddr;
use std::path::PathBuf;

use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::steer::Fallback;

use super::{DevicePattern, FlowOptions};
use crate::service::ServiceMode;
use crate::source::{KubernetesOptions, Strictness, Workloads};

/// What happens to the guard when the gateway is told to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum OnExit {
    /// It stays up, with the fallback verdict in force; a restart adopts it.
    #[default]
    Hold,
    /// It is taken down; the wire is open.
    Detach,
}

/// Whether veths that are not guarded are closed by a rule in the kernel, where the fallback is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum FenceMode {
    /// They are, from before the first port is guarded until the gateway is detached.
    #[default]
    On,
    /// A new veth is open until it is guarded.
    Off,
}

/// Everything `podgate run` can be told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The instance's name.
    pub name: String,
    /// The bridge whose ports are guarded; empty where only routed devices are.
    pub bridge: String,
    /// Veths that lead to pods and are ports of no bridge, by name (CNI plugin `ptp`).
    pub routed: Option<DevicePattern>,
    /// Ports of the bridge that are no pods' and stay unguarded, by device name.
    pub except: Vec<String>,
    /// Files and directories of manifests.
    pub manifests: Vec<PathBuf>,
    /// The API server that the objects come from, in the place of manifests.
    pub kubernetes: Option<KubernetesOptions>,
    /// Whether workloads stand for pods. On a node they do not: its cluster tells its pods.
    pub workloads: Workloads,
    /// How addresses and CIDRs in them are judged.
    pub strictness: Strictness,
    /// A file that gives addresses to pods whose manifest has none.
    pub pod_ips: Option<PathBuf>,
    /// The Node object that is this node; found by address where `None`.
    pub node: Option<String>,
    /// Worker threads.
    pub workers: u32,
    /// CPUs they are pinned to, in turn; not pinned where empty.
    pub cpus: Vec<usize>,
    /// What happens at the end.
    pub on_exit: OnExit,
    /// What happens without a live worker.
    pub fallback: Fallback,
    /// Whether new veths are closed until they are guarded.
    pub fence: FenceMode,
    /// Who translates Services.
    pub services: ServiceMode,
    /// Switches of the step.
    pub switches: Switches,
    /// What the flow table is made from.
    pub flows: FlowOptions,
    /// Broadcast and multicast frames a pod may send a second.
    pub broadcast_pps: u32,
    /// Frames a second above which a port goes by the heavy lane.
    pub heavy_pps: u32,
    /// Smallest segment a pod may have the kernel cut, in bytes.
    pub min_gso_bytes: u32,
    /// Where instances keep their files.
    pub run_dir: PathBuf,
    /// Where probes and metrics are answered; nowhere where `None`.
    pub listen: Option<SocketAddr>,
}

impl RunOptions {
    /// The bridge whose ports are guarded, if there is one.
    pub fn bridge(&self) -> Option<&str> {
        (!self.bridge.is_empty()).then_some(&*self.bridge)
    }

    /// What is guarded, in words.
    pub fn guards(&self) -> String {
        let routed = self.routed.as_ref().map(|routed| format!("routed {routed}"));
        let all: Vec<_> = self.bridge().map(str::to_owned).into_iter().chain(routed).collect();
        all.join(" and ")
    }

    /// Defaults for everything but the bridge and the manifests.
    pub fn new(bridge: impl Into<String>, manifests: Vec<PathBuf>) -> Self {
        Self {
            name: "default".into(),
            bridge: bridge.into(),
            routed: None,
            except: Vec::new(),
            manifests,
            kubernetes: None,
            workloads: Workloads::Ignored,
            strictness: Strictness::default(),
            pod_ips: None,
            node: None,
            workers: 1,
            cpus: Vec::new(),
            on_exit: OnExit::Hold,
            fallback: Fallback::Closed,
            fence: FenceMode::On,
            services: ServiceMode::On,
            switches: Switches::default(),
            flows: FlowOptions::default(),
            broadcast_pps: 400,
            heavy_pps: 20_000,
            min_gso_bytes: 88,
            run_dir: PathBuf::from(super::paths::RUN_DIR),
            listen: None,
        }
    }
}
