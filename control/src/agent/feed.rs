//! Where the objects come from: opened as the options say, before anything is touched.

use super::{RunError, RunOptions};
use crate::source::{Directory, Feed, Follower, Loaded, Untraced, Update, Watch, WatchError};

/// Opens it. Bad manifests are told at once; a server that is away is not waited for.
pub(super) async fn start(options: &RunOptions) -> Result<Feed, RunError> {
    if let Some(kubernetes) = &options.kubernetes {
        return Ok(Feed::Kubernetes(Follower::start(kubernetes.clone()).await?));
    }
    let mut source = Directory::new(options.manifests.clone())
        .with_workloads(options.workloads)
        .with_strictness(options.strictness);
    if let Some(path) = &options.pod_ips {
        source = source.with_overlay_file(path);
    }
    source.load_traced().map_err(RunError::Manifests)?;
    Ok(Feed::Manifests(Watch::start(source)?))
}

/// The first objects. `None` where they come from an API server and nothing was kept on disk: the guard does not
/// wait for the server.
pub(super) async fn first(feed: &mut Feed) -> Result<Option<Loaded>, RunError> {
    match (feed.first().await, &feed) {
        (Some(Update { loaded, .. }), _) => {
            let bad = |errors| RunError::Manifests(Untraced { errors, texts: Vec::new() });
            Ok(Some(loaded.map_err(bad)?))
        }
        (None, Feed::Kubernetes(_)) => Ok(None),
        (None, Feed::Manifests(_)) => {
            let reason = "the thread that watches the manifests has ended".into();
            Err(WatchError::Start { reason }.into())
        }
    }
}
