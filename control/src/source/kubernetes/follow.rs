//! The thread that reads, keeps and passes on; what others hold of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use kube::{Client, Config};
use nix::ifaddrs::getifaddrs;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::super::{Loaded, StateOrigin, Update};
use super::access::{self, AccessError};
use super::events;
use super::health::{Health, SourceHandle};
use super::kind::{Kind, Part};
use super::options::KubernetesOptions;
use super::reading::{self, News};
use super::saved::{self, Copy, SavedError};
use super::store::Store;

/// Quiet for so long, and a burst of changes is taken to be over.
const QUIET: Duration = Duration::from_millis(3);
/// No change waits longer than this for the burst to be over.
const MOST: Duration = Duration::from_millis(40);
/// News handled before anything else is looked at.
const AT_ONCE: usize = 256;
/// A change is on disk after so long, if little changes.
const SAVE_AFTER: Duration = Duration::from_millis(250);
/// Of so many times what writing takes, it takes one at most.
const SAVE_SHARE: u32 = 20;
/// What could not be written is tried again after so long.
const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The objects of a Kubernetes cluster, followed. Dropping it ends that.
#[derive(Debug)]
pub struct Follower {
    updates: mpsc::Receiver<Update>,
    handle: SourceHandle,
    /// Whether a state was kept on disk that can be used, until that has been asked.
    restored: Option<oneshot::Receiver<bool>>,
    /// Closed when this is dropped.
    _stop: oneshot::Sender<()>,
}

impl Follower {
    /// Starts to follow. Errors are those that do not mend themselves; that the server is away is none.
    pub async fn start(options: KubernetesOptions) -> Result<Self, AccessError> {
        let config = access::config(&options).await?;
        let server = config.cluster_url.to_string();
        let health = Arc::new(Health::new(server.trim_end_matches('/').to_owned(), options.saved.clone()));
        let handle = SourceHandle::of(Arc::clone(&health));
        let (updates, receiver) = mpsc::channel(1);
        let (has_restored, restored) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (started, outcome) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    let first = First { started, has_restored };
                    runtime.block_on(run(options, config, health, updates, stopped, first));
                }
                Err(error) => drop(started.send(Err(AccessError::Start { reason: error.to_string() }))),
            }
        };
        let failed = |reason: String| AccessError::Start { reason };
        thread::Builder::new()
            .name("kubernetes".to_owned())
            .spawn(run)
            .map_err(|error| failed(error.to_string()))?;
        outcome.await.map_err(|_| failed("its thread has ended".to_owned()))??;
        Ok(Self { updates: receiver, handle, restored: Some(restored), _stop: stop })
    }

    /// The next state: what was kept on disk, then one after each change. `None` is never returned, but
    /// for a panic of its thread.
    pub async fn next(&mut self) -> Option<Update> {
        self.updates.recv().await
    }

    /// The state that was kept on disk, once it has been read, which goes on meanwhile. `None` if there is none:
    /// what the server says comes by [`Follower::next`], and nothing waits for it, least of all the guard.
    pub async fn first(&mut self) -> Option<Update> {
        match self.restored.take()?.await {
            Ok(true) => self.updates.recv().await,
            _ => None,
        }
    }

    /// What can be asked of it at any time.
    pub fn handle(&self) -> SourceHandle {
        self.handle.clone()
    }
}

/// What there is on disk, if it can be used.
fn restore(options: &KubernetesOptions, health: &Health) -> (Store, bool) {
    match saved::read(&options.saved, health.server()) {
        Ok((head, mut store)) => {
            if head.boot != saved::boot_id() {
                let own = own_nodes(options, &store);
                // The machine may have no address yet: any node may be this one, even one without an object.
                store.forget_addresses(|node| own.is_empty() || own.iter().any(|own| own == node));
            }
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(head.written);
            health.saved(written);
            health.set_origin(StateOrigin::Disk);
            health.set_troubles_of(&store);
            tracing::info!(
                pods = store.cluster().pods().len(),
                policies = store.cluster().policies().len(),
                written = %humantime::format_rfc3339_seconds(written),
                "the last good state is in use until the Kubernetes API answers"
            );
            (store, true)
        }
        Err(SavedError::Missing) => (Store::default(), false),
        Err(error) => {
            health.not_saved(error.to_string());
            (Store::default(), false)
        }
    }
}

/// The Node objects that are this machine.
fn own_nodes(options: &KubernetesOptions, store: &Store) -> Vec<String> {
    if let Some(node) = &options.node {
        return vec![node.clone()];
    }
    let own: Vec<IpAddr> = getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect();
    let nodes = store.cluster().nodes().values();
    nodes
        .filter(|node| node.addresses.iter().any(|address| own.contains(address)))
        .map(|node| node.name.clone())
        .collect()
}

/// What is told once, to whoever has started this.
struct First {
    started: oneshot::Sender<Result<(), AccessError>>,
    /// Whether there was a state on disk.
    has_restored: oneshot::Sender<bool>,
}

async fn run(
    options: KubernetesOptions,
    config: Config,
    health: Arc<Health>,
    updates: mpsc::Sender<Update>,
    stopped: oneshot::Receiver<()>,
    first: First,
) {
    let client = access::client(config, Arc::clone(&health));
    let client = match client {
        Ok(client) => client,
        Err(error) => return drop(first.started.send(Err(error))),
    };
    if first.started.send(Ok(())).is_err() {
        return;
    }
    let restored = restore(&options, &health);
    // Whoever does not wait for it need not know.
    let _ = first.has_restored.send(restored.1);
    let (node, spread) = (options.node.clone(), options.spread);
    tokio::spawn(events::tell(client.clone(), Arc::clone(&health), node, spread));
    let mut keeper = Keeper::new(options, health, restored, updates);
    let news = keeper.read_all(&client);
    tokio::select! {
        () = keeper.keep(news) => {}
        // Sent by nobody: whoever held the other end has let go.
        _ = stopped => {}
    }
}

/// Keeps the store, passes on what it has become, and saves it.
struct Keeper {
    options: KubernetesOptions,
    health: Arc<Health>,
    store: Store,
    updates: mpsc::Sender<Update>,
    /// When the first change was noticed that has not been passed on, and the last one.
    unsent: Option<(Instant, Instant)>,
    /// When what has been passed on is to be saved.
    save_at: Option<Instant>,
    /// How long it took; `None` if it could not be written.
    saving: Option<JoinHandle<Option<Duration>>>,
    was_synced: bool,
}

impl Keeper {
    fn new(
        options: KubernetesOptions,
        health: Arc<Health>,
        (store, has_saved): (Store, bool),
        updates: mpsc::Sender<Update>,
    ) -> Self {
        let keeper = Self {
            options,
            health,
            store,
            updates,
            unsent: None,
            save_at: None,
            saving: None,
            was_synced: false,
        };
        if has_saved {
            // There is room: nothing has been sent yet. No objects are a state, too.
            let _ = keeper.updates.try_send(keeper.update(Instant::now()));
        }
        keeper
    }

    /// Reads every part.
    fn read_all(&self, client: &Client) -> mpsc::Receiver<(Kind, News)> {
        let (sender, news) = mpsc::channel(AT_ONCE);
        for part in Part::ALL {
            tokio::spawn(reading::read(part, client.clone(), Arc::clone(&self.health), sender.clone()));
        }
        news
    }

    async fn keep(&mut self, mut news: mpsc::Receiver<(Kind, News)>) {
        loop {
            let (send_at, save_at) = (self.send_at(), self.save_at);
            tokio::select! {
                first = news.recv() => match first {
                    Some((kind, first)) => {
                        self.take(kind, first);
                        for _ in 1..AT_ONCE {
                            let Ok((kind, more)) = news.try_recv() else { break };
                            self.take(kind, more);
                        }
                    }
                    None => return,
                },
                () = due(send_at, self.updates.clone()) => {
                    if !self.send() {
                        return;
                    }
                }
                () = until(save_at), if self.saving.is_none() => self.save(),
                outcome = saved(&mut self.saving) => {
                    self.saving = None;
                    let now = Instant::now();
                    self.save_at = match outcome {
                        Some(took) => self.save_at.map(|at| at.max(now + took * SAVE_SHARE)),
                        None => Some(now + SAVE_AGAIN_AFTER),
                    };
                }
            }
        }
    }

    /// When what has changed is to be passed on.
    fn send_at(&self) -> Option<Instant> {
        let (first, last) = self.unsent?;
        Some((first + MOST).min(last + QUIET))
    }

    fn take(&mut self, kind: Kind, news: News) {
        let part = kind.part();
        let changed = match news {
            News::Begun => {
                self.store.begin(part);
                // Again: the end of a list before it may have come since.
                self.health.list_begun(part);
                false
            }
            News::Listed(object) => {
                self.store.list(kind, &object);
                false
            }
            News::Complete => {
                let changed = self.store.complete(part);
                self.health.listed(part);
                changed
            }
            News::Applied(object) => self.store.apply(kind, &object),
            News::Deleted(object) => self.store.delete(kind, &object),
        };
        if !self.store.is_synced() {
            return;
        }
        let just_synced = !std::mem::replace(&mut self.was_synced, true);
        if just_synced {
            let (pods, policies) = (self.store.cluster().pods().len(), self.store.cluster().policies().len());
            tracing::info!(pods, policies, "the Kubernetes API has been read in full");
        }
        self.health.set_troubles_of(&self.store);
        if changed || just_synced {
            let now = Instant::now();
            self.unsent = Some((self.unsent.map_or(now, |(first, _)| first), now));
        }
    }

    /// Passes on what there is. Returns whether anybody listens.
    fn send(&mut self) -> bool {
        let Some((noticed, _)) = self.unsent.take() else { return true };
        // There is room, which nobody else takes.
        if self.updates.try_send(self.update(noticed)).is_err() {
            return false;
        }
        self.health.set_origin(StateOrigin::Live);
        self.save_at = self.save_at.or(Some(Instant::now() + SAVE_AFTER));
        true
    }

    fn update(&self, noticed: Instant) -> Update {
        let loaded = Loaded {
            cluster: self.store.cluster().clone(),
            background: self.store.background().clone(),
            notes: Vec::new(),
            files: 0,
            revision: None,
        };
        Update { noticed, loaded: Ok(loaded) }
    }

    /// Saves what there is, on a thread of its own.
    fn save(&mut self) {
        self.save_at = None;
        let copy = Copy::of(&self.store, self.health.server());
        let (path, health) = (self.options.saved.clone(), Arc::clone(&self.health));
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let start = Instant::now();
            match copy.write(&path) {
                Ok(()) => {
                    health.saved(SystemTime::now());
                    Some(start.elapsed())
                }
                Err(error) => {
                    health.not_saved(error.to_string());
                    None
                }
            }
        }));
    }
}

/// Until then, and until what was passed on before has been taken. What changes meanwhile goes with it.
async fn due(at: Option<Instant>, updates: mpsc::Sender<Update>) {
    until(at).await;
    // Without a listener, the attempt to send will tell.
    drop(updates.reserve().await);
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// How long writing took, once it is done; `None` if it failed.
async fn saved(saving: &mut Option<JoinHandle<Option<Duration>>>) -> Option<Duration> {
    match saving {
        Some(saving) => saving.await.unwrap_or(None),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
