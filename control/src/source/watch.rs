//! A new cluster after each change of the manifests.

use std::path::{Path, PathBuf, absolute};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::directory::Seen;
use super::{Directory, Loaded, SourceError};

/// Quiet for so long, and a burst of changes is taken to be over.
const QUIET: Duration = Duration::from_millis(10);
/// A burst is cut off after so many quiet times: something that writes without end must not hold
/// every change back.
const MAX_EXTENSIONS: u32 = 20;

/// What the manifests have become.
#[derive(Debug)]
pub struct Update {
    /// When the first sign of a change was seen.
    pub noticed: Instant,
    /// The new state, or all that is wrong with it.
    pub loaded: Result<Loaded, Vec<SourceError>>,
}

/// Manifests under watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    updates: mpsc::Receiver<Update>,
    signals: Sender<Signal>,
}

/// Why paths cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system refused; often `fs.inotify.max_user_watches` or `max_user_instances`.
    #[error("cannot watch {}: {source}", path.display())]
    Watch {
        /// The path.
        path: PathBuf,
        /// Why.
        source: notify::Error,
    },
    /// There is no watcher or thread to be had.
    #[error("cannot start watching: {reason}")]
    Start {
        /// Why.
        reason: String,
    },
}

#[derive(Debug)]
enum Signal {
    /// Something happened to a path that matters; `rearm` if a watched path itself came or went.
    Changed {
        rearm: bool,
        at: Instant,
    },
    Stop,
}

impl Watch {
    /// Starts to watch the paths of `directory`. The first update is its present state.
    pub fn start(directory: Directory) -> Result<Self, WatchError> {
        let start = |reason: String| WatchError::Start { reason };
        let roots = directory.watched().map(|path| absolute(path).unwrap_or_else(|_| path.to_owned()));
        let roots = Roots(roots.collect());
        let (signals, received) = channel();
        let (sender, handler_roots) = (signals.clone(), roots.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Some(signal) = handler_roots.signal(event) {
                // Without a receiver the watch is over.
                let _ = sender.send(signal);
            }
        })
        .map_err(|error| start(error.to_string()))?;
        roots.arm(&mut watcher)?;
        let (updates, receiver) = mpsc::channel(1);
        thread::Builder::new()
            .name("manifests".to_owned())
            .spawn(move || follow(&directory, &roots, watcher, &received, &updates))
            .map_err(|error| start(error.to_string()))?;
        Ok(Self { updates: receiver, signals })
    }

    /// The next state: the first one at once, then one after each change. `None` is never
    /// returned while the watch is held, but for a panic of its thread.
    pub async fn next(&mut self) -> Option<Update> {
        self.updates.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread may be gone already.
        let _ = self.signals.send(Signal::Stop);
    }
}

/// Loads, delivers, waits for a change; until nobody listens.
fn follow(
    directory: &Directory,
    roots: &Roots,
    mut watcher: RecommendedWatcher,
    signals: &Receiver<Signal>,
    updates: &mpsc::Sender<Update>,
) {
    let mut seen = Seen::default();
    let mut noticed = Instant::now();
    loop {
        if let Some(loaded) = directory.load_changed(&mut seen, SystemTime::now())
            && updates.blocking_send(Update { noticed, loaded }).is_err()
        {
            return;
        }
        let Some(burst) = next_change(signals) else { return };
        noticed = burst.began;
        if burst.rearm
            && let Err(error) = roots.arm(&mut watcher)
        {
            tracing::warn!(%error, "manifests are no longer watched in full");
        }
    }
}

/// Changes that are taken together.
struct Burst {
    began: Instant,
    rearm: bool,
}

/// Waits for a change and for quiet after it. `None`: the watch is over.
fn next_change(signals: &Receiver<Signal>) -> Option<Burst> {
    let Ok(Signal::Changed { mut rearm, at }) = signals.recv() else { return None };
    for _ in 0..MAX_EXTENSIONS {
        match signals.recv_timeout(QUIET) {
            Ok(Signal::Changed { rearm: again, .. }) => rearm |= again,
            Err(RecvTimeoutError::Timeout) => break,
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    Some(Burst { began: at, rearm })
}

/// The watched paths, absolute.
#[derive(Clone)]
struct Roots(Vec<PathBuf>);

impl Roots {
    /// Watches every root, and the directory it is in: an editor puts a new file in the place of
    /// the old one, and the watch on the old one would see nothing more.
    fn arm(&self, watcher: &mut RecommendedWatcher) -> Result<(), WatchError> {
        let mut watch = |path: &Path, mode| {
            watcher.watch(path, mode).map_err(|source| WatchError::Watch { path: path.to_owned(), source })
        };
        // Directories to be watched in depth come last: the later mode holds.
        for root in &self.0 {
            if let Some(parent) = root.parent() {
                watch(parent, RecursiveMode::NonRecursive)?;
            }
        }
        for root in self.0.iter().filter(|root| root.is_dir()) {
            watch(root, RecursiveMode::Recursive)?;
        }
        Ok(())
    }

    fn signal(&self, event: notify::Result<Event>) -> Option<Signal> {
        let at = Instant::now();
        let Ok(event) = event else { return Some(Signal::Changed { rearm: true, at }) };
        // Our own reading opens and closes files; only a writer's close is a change.
        if let EventKind::Access(access) = event.kind
            && access != AccessKind::Close(AccessMode::Write)
        {
            return None;
        }
        if event.need_rescan() {
            return Some(Signal::Changed { rearm: true, at });
        }
        // Who writes in place empties the file first, and closes it at the end: in between it says less than
        // was ever meant, and a policy that is not there opens what it closed.
        if matches!(event.kind, EventKind::Modify(ModifyKind::Data(_))) {
            return None;
        }
        let matters = event.paths.iter().any(|path| self.concerns(path));
        let rearm = event.paths.iter().any(|path| self.0.contains(path));
        matters.then_some(Signal::Changed { rearm, at })
    }

    /// Whether `path` is one of ours. The neighbours of a linked file count: a mounted ConfigMap
    /// changes by turning another link.
    fn concerns(&self, path: &Path) -> bool {
        self.0
            .iter()
            .any(|root| path.starts_with(root) || (root.is_symlink() && path.parent() == root.parent()))
    }
}
