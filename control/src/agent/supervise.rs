//! The loop: manifests, links, signals, the clock.

use std::sync::Arc;
use std::time::Duration;

use podgate_dataplane::worker::now;
use podgate_flowtable::Time;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::alarms::Subject;
use super::carry;
use super::cni;
use super::detach::{DetachError, InstanceLock, LockError, remove_files, take_down};
use super::fencing;
use super::follow::Follow;
use super::gateway::{Gateway, Lost, PublishError};
use super::home::Home;
use super::scope::{GuardedBridge, Scope};
use super::start::StartError;
use super::{OnExit, Paths, RunOptions, feed, preflight};
use crate::api::{self, ListenError, Listening, ServeError};
use crate::net::{Monitor, NetError, Netlink};
use crate::source::{AccessError, Feed, Loaded, SourceError, Untraced, Update, WatchError};

/// How often events are taken over from the workers.
const EVENTS_EVERY: Duration = Duration::from_millis(20);
/// How often the order of programs and the workers' lives are looked at.
const VERIFY_EVERY: Duration = Duration::from_secs(1);
/// How often the kernel is asked whether anything of nft's has changed.
const LOOK_AT_FENCE_EVERY: Duration = Duration::from_millis(250);

/// Why a gateway did not start, or ended with something left to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another one of that name runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The manifests are bad.
    #[error("{}", list(&.0.errors))]
    Manifests(Untraced),
    /// The manifests cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// There is no way to the API server.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The local socket cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Probes and metrics cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Signals cannot be awaited.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
    /// Not everything could be taken down.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// A worker thread has ended. The guard stays up.
    #[error(
        "worker {worker} ended unexpectedly; the fallback verdict is in force until the gateway is restarted"
    )]
    WorkerDied {
        /// Its number.
        worker: u32,
    },
    /// A worker thread shows no life. The guard stays up.
    #[error("worker {worker} hangs; the fallback verdict is in force until the gateway is restarted")]
    WorkerHangs {
        /// Its number.
        worker: u32,
    },
    /// Links can no longer be watched.
    #[error("the kernel no longer reports changes of links; the guard stays up")]
    MonitorEnded,
}

impl From<NetError> for RunError {
    fn from(error: NetError) -> Self {
        Self::Start(error.into())
    }
}

fn list(errors: &[SourceError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Runs a gateway in the calling thread's network namespace until it is told to end. `ready` is
/// called once policy is in force on every port.
pub async fn run(options: RunOptions, ready: impl FnOnce(&Gateway)) -> Result<(), RunError> {
    preflight::check_process(&options).map_err(StartError::from)?;
    let paths = Paths::new(&options.run_dir, &options.name);
    let mut feed = feed::start(&options).await?;
    // What is wrong with manifests is told before anything is touched.
    let loaded = if options.kubernetes.is_none() { feed::first(&mut feed).await? } else { None };

    // First: that another one of the name runs says more than that its address is in use.
    let lock = InstanceLock::take(&paths, &options.name)?;
    let listening = options.listen.map(api::listen).transpose()?;
    let netlink = Netlink::connect()?;
    let held_before = paths.has_pins();
    let (name, on_exit) = (options.name.clone(), options.on_exit);
    let told = (listening.as_ref(), ready);
    let outcome = guard(options, &paths, &netlink, &mut feed, loaded, told).await;
    match (&outcome, on_exit) {
        // What was attached by this failed start is undone; what an earlier gateway left in force
        // stays in force.
        (Err(error), _) if error.is_start() && !held_before => take_down(&paths, &name).await?,
        (Ok(()), OnExit::Detach) => take_down(&paths, &name).await?,
        _ => return outcome,
    };
    remove_files(&paths, lock)?;
    outcome
}

impl RunError {
    fn is_start(&self) -> bool {
        matches!(self, Self::Start(_) | Self::Serve(_) | Self::Signals(_))
    }
}

async fn guard(
    options: RunOptions,
    paths: &Paths,
    netlink: &Netlink,
    feed: &mut Feed,
    loaded: Option<Loaded>,
    (listening, ready): (Option<&Listening>, impl FnOnce(&Gateway)),
) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut scope = Scope {
        bridge: None,
        routed: options.routed.clone(),
        except: options.except.iter().cloned().collect(),
    };
    if let Some(bridge) = options.bridge() {
        let link = netlink.link_named(bridge).await.ok();
        let index = preflight::check_bridge(bridge, link.as_ref()).map_err(StartError::from)?;
        scope.bridge = Some(GuardedBridge::new(bridge, index));
    }
    let home = Home::here(&options.guards())?;
    home.settle(paths, &options.name).map_err(StartError::from)?;
    // Before the first look at the ports, so that no change falls between.
    let mut monitor = Monitor::start()?;
    let fence = fencing::plan(&options).await.map_err(StartError::from)?;
    let mut follow = Follow::new(netlink, scope);
    let ends = follow.ends().await?;
    follow.note_sizes(&ends);
    let on_exit = options.on_exit;

    let gateway = Gateway::start(options, feed.handle(), paths, netlink).await?;
    gateway.adopt(&ends).map_err(StartError::from)?;
    let others = match &fence {
        Some(plan) if plan.closes_other_bridges() => follow.ports_of_others().await,
        _ => Vec::new(),
    };
    gateway.raise_fence(paths, fence, &ends, others).await?;
    // A port may go while this starts, and one that cannot be guarded is not to keep the others from it.
    let mut unguarded = Vec::new();
    for end in &ends {
        if let Err(error) = gateway.take_up(end) {
            unguarded.push((end, error));
        }
    }
    gateway.set_node_addresses(netlink.host_addresses().await?);
    // What was kept on disk of an API server has been read meanwhile.
    let loaded = match loaded {
        None => feed::first(feed).await?,
        loaded => loaded,
    };
    if let Some(loaded) = loaded {
        note(&loaded);
        gateway.set_manifests(loaded, now());
        match gateway.publish(now()) {
            // What anybody may write into a cluster is not to leave its nodes without a guard.
            Err(error @ PublishError::Compile(_)) if gateway.options.kubernetes.is_some() => {
                not_in_force(&gateway, &error);
            }
            published => published.map_err(StartError::from)?,
        }
    } else {
        tracing::info!("nothing passes until the Kubernetes API has been read");
    }
    follow.settle_fence(&gateway).await;
    gateway.tell_of_strays();
    let (door, mut visitors) = cni::door();
    let server = api::serve(&paths.socket(), Arc::clone(&gateway), door)?;
    tokio::pin!(server);
    gateway.settle().map_err(StartError::from)?;
    // From here on it has started: what is set down now is set up again by the one who has done so.
    for (end, error) in unguarded {
        follow.keep_closed(end, false, error).await;
    }
    if let Err(error) = carry::forget(&paths.flows()) {
        tracing::warn!("flows from before this start may come back after a crash: {error}");
    }
    if let Some(listening) = listening {
        listening.attach(Arc::clone(&gateway));
    }
    let mut ready = Some(ready);

    let mut events = interval(EVENTS_EVERY);
    events.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut verify = interval(VERIFY_EVERY);
    verify.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fence_looks = interval(LOOK_AT_FENCE_EVERY);
    fence_looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watching = true;
    let ended = loop {
        if gateway.is_in_force()
            && let Some(ready) = ready.take()
        {
            ready(&gateway);
        }
        tokio::select! {
            biased;
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            // What has its time comes before what may come without end.
            _ = events.tick() => gateway.drain_events(),
            _ = fence_looks.tick() => gateway.look_at_fence().await,
            _ = verify.tick() => {
                gateway.beat();
                gateway.forget_clients();
                gateway.tick_alarms();
                if let Err(error) = gateway.change_mark() {
                    tracing::warn!(%error, "the secret mark could not be changed");
                }
                if let Err(error) = gateway.verify_heads() {
                    tracing::warn!(%error, "the order of programs could not be looked at");
                }
                match gateway.lost_worker() {
                    Some((worker, Lost::Ended)) => break Err(RunError::WorkerDied { worker }),
                    Some((worker, Lost::Hangs)) => break Err(RunError::WorkerHangs { worker }),
                    None => {}
                }
                let changed = now();
                if follow.look_again(&gateway).await {
                    put_in_force(&gateway, changed);
                }
                gateway.set_alarms(Subject::Ports, follow.alarms());
            }
            () = &mut server => {}
            update = feed.next(), if watching => match update {
                Some(update) => manifests(&gateway, &mut follow, update).await,
                // The last good policy stays in force, as with manifests that cannot be read.
                None => {
                    watching = false;
                    let told = "changes of policy are no longer followed; restart podgate to read them again";
                    gateway.set_alarms(Subject::Manifests, vec![told.into()]);
                }
            },
            Some(asked) = visitors.next() => {
                cni::answer(&gateway, &mut follow, asked, &mut visitors).await;
                gateway.set_alarms(Subject::Ports, follow.alarms());
            }
            event = monitor.next() => match event {
                Some(event) => {
                    let changed = now();
                    if follow.on(&gateway, event, &mut monitor).await {
                        put_in_force(&gateway, changed);
                    }
                    gateway.set_alarms(Subject::Ports, follow.alarms());
                }
                None => break Err(RunError::MonitorEnded),
            },
        }
    };
    for (worker, report) in gateway.stop_workers().iter().enumerate() {
        match report {
            Some(report) => tracing::info!(worker, ?report, "worker stopped"),
            None => tracing::error!(worker, "worker did not stop; it ends with the process"),
        }
    }
    if ended.is_ok() && on_exit == OnExit::Hold {
        gateway.leave_flows(paths);
    }
    if ended.is_ok() && on_exit == OnExit::Detach {
        follow.give_back().await;
    }
    gateway.drain_events();
    ended
}

/// New manifests, or what is wrong with them: then the last good ones stay in force.
async fn manifests(gateway: &Gateway, follow: &mut Follow<'_>, update: Update) {
    let noticed = ago(update.noticed.elapsed());
    match update.loaded {
        Ok(loaded) => {
            note(&loaded);
            // What is bound by the new manifests is bound to what the pod's end is now.
            follow.refresh(gateway, &gateway.set_manifests(loaded, noticed)).await;
            gateway.set_alarms(Subject::Manifests, Vec::new());
            put_in_force(gateway, noticed);
        }
        Err(errors) => {
            let alarm = |error: &SourceError| format!("{error}; the last good manifests stay in force");
            gateway.set_alarms(Subject::Manifests, errors.iter().map(alarm).collect());
        }
    }
}

fn ago(passed: Duration) -> Time {
    Time::from_nanos(now().nanos().saturating_sub(passed.as_nanos() as u64))
}

fn note(loaded: &Loaded) {
    for note in &loaded.notes {
        tracing::info!("{note}");
    }
}

pub(super) fn put_in_force(gateway: &Gateway, changed: Time) {
    // Ports come and go while the API server has not been read yet; that is not the same as a cluster without
    // anything.
    if !gateway.has_objects() {
        return;
    }
    match gateway.publish(changed) {
        Ok(()) => gateway.set_alarms(Subject::Compile, Vec::new()),
        Err(error) => not_in_force(gateway, &error),
    }
}

fn not_in_force(gateway: &Gateway, error: &PublishError) {
    let instead = if gateway.is_in_force() {
        "the last good policy stays in force"
    } else {
        "there is none from before, and nothing passes until it can be"
    };
    gateway.set_alarms(Subject::Compile, vec![format!("{error}; {instead}")]);
}
