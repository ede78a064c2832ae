//! The gateway: steering, trunk, workers, ports and the policy in force.

mod status;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use podgate_dataplane::counters::Counters;
use podgate_dataplane::departures::Departures;
use podgate_dataplane::events::EventRing;
use podgate_dataplane::raw::{Published, RingConfig};
use podgate_dataplane::snapshot::Snapshot;
use podgate_dataplane::steer::{Lane, SteerConfig, SteerError, Steering};
use podgate_dataplane::worker::{self, GateJudge, Shared, Worker, WorkerConfig, WorkerError, WorkerReport};
use podgate_flowtable::{
    Config as FlowConfig, ConfigError, Epoch, FlowTable, FragmentTable, HashSecret, Time, Timeouts,
};
use std::sync::atomic::Ordering::Relaxed;

use super::history::{self, Clocks};
use super::ports::{Noted, PortTable};
use super::trunk::Trunk;
use super::{History, HomeError, Paths, PinsError, PreflightError, RunOptions, preflight};
use crate::compile::{CompileError, Limits, Locality, PortAssignment, Settings, compile};
use crate::model::Cluster;
use crate::net::{NetError, Netlink, PodEnd};

/// Snapshots kept to name what older events were decided by.
const SNAPSHOTS_KEPT: usize = 16;
/// Events on their way from the workers.
const EVENTS: usize = 8192;
/// Fragmented datagrams that can be followed at once.
const FRAGMENTED: usize = 4096;
/// TCP flows from before the start may be picked up in mid-stream for so long.
const PICKUP: Duration = Duration::from_mins(1);
/// A worker silent for this long is taken for dead.
const STALE: Duration = Duration::from_millis(500);

/// Why the gateway could not start, or a change could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something is not as it must be.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The network could not be set up.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The steering could not be set up.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// The instance belongs to another bridge, or the bridge to another instance.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// There is no place for pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// A worker could not start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The flow table cannot be made.
    #[error("--flows: {0}")]
    Flows(#[from] ConfigError),
    /// The policies cannot be compiled.
    #[error("the policies cannot be put in force: {0}")]
    Compile(#[from] CompileError),
    /// No secret could be drawn.
    #[error("the system gives no randomness: {0}")]
    Random(String),
    /// Files of the instance.
    #[error("cannot use {path}: {source}")]
    Files {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running gateway.
pub struct Gateway {
    options: RunOptions,
    shared: Arc<Shared>,
    counters: Vec<Arc<Counters>>,
    history: History,
    started: Time,
    state: Mutex<State>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("options", &self.options).finish_non_exhaustive()
    }
}

struct State {
    steering: Steering,
    config: SteerConfig,
    ports: PortTable,
    workers: Vec<Worker>,
    cluster: Cluster,
    node_addresses: Vec<std::net::IpAddr>,
    snapshots: VecDeque<Arc<Snapshot>>,
    next_epoch: u32,
    published: Option<(Time, Duration)>,
    hash_seed: u64,
    /// Standing alarms, by what they are about.
    alarms: BTreeMap<&'static str, Vec<String>>,
}

impl State {
    /// Sets or clears the alarms about one thing; new ones are logged.
    fn alarm(&mut self, about: &'static str, alarms: Vec<String>) {
        if alarms.is_empty() {
            self.alarms.remove(about);
        } else if self.alarms.get(about) != Some(&alarms) {
            for alarm in &alarms {
                tracing::warn!("{alarm}");
            }
            self.alarms.insert(about, alarms);
        }
    }
}

/// The one Node object that has an address of this machine.
fn own_node(cluster: &Cluster, own: &[std::net::IpAddr]) -> Option<String> {
    let mut nodes =
        cluster.nodes().values().filter(|node| node.addresses.iter().any(|address| own.contains(address)));
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => Some(node.name.clone()),
        _ => None,
    }
}

/// Random bytes.
fn draw<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| StartError::Random(error.to_string()))?;
    Ok(bytes)
}

fn draw_secret() -> Result<HashSecret, StartError> {
    Ok(HashSecret([u64::from_ne_bytes(draw()?), u64::from_ne_bytes(draw()?)]))
}

impl Gateway {
    /// Loads, attaches and starts everything but ports and policy: nothing passes yet.
    pub(super) async fn start(
        options: RunOptions,
        paths: &Paths,
        netlink: &Netlink,
    ) -> Result<Arc<Self>, StartError> {
        let pins = paths.ensure_pins()?;
        let mut steering = Steering::load(&pins)?;
        let queues =
            NonZeroU32::new(options.workers).ok_or(PreflightError::Workers { workers: options.workers })?;
        let trunk = Trunk::ensure(paths, &options.name, netlink, queues).await?;
        let config = Self::steer_config(&options, &trunk, netlink).await?;
        // A start that fails leaves what it finds in force, the fallback too.
        steering.configure(&SteerConfig { fallback: steering.fallback()?, ..config })?;
        for lane in Lane::ALL {
            steering.attach_deliver(lane, &trunk.trunk0[lane.index()].name)?;
        }
        let steering_ref = &mut steering;
        trunk.netns.run(move || {
            Lane::ALL
                .iter()
                .try_for_each(|&lane| steering_ref.attach_steer(lane, &trunk.trunk1[lane.index()]))
        })??;

        let now = worker::now();
        let flows = FlowTable::new(FlowConfig {
            capacity: options.flow_capacity,
            secret: draw_secret()?,
            timeouts: Timeouts::default(),
            pickup_until: now.after(PICKUP),
        })?;
        let shared = Arc::new(Shared {
            published: Published::empty(),
            flows,
            fragments: FragmentTable::new(FRAGMENTED, draw_secret()?)?,
            departures: Departures::new(),
            events: EventRing::new(EVENTS),
        });
        let mut workers = Vec::new();
        let mut counters = Vec::new();
        for queue in 0..options.workers {
            let own = Arc::new(Counters::new());
            counters.push(Arc::clone(&own));
            let (shared, sweeps) = (Arc::clone(&shared), queue == 0);
            let files =
                |source| StartError::Files { path: paths.trunk_netns().display().to_string(), source };
            let config = WorkerConfig {
                queue,
                cpu: (!options.cpus.is_empty()).then(|| options.cpus[queue as usize % options.cpus.len()]),
                trunk1: Lane::ALL.map(|lane| super::trunk::names(&options.name, lane)[1].clone()),
                netns: Some(std::fs::File::open(paths.trunk_netns()).map_err(files)?),
                ring: RingConfig::default(),
            };
            let maps = steering.socket_maps()?;
            workers.push(Worker::start(config, maps, move || GateJudge::new(shared, own, sweeps))?);
        }
        let hash_seed = u64::from_ne_bytes(draw()?);
        let state = State {
            steering,
            config,
            ports: PortTable::default(),
            workers,
            cluster: Cluster::new(),
            node_addresses: Vec::new(),
            snapshots: VecDeque::new(),
            next_epoch: 1,
            published: None,
            hash_seed,
            alarms: BTreeMap::new(),
        };
        let (history, state) = (History::new(), Mutex::new(state));
        Ok(Arc::new(Self { options, shared, counters, history, started: now, state }))
    }

    async fn steer_config(
        options: &RunOptions,
        trunk: &Trunk,
        netlink: &Netlink,
    ) -> Result<SteerConfig, StartError> {
        let rules = netlink.mark_rules().await?;
        let mut failed = None;
        let mark = preflight::free_mark(&rules, || match draw() {
            Ok(bytes) => u32::from_ne_bytes(bytes),
            Err(error) => {
                failed = Some(error);
                0
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        Ok(SteerConfig {
            trunk: [trunk.trunk0[0].index, trunk.trunk0[1].index],
            queues: options.workers,
            mark: mark?,
            previous_mark: 0,
            lap: u16::from_ne_bytes(draw()?) | 1,
            fallback: options.fallback,
            hash_seed: u32::from_ne_bytes(draw()?),
            min_gso_bytes: options.min_gso_bytes,
            heavy_pps: options.heavy_pps,
            broadcast_pps: options.broadcast_pps,
            stale_ms: STALE.as_millis() as u32,
        })
    }

    /// Past and coming events.
    pub fn history(&self) -> &History {
        &self.history
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the devices a former gateway guarded, under the numbers they had, and cleans up
    /// after those that are gone.
    pub(super) fn adopt(&self, ends: &[PodEnd]) -> Result<(), SteerError> {
        let mut state = self.state();
        for (ifindex, id) in state.steering.adopted()? {
            match ends.iter().find(|end| end.host_index == ifindex) {
                Some(end) => {
                    let device = state.ports.insert(id, end).device.clone();
                    state.steering.guard(id, &device)?;
                }
                None => state.steering.release(id, ifindex)?,
            }
        }
        Ok(())
    }

    /// Guards a device that is not guarded yet; a look at one that is. Returns whether what is
    /// known of ports has changed.
    pub(super) fn take_up(&self, end: &PodEnd) -> Result<bool, SteerError> {
        let mut state = self.state();
        let state = &mut *state;
        match state.ports.by_ifindex(end.host_index).map(|port| port.device.name == end.host_name) {
            Some(true) => match state.ports.note(end) {
                Noted::Unchanged => Ok(false),
                Noted::MayBind => Ok(true),
                Noted::MacChanged => {
                    if let Some(port) = state.ports.by_ifindex(end.host_index) {
                        state.steering.guard(port.id, &port.device)?;
                    }
                    Ok(true)
                }
            },
            Some(false) => {
                // Renamed: the hooks go by number, only we go by name.
                let id = state.ports.remove(end.host_index).map(|port| port.id);
                let id = id.or_else(|| state.ports.free_number());
                let id = id.ok_or_else(|| SteerError::NoPortLeft { device: end.host_name.clone() })?;
                state.ports.insert(id, end);
                Ok(true)
            }
            None => {
                let id = state.ports.free_number();
                let id = id.ok_or_else(|| SteerError::NoPortLeft { device: end.host_name.clone() })?;
                let device = state.ports.insert(id, end).device.clone();
                if let Err(error) = state.steering.guard(id, &device) {
                    state.ports.remove(end.host_index);
                    return Err(error);
                }
                tracing::info!(device = end.host_name, port = id.number(), "guarding");
                Ok(true)
            }
        }
    }

    /// Lets a device go that is gone, or that is no port of the bridge any more. Returns whether it
    /// was guarded.
    pub(super) fn let_go(&self, ifindex: u32) -> Result<bool, SteerError> {
        let mut state = self.state();
        let Some(port) = state.ports.remove(ifindex) else { return Ok(false) };
        state.steering.release(port.id, ifindex)?;
        tracing::info!(device = port.device.name, port = port.id.number(), "no longer guarding");
        Ok(true)
    }

    /// The start has succeeded: the fallback that was asked for is in force from here on.
    pub(super) fn settle(&self) -> Result<(), SteerError> {
        let mut state = self.state();
        let config = state.config;
        state.steering.configure(&config)
    }

    /// The devices that are guarded.
    pub(super) fn guarded(&self) -> Vec<u32> {
        self.state().ports.iter().map(|port| port.device.ifindex).collect()
    }

    /// Uses other manifests from the next [`Gateway::publish`] on.
    pub(super) fn set_cluster(&self, cluster: Cluster) {
        self.state().cluster = cluster;
    }

    /// This node's addresses, from the next [`Gateway::publish`] on. Returns whether they differ.
    pub(super) fn set_node_addresses(&self, addresses: Vec<std::net::IpAddr>) -> bool {
        let mut state = self.state();
        let differ = state.node_addresses != addresses;
        state.node_addresses = addresses;
        differ
    }

    /// Sets or clears the alarms about one thing.
    pub(super) fn set_alarms(&self, about: &'static str, alarms: Vec<String>) {
        self.state().alarm(about, alarms);
    }

    /// Compiles manifests and ports and puts them in force. On error what was in force stays so.
    pub(super) fn publish(&self, changed: Time) -> Result<(), CompileError> {
        let mut state = self.state();
        let state = &mut *state;
        let notes = state.ports.bind(&state.cluster);
        let assignments: Vec<_> = state
            .ports
            .iter()
            .filter_map(|port| {
                let bound = port.bound.as_ref()?;
                Some(PortAssignment {
                    port: port.id,
                    pod: bound.pod.clone(),
                    mac: bound.mac,
                    addresses: bound.addresses.clone(),
                })
            })
            .collect();
        let locality = Locality::Node {
            name: self.options.node.clone().or_else(|| own_node(&state.cluster, &state.node_addresses)),
            own_addresses: state.node_addresses.clone(),
        };
        let epoch = Epoch(state.next_epoch);
        let settings = Settings {
            epoch,
            switches: self.options.switches,
            seed: state.hash_seed,
            limits: Limits::default(),
        };
        let compiled = compile(&state.cluster, &locality, &assignments, settings)?;
        state.next_epoch += 1;
        let snapshot = Arc::new(compiled.snapshot);
        self.shared.published.publish(Arc::clone(&snapshot));
        if state.snapshots.len() == SNAPSHOTS_KEPT {
            state.snapshots.pop_front();
        }
        state.snapshots.push_back(snapshot);
        let now = worker::now();
        state.published = Some((now, now.since(changed)));
        let alarms = notes.into_iter().chain(compiled.notes.iter().map(ToString::to_string)).collect();
        tracing::info!(
            epoch = epoch.0,
            policies = state.cluster.policies().len(),
            ports = state.ports.iter().count(),
            milliseconds = now.since(changed).as_secs_f64() * 1e3,
            "policy in force"
        );
        state.alarm("endpoints", alarms);
        Ok(())
    }

    /// Puts our programs back at the head where another program has got ahead of them.
    pub(super) fn verify_heads(&self) -> Result<(), SteerError> {
        let mut state = self.state();
        let devices = state.ports.devices();
        let displaced = state.steering.displaced(&devices)?;
        let mut alarms = Vec::new();
        for found in displaced {
            let Some(device) = devices.iter().find(|device| device.name == found.device) else { continue };
            let restored = state.steering.to_head(device);
            let done = match &restored {
                Ok(()) => "podgate is back at the head".to_owned(),
                Err(error) => format!("podgate could not get back: {error}"),
            };
            let what = if found.ahead.is_empty() {
                format!("{} was taken off {}", found.program, found.device)
            } else {
                format!("{} got ahead of {} on {}", found.ahead.join(", "), found.program, found.device)
            };
            alarms.push(format!("{what}: it could let frames pass unseen; {done}"));
        }
        drop(state);
        if !alarms.is_empty() {
            self.set_alarms("programs", alarms);
        }
        Ok(())
    }

    /// Takes waiting events over into the history; bounded, so that a flood of them cannot hold
    /// the loop.
    pub(super) fn drain_events(&self) {
        const MOST: usize = 1024;
        if self.shared.events.is_empty() {
            return;
        }
        let clocks = Clocks { monotonic: worker::now(), wall: SystemTime::now() };
        let (snapshots, devices) = {
            let state = self.state();
            let devices: BTreeMap<_, _> =
                state.ports.iter().map(|port| (port.id, port.device.name.clone())).collect();
            (state.snapshots.clone(), devices)
        };
        for _ in 0..MOST {
            let Some(event) = self.shared.events.pop() else { return };
            let snapshot = snapshots.iter().rev().find(|snapshot| Some(snapshot.epoch) == event.epoch);
            let device = event.tag.and_then(|tag| devices.get(&tag.port)).map(String::as_str);
            self.history.push(history::record(&event, snapshot.map(Arc::as_ref), device, clocks));
        }
    }

    /// A worker whose thread has ended, by number. One that is merely silent (a starved machine, a
    /// machine that was paused) is an alarm.
    pub(super) fn ended_worker(&self) -> Option<u32> {
        let now = worker::now();
        let mut state = self.state();
        let ended = (0..).zip(&state.workers).find(|(_, worker)| worker.is_finished());
        if let Some((number, _)) = ended {
            return Some(number);
        }
        let silent = (0..).zip(&state.workers).filter(|(_, worker)| !is_alive(worker, now));
        let alarms = silent.map(|(number, _): (u32, _)| {
            format!("worker {number} has shown no life for {} ms; its frames wait", STALE.as_millis())
        });
        let alarms = alarms.collect();
        state.alarm("workers", alarms);
        None
    }

    /// Stops the workers and says where their frames are.
    pub(super) fn stop_workers(&self) -> Vec<Option<WorkerReport>> {
        let workers = std::mem::take(&mut self.state().workers);
        workers.into_iter().map(Worker::stop).collect()
    }
}

fn is_alive(worker: &Worker, now: Time) -> bool {
    let beat = worker.gauges().beat_nanos.load(Relaxed);
    now.since(Time::from_nanos(beat)) < STALE
}
