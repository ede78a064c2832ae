//! The gateway: steering, trunk, workers, ports and the policy in force.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use podgate_dataplane::counters::Counters;
use podgate_dataplane::policy::{EndpointKind, Handovers};
use podgate_dataplane::snapshot::Snapshot;
use podgate_dataplane::steer::{CountsReader, SteerConfig, SteerError, Steering};
use podgate_dataplane::worker::{self, Shared, Worker, WorkerGauges, WorkerReport};
use podgate_flowtable::{Addr, Epoch, Quota, Time};

use super::alarms::{Alarms, Subject};
use super::attachments::Attachments;
use super::bindings::Bindings;
use super::fencing::Fencing;
use super::health::Pulse;
use super::history::{self, Clocks};
use super::in_force::InForce;
use super::owners::Owners;
use super::pod_starts::PodStarts;
use super::ports::{Noted, PortTable};
use super::publish_times::PublishTimes;
use super::revalidate::Revalidation;
use super::{History, Paths, RunOptions};
use crate::compile::{CompileError, Compiler, Limits, Locality, PortAssignment, Settings, Sizes, Work};
use crate::model::{Cluster, PodRef};
use crate::net::{MarkRule, PodEnd};
use crate::service::{ServiceMode, ServiceNote, Translator};
use crate::source::{Background, Loaded, SourceHandle, SourceStatus};

/// Snapshots kept to name what older events were decided by.
const SNAPSHOTS_KEPT: usize = 16;
/// A worker silent for this long is taken for dead by the steering, where the fallback is open, and
/// shown so.
pub(super) const STALE: Duration = Duration::from_millis(500);
/// A worker that shows no life between so many looks in a row hangs.
const HUNG_LOOKS: u32 = 10;
/// How long it is told that another program was ahead of ours. Frames may have passed unseen, and nothing else tells
/// of it.
const TOLD_FOR: Duration = Duration::from_hours(1);
/// How long workers may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Why a change is not in force.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The policies cannot be compiled.
    #[error("the policies cannot be put in force: {0}")]
    Compile(#[from] CompileError),
    /// A port could not be told apart anew.
    #[error(transparent)]
    Steer(#[from] SteerError),
}

/// A running gateway.
pub struct Gateway {
    pub(super) options: RunOptions,
    /// Where the objects come from, and how that is.
    pub(super) source: SourceHandle,
    pub(super) shared: Arc<Shared>,
    /// What each owner of flows may have.
    pub(super) quota: Quota,
    pub(super) counters: Vec<Arc<Counters>>,
    /// What each worker tells.
    pub(super) gauges: Vec<Arc<WorkerGauges>>,
    /// What the steering counted.
    pub(super) steered: CountsReader,
    /// The control loop's.
    pub(super) pulse: Pulse,
    pub(super) history: History,
    pub(super) revalidation: Revalidation,
    /// Told of every snapshot that is put in force, by its number.
    pub(super) epochs: tokio::sync::watch::Sender<u32>,
    pub(super) started: Time,
    /// The same by the wall clock.
    pub(super) started_at: SystemTime,
    /// What closes new pods until they are guarded.
    pub(super) fence: Fencing,
    pub(super) state: Mutex<State>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What changes while it runs.
pub(super) struct State {
    pub(super) steering: Steering,
    pub(super) config: SteerConfig,
    /// What routing rules look for, as of the start.
    pub(super) mark_rules: Vec<MarkRule>,
    pub(super) ports: PortTable,
    pub(super) workers: Vec<Worker>,
    /// Each worker's last sign of life, and how many looks have found the same.
    pub(super) silent: Vec<(u64, u32)>,
    pub(super) cluster: Arc<Cluster>,
    /// Whether `cluster` has been read at all.
    pub(super) has_objects: bool,
    /// What the manifests of `cluster` tell besides.
    pub(super) background: Arc<Background>,
    /// The revision of the overlay that they were read with.
    pub(super) revision: Option<u64>,
    /// What the policy in force was compiled from.
    pub(super) in_force: Option<InForce>,
    pub(super) node_addresses: Vec<std::net::IpAddr>,
    pub(super) snapshots: VecDeque<Arc<Snapshot>>,
    pub(super) next_epoch: u32,
    /// When the policy in force was published, and how long after its change.
    pub(super) published: Option<(Time, Duration)>,
    /// How long after their changes all policies so far were published.
    pub(super) publish_times: PublishTimes,
    /// How long new pods waited for their policy.
    pub(super) pod_starts: PodStarts,
    /// What runtimes have told of pods.
    pub(super) attachments: Attachments,
    /// Who has the addresses of pods.
    pub(super) owners: Owners,
    /// Which pod is behind which port, for the next gateway.
    pub(super) bindings: Bindings,
    pub(super) hash_seed: u64,
    /// Keys the choice of backends, over restarts.
    pub(super) service_seed: u64,
    /// Services as the dataplane has them.
    pub(super) translator: Translator,
    pub(super) compiler: Compiler,
    /// How large the policy in force is, what it took to compile it, and how long.
    pub(super) compiled: Option<(Sizes, Work, Duration)>,
    /// What a person should know.
    pub(super) alarms: Alarms,
}

/// What is wrong with a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lost {
    /// Its thread has ended.
    Ended,
    /// It shows no life.
    Hangs,
}

impl State {
    /// Sets or clears the alarms about one thing.
    fn alarm(&mut self, about: Subject, alarms: Vec<String>) {
        self.alarms.set(about, alarms, worker::now());
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

/// The addresses that the node gives its pods, if its manifest says so.
fn pod_ranges(cluster: &Cluster, locality: &Locality) -> Box<[(Addr, Addr)]> {
    let Locality::Node { name: Some(name), .. } = locality else { return Box::default() };
    let nets = cluster.nodes().get(name).map_or(&[][..], |node| &node.pod_nets);
    nets.iter().map(|net| (net.network().into(), net.broadcast().into())).collect()
}

impl Gateway {
    /// Past and coming events.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How the source of the objects is.
    pub fn source_status(&self) -> SourceStatus {
        self.source.status()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the devices a former gateway guarded, under the numbers they had, and cleans up
    /// after those that are gone. `ends` are those of every port of the bridge. One that cannot be guarded anew is
    /// held as it was, and left to be taken up like one that is not known: it may be about to go.
    pub(super) fn adopt(&self, ends: &[PodEnd]) -> Result<(), SteerError> {
        let mut state = self.state();
        for (ifindex, id) in state.steering.adopted()? {
            match ends.iter().find(|end| end.host_index == ifindex) {
                Some(end) => {
                    let device = state.ports.insert(id, end, None).device.clone();
                    // These know the device's name too: a number may be another device's by now.
                    let kept = state.bindings.behind(ifindex, &end.host_name);
                    let by_flows = || Some(PodRef { key: state.owners.behind(ifindex)?, uid: None });
                    if let Some(pod) = kept.or_else(by_flows) {
                        state.ports.was_of(ifindex, pod);
                    }
                    if let Some(pod) = state.attachments.pod_at(ifindex, &end.host_name) {
                        state.ports.tell(ifindex, pod);
                    }
                    if let Err(error) = state.steering.guard(id, &device) {
                        tracing::debug!(%error, "a port that was guarded could not be guarded anew");
                        state.ports.remove(ifindex);
                    }
                }
                None => {
                    state.ports.retire(id);
                    if let Err(error) = state.steering.release(id, ifindex) {
                        tracing::warn!(%error, "what is left of a port could not be removed");
                    }
                }
            }
        }
        Ok(())
    }

    /// Guards a device that is not guarded yet; a look at one that is. Returns whether what is
    /// known of ports has changed.
    pub(super) fn take_up(&self, end: &PodEnd) -> Result<bool, SteerError> {
        let mut state = self.state();
        let state = &mut *state;
        let now = state.published.is_some().then(worker::now);
        match state.ports.note(end, now) {
            Noted::Unchanged => Ok(false),
            Noted::MayBind => Ok(true),
            Noted::MacChanged { id, device } => {
                state.steering.guard(id, &device)?;
                Ok(true)
            }
            Noted::Unknown => {
                let id = state.ports.free_number();
                let id = id.ok_or_else(|| SteerError::NoPortLeft { device: end.host_name.clone() })?;
                let device = state.ports.insert(id, end, now).device.clone();
                if let Err(error) = state.steering.guard(id, &device) {
                    state.ports.remove(end.host_index);
                    return Err(error);
                }
                if let Some(pod) = state.attachments.pod_at(end.host_index, &end.host_name) {
                    state.ports.tell(end.host_index, pod);
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

    /// The devices that are guarded, by ifindex.
    pub(super) fn guarded(&self) -> BTreeSet<u32> {
        self.state().ports.iter().map(|port| port.device.ifindex).collect()
    }

    /// The devices at whose pod's end no address has been seen, by ifindex.
    pub(super) fn unseen(&self) -> BTreeSet<u32> {
        self.state().ports.unseen()
    }

    /// Uses other manifests, whose change was noticed at `noticed`, from the next [`Gateway::publish`]
    /// on. Returns the ports that are then to be bound, by ifindex.
    pub(super) fn set_manifests(&self, loaded: Loaded, noticed: Time) -> BTreeSet<u32> {
        let mut state = self.state();
        let state = &mut *state;
        // Pods that are there at the start are not timed.
        if state.published.is_some() {
            state.pod_starts.follow(&state.cluster, &loaded.cluster, noticed);
        }
        state.cluster = Arc::new(loaded.cluster);
        state.has_objects = true;
        state.background = Arc::new(loaded.background);
        state.revision = loaded.revision;
        state.ports.unsettled(&state.cluster)
    }

    /// Whether there is anything to put in force.
    pub(super) fn has_objects(&self) -> bool {
        self.state().has_objects
    }

    /// This node's addresses, from the next [`Gateway::publish`] on. Returns whether they differ.
    pub(super) fn set_node_addresses(&self, addresses: Vec<std::net::IpAddr>) -> bool {
        let mut state = self.state();
        let differ = state.node_addresses != addresses;
        state.node_addresses = addresses;
        differ
    }

    /// Sets or clears the alarms about addresses that pods have given themselves.
    pub(super) fn tell_of_strays(&self) {
        let mut state = self.state();
        let strays = state.ports.strays(&state.cluster);
        state.alarm(Subject::Addresses, strays);
    }

    /// Sets or clears the alarms about one thing.
    pub(super) fn set_alarms(&self, about: Subject, alarms: Vec<String>) {
        self.state().alarm(about, alarms);
    }

    /// Compiles manifests and ports and puts them in force. On error what was in force stays so.
    pub(super) fn publish(&self, changed: Time) -> Result<(), PublishError> {
        let mut state = self.state();
        let state = &mut *state;
        let node = self.options.node.clone().or_else(|| own_node(&state.cluster, &state.node_addresses));
        // What is told by runtimes is said here, and nowhere else: what came of the manifests stays as it is.
        let cluster = state.attachments.lend_addresses(&state.cluster, node.as_deref());
        let binding = state.ports.bind(&cluster, &state.pod_starts);
        for (id, device) in &binding.readdressed {
            state.steering.guard(*id, device)?;
        }
        let assignments: Vec<_> = state
            .ports
            .iter()
            .filter_map(|port| {
                let bound = port.bound.as_ref()?;
                Some(PortAssignment {
                    port: port.id,
                    pod: bound.pod.key.clone(),
                    mac: bound.mac,
                    addresses: bound.addresses.clone(),
                })
            })
            .collect();
        let locality = Locality::Node { name: node, own_addresses: state.node_addresses.clone() };
        let epoch = Epoch(state.next_epoch);
        let settings = Settings {
            epoch,
            switches: self.options.switches,
            seed: state.hash_seed,
            limits: Limits::default(),
        };
        let start = worker::now();
        let compiled = state.compiler.compile(&cluster, &locality, &assignments, settings)?;
        state.compiled = Some((compiled.sizes, compiled.work, worker::now().since(start)));
        state.next_epoch += 1;
        let (mut snapshot, service_notes) =
            self.translating(&mut state.translator, &cluster, compiled.snapshot, state.service_seed);
        snapshot.pod_ranges = pod_ranges(&cluster, &locality);
        snapshot.handovers = self.handovers(state, &snapshot);
        let snapshot = Arc::new(snapshot);
        let background = Arc::clone(&state.background);
        state.in_force = Some(InForce { epoch, cluster, background, revision: state.revision });
        self.revalidation.publish(Arc::clone(&snapshot));
        if state.snapshots.len() == SNAPSHOTS_KEPT {
            state.snapshots.pop_front();
        }
        let now = worker::now();
        for waited in state.ports.in_force(|port| snapshot.binding(port).is_some(), now) {
            state.pod_starts.record(waited);
        }
        state.snapshots.push_back(snapshot);
        state.published = Some((now, now.since(changed)));
        state.publish_times.record(now.since(changed));
        let alarms =
            binding.notes.into_iter().chain(compiled.notes.iter().map(ToString::to_string)).collect();
        tracing::info!(
            epoch = epoch.0,
            policies = state.cluster.policies().len(),
            ports = state.ports.iter().count(),
            milliseconds = now.since(changed).as_secs_f64() * 1e3,
            "policy in force"
        );
        state.bindings.keep(&Paths::new(&self.options.run_dir, &self.options.name), state.ports.formers());
        state.alarm(Subject::Endpoints, alarms);
        state.alarm(Subject::Services, service_notes.iter().map(ToString::to_string).collect());
        self.epochs.send_replace(epoch.0);
        Ok(())
    }

    /// `snapshot` with the Services that pods reach through it.
    fn translating(
        &self,
        translator: &mut Translator,
        cluster: &Cluster,
        snapshot: Snapshot,
        seed: u64,
    ) -> (Snapshot, Vec<ServiceNote>) {
        if self.options.services == ServiceMode::Off {
            return (snapshot, Vec::new());
        }
        let is_endpoint = |addr| snapshot.endpoints.resolve(addr).kind != EndpointKind::Outside;
        let (services, notes) = translator.translate(cluster, is_endpoint, seed);
        (snapshot.with_services(services), notes)
    }

    /// Which addresses have changed hands by `snapshot`, which is to be published next.
    fn handovers(&self, state: &mut State, snapshot: &Snapshot) -> Handovers {
        let now = worker::now();
        let devices: BTreeMap<_, _> = state.ports.iter().map(|port| (port.id, port.device.ifindex)).collect();
        state.owners.follow(snapshot, |port| devices.get(&port).copied(), now);
        state.owners.handovers(self.revalidation.looked_at(), now, state.hash_seed)
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
        if !alarms.is_empty() {
            let now = worker::now();
            state.alarms.set_until(Subject::Programs, alarms, now.after(TOLD_FOR), now);
        }
        Ok(())
    }

    /// Sees to alarms whose time is over. To be called every second.
    pub(super) fn tick_alarms(&self) {
        self.state().alarms.tick(worker::now());
    }

    /// Forgets clients of Services whose time with their backend is over.
    pub(super) fn forget_clients(&self) {
        self.shared.affinities.expire(worker::now());
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

    /// A worker that is lost, by number. One that is merely silent (a starved machine, a machine that
    /// was paused) is an alarm. To be asked at even intervals.
    pub(super) fn lost_worker(&self) -> Option<(u32, Lost)> {
        let now = worker::now();
        let mut state = self.state();
        let State { workers, silent, .. } = &mut *state;
        silent.resize(workers.len(), (0, 0));
        let (mut lost, mut alarms) = (None, Vec::new());
        for ((number, worker), (beat, looks)) in (0..).zip(workers.iter()).zip(silent) {
            let last = worker.gauges().beat_nanos.load(Relaxed);
            *looks = if last == *beat { *looks + 1 } else { 0 };
            *beat = last;
            if worker.is_finished() {
                lost = lost.or(Some((number, Lost::Ended)));
            } else if *looks >= HUNG_LOOKS {
                lost = lost.or(Some((number, Lost::Hangs)));
            } else if !is_alive(worker, now) {
                let ms = STALE.as_millis();
                alarms.push(format!("worker {number} has shown no life for {ms} ms; its frames wait"));
            }
        }
        state.alarm(Subject::Workers, alarms);
        lost
    }

    /// Stops the workers and says where their frames are; `None` for one that does not stop.
    pub(super) fn stop_workers(&self) -> Vec<Option<WorkerReport>> {
        let workers = std::mem::take(&mut self.state().workers);
        workers.iter().for_each(Worker::ask_to_stop);
        workers.into_iter().map(|worker| worker.stop(STOP_PATIENCE)).collect()
    }
}

pub(super) fn is_alive(worker: &Worker, now: Time) -> bool {
    let beat = worker.gauges().beat_nanos.load(Relaxed);
    now.since(Time::from_nanos(beat)) < STALE
}
