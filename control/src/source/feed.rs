//! Where a gateway's objects come from, whichever it is.

use super::kubernetes::{Follower, SourceHandle};
use super::{Update, Watch};

/// Objects that are followed as they change.
#[derive(Debug)]
pub enum Feed {
    /// Files and directories.
    Manifests(Watch),
    /// A Kubernetes API server.
    Kubernetes(Follower),
}

impl Feed {
    /// The next state; see [`Watch::next`] and [`Follower::next`].
    pub async fn next(&mut self) -> Option<Update> {
        match self {
            Self::Manifests(watch) => watch.next().await,
            Self::Kubernetes(follower) => follower.next().await,
        }
    }

    /// The first state. `None` if there is none at once, and what is to be guarded has to be guarded
    /// without.
    pub async fn first(&mut self) -> Option<Update> {
        match self {
            Self::Manifests(watch) => watch.next().await,
            Self::Kubernetes(follower) => follower.first().await,
        }
    }

    /// What can be asked of it at any time.
    pub fn handle(&self) -> SourceHandle {
        match self {
            Self::Manifests(_) => SourceHandle::default(),
            Self::Kubernetes(follower) => follower.handle(),
        }
    }
}
