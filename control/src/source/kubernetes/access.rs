//! The client: who we are, where the server is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError};
use kube::{Client, Config};

use super::contact::Noticing;
use super::health::Health;
use super::options::{Access, KubernetesOptions};

/// A server that does not take a connection within this is away.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no way to the API server. Told at the start, before anything is touched: nothing of it mends
/// itself.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Not in a pod, or in one without a service account.
    #[error(
        "cannot reach the Kubernetes API as a pod: {0}; is this a pod with a service account? elsewhere, name a \
         kubeconfig with --kubeconfig"
    )]
    InCluster(#[source] InClusterError),
    /// The kubeconfig does not say it.
    #[error(
        "{}: the kubeconfig cannot be used: {reason}; mend it, or name another file with --kubeconfig or another \
         context with --context",
        .file.display()
    )]
    Kubeconfig {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// What it says cannot be made a client of.
    #[error(
        "cannot make a client for the Kubernetes API: {0}; check certificates and keys in the kubeconfig"
    )]
    Client(#[source] kube::Error),
    /// There is no thread for it.
    #[error("cannot start to read from the Kubernetes API: {reason}")]
    Start {
        /// Why.
        reason: String,
    },
}

/// Reads what there is to know about the way to the server.
pub(super) async fn config(options: &KubernetesOptions) -> Result<Config, AccessError> {
    let mut config = match &options.access {
        Access::InCluster => Config::incluster().map_err(AccessError::InCluster)?,
        Access::Kubeconfig { file, context } => {
            let kubeconfig = match file {
                Some(file) => Kubeconfig::read_from(file),
                None => Kubeconfig::read(),
            };
            let failed = |error: KubeconfigError| AccessError::Kubeconfig {
                file: file.clone().unwrap_or_else(|| "KUBECONFIG or ~/.kube/config".into()),
                reason: told(&error),
            };
            let chosen = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig.map_err(failed)?, &chosen).await.map_err(failed)?
        }
    };
    config.connect_timeout = Some(CONNECT_WITHIN);
    config.read_timeout = Some(options.silence);
    // A connection that was not in use is not silent.
    config.reset_reader_on_write = true;
    // We try again ourselves, and tell of it.
    config.default_retry = false;
    Ok(config)
}

/// What is wrong, a file named as people write it.
fn told(error: &KubeconfigError) -> String {
    let of = |what: &str, error: &LoadDataError| match error {
        LoadDataError::ReadFile(source, path) => {
            format!("{what} {} cannot be read: {source}", path.display())
        }
        error => format!("its {what} cannot be used: {error}"),
    };
    match error {
        KubeconfigError::ReadConfig(source, _) => source.to_string(),
        KubeconfigError::LoadCertificateAuthority(error) => of("certificate-authority", error),
        KubeconfigError::LoadClientCertificate(error) => of("client-certificate", error),
        KubeconfigError::LoadClientKey(error) => of("client-key", error),
        KubeconfigError::LoadContext(context) => format!("it has no context {context:?}"),
        // With an excerpt of the file in the lines below.
        KubeconfigError::Parse(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        error => error.to_string(),
    }
}

/// The client; within a runtime.
pub(super) fn client(config: Config, health: Arc<Health>) -> Result<Client, AccessError> {
    let builder = ClientBuilder::try_from(config).map_err(AccessError::Client)?;
    Ok(builder.with_layer(&Noticing(health)).build())
}
