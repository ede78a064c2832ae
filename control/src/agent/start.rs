//! Everything but ports and policy: loaded, attached, running.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use podgate_dataplane::counters::Counters;
use podgate_dataplane::departures::Departures;
use podgate_dataplane::events::EventRing;
use podgate_dataplane::raw::{Published, RingConfig, prefer_huge_pages};
use podgate_dataplane::service::Affinities;
use podgate_dataplane::steer::{Lane, SteerConfig, SteerError, Steering};
use podgate_dataplane::worker::{self, GateJudge, Shared, Worker, WorkerConfig, WorkerError};
use podgate_flowtable::{Config as FlowConfig, ConfigError, FlowTable, FragmentTable};

use super::alarms::Alarms;
use super::attachments::Attachments;
use super::bindings::Bindings;
use super::carry::{self, Carried, CarryError, Origin};
use super::fencing::Fencing;
use super::gateway::{Gateway, PublishError, STALE, State};
use super::health::Pulse;
use super::owners::Owners;
use super::pod_starts::PodStarts;
use super::ports::PortTable;
use super::publish_times::PublishTimes;
use super::revalidate::Revalidation;
use super::secret::{draw, draw_mark, draw_secret, service_seed};
use super::trunk::{self, Trunk};
use super::{History, HomeError, Paths, PinsError, PreflightError, RunOptions};
use crate::compile::Compiler;
use crate::fence::FenceError;
use crate::net::{MarkRule, NetError, Netlink};
use crate::service::Translator;
use crate::source::SourceHandle;

/// Events on their way from the workers.
const EVENTS: usize = 8192;
/// Fragmented datagrams that can be followed at once.
const FRAGMENTED: usize = 4096;
/// Clients of Services with session affinity that keep their backend at the same time.
const AFFINE_CLIENTS: usize = 16_384;

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
    /// New pods cannot be closed.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// A worker could not start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The flow table cannot be made.
    #[error("--flows: {0}")]
    Flows(#[from] ConfigError),
    /// The policies cannot be put in force.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// No secret could be drawn.
    #[error("the system gives no randomness: {0}")]
    Random(String),
    /// A thread could not be started.
    #[error("cannot start a thread: {source}; is there a limit on processes or memory?")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// Files of the instance.
    #[error("cannot use {path}: {source}")]
    Files {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Gateway {
    /// Loads, attaches and starts everything but ports and policy: nothing passes yet.
    pub(super) async fn start(
        options: RunOptions,
        source: SourceHandle,
        paths: &Paths,
        netlink: &Netlink,
    ) -> Result<Arc<Self>, StartError> {
        let pins = paths.ensure_pins()?;
        let mut steering = Steering::load(&pins)?;
        let queues =
            NonZeroU32::new(options.workers).ok_or(PreflightError::Workers { workers: options.workers })?;
        let trunk = Trunk::ensure(paths, &options.name, netlink, queues).await?;
        let mark_rules = netlink.mark_rules().await?;
        let config = Self::steer_config(&options, &trunk, &mark_rules)?;
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
        let pickup_until = now.after(options.flows.pickup_grace);
        let capacity = options.flows.capacity.resolve();
        let quota = options.flows.quota(capacity);
        let flows = FlowTable::new(FlowConfig {
            capacity,
            secret: draw_secret()?,
            timeouts: options.flows.timeouts,
            pickup_until,
        })?
        .with_quota(quota);
        let (flows_per_pod, half_open_per_pod) = (quota.flows, quota.half_open);
        tracing::info!(flows = capacity, flows_per_pod, half_open_per_pod, "flow table");
        if options.flows.huge_pages
            && let Err(error) = prefer_huge_pages(&flows)
        {
            tracing::info!("the flow table stays in small pages: {error}");
        }
        let owners = take_up_flows(paths, &flows);
        let shared = Arc::new(Shared {
            published: Published::empty(),
            flows,
            fragments: FragmentTable::new(FRAGMENTED, draw_secret()?)?,
            affinities: Affinities::new(AFFINE_CLIENTS, u64::from_ne_bytes(draw()?)),
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
                trunk1: Lane::ALL.map(|lane| trunk::names(&options.name, lane)[1].clone()),
                netns: Some(std::fs::File::open(paths.trunk_netns()).map_err(files)?),
                ring: RingConfig::default(),
            };
            let maps = steering.socket_maps()?;
            workers.push(Worker::start(config, maps, move || GateJudge::new(shared, own, sweeps))?);
        }
        let gauges = workers.iter().map(|worker| Arc::clone(worker.gauges())).collect();
        let (steered, pulse) = (steering.counts_reader()?, Pulse::new(worker::now()));
        let hash_seed = u64::from_ne_bytes(draw()?);
        let service_seed = service_seed(&paths.service_key())?;
        let state = State {
            steering,
            config,
            mark_rules,
            ports: PortTable::default(),
            workers,
            silent: Vec::new(),
            cluster: Arc::default(),
            has_objects: false,
            background: Arc::default(),
            revision: None,
            in_force: None,
            node_addresses: Vec::new(),
            attachments: Attachments::open(paths),
            owners,
            bindings: Bindings::open(paths),
            snapshots: VecDeque::new(),
            next_epoch: 1,
            published: None,
            publish_times: PublishTimes::default(),
            pod_starts: PodStarts::default(),
            hash_seed,
            service_seed,
            translator: Translator::default(),
            compiler: Compiler::new(),
            compiled: None,
            alarms: Alarms::default(),
        };
        let thread = Revalidation::start(Arc::clone(&shared), counters.clone());
        let revalidation = thread.map_err(|source| StartError::Thread { source })?;
        let (history, state) = (History::new(), Mutex::new(state));
        let (epochs, _) = tokio::sync::watch::channel(0);
        let fence = Fencing::default();
        Ok(Arc::new(Self {
            options,
            source,
            shared,
            quota,
            counters,
            gauges,
            steered,
            pulse,
            history,
            revalidation,
            epochs,
            started: now,
            started_at: SystemTime::now(),
            fence,
            state,
        }))
    }

    fn steer_config(
        options: &RunOptions,
        trunk: &Trunk,
        mark_rules: &[MarkRule],
    ) -> Result<SteerConfig, StartError> {
        Ok(SteerConfig {
            trunk: [trunk.trunk0[0].index, trunk.trunk0[1].index],
            queues: options.workers,
            mark: draw_mark(mark_rules)?,
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
}

/// Takes up what the gateway before has left. Without it, connections are judged as they come.
fn take_up_flows(paths: &Paths, flows: &FlowTable) -> Owners {
    let carried = Origin::here(&paths.home())
        .map_err(|source| CarryError::Files { path: paths.home(), source })
        .and_then(|origin| carry::take(&paths.flows(), flows, origin, worker::now()));
    match carried {
        Ok((Carried { taken, expired, full }, owners)) => {
            if taken + expired + full > 0 {
                tracing::info!(taken, expired, full, "flows carried over from before the restart");
            }
            owners
        }
        Err(error) => {
            tracing::warn!("no flows are carried over from before the restart: {error}");
            Owners::default()
        }
    }
}
