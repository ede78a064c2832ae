//! What the Kubernetes source is told.

use std::path::PathBuf;
use std::time::Duration;

/// Who we are to the API server, and where it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// As the pod that this process runs in: its service account, and the environment that the
    /// kubelet gives it.
    #[default]
    InCluster,
    /// As a kubeconfig says.
    Kubeconfig {
        /// The file; `KUBECONFIG` or `~/.kube/config` where `None`.
        file: Option<PathBuf>,
        /// The context; the file's own choice where `None`.
        context: Option<String>,
    },
}

/// What the Kubernetes source is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KubernetesOptions {
    /// How the API server is reached.
    pub access: Access,
    /// Where the last good state is kept over restarts.
    pub saved: PathBuf,
    /// The Node object that is this node, if it is known. Pods of this node that were saved before the
    /// machine was booted have lost their addresses.
    pub node: Option<String>,
    /// A connection from which nothing has come for so long is taken for dead. API servers send
    /// something (a bookmark) on every watch once a minute.
    pub silence: Duration,
    /// A policy that cannot be applied is told as an Event at a random moment within so long: all nodes hear of
    /// it at once, and would all write at once.
    pub spread: Duration,
}

impl KubernetesOptions {
    /// [`KubernetesOptions::silence`], if nothing else is said.
    pub const SILENCE: Duration = Duration::from_secs(90);
    /// [`KubernetesOptions::spread`], if nothing else is said.
    pub const SPREAD: Duration = Duration::from_secs(5);
}
