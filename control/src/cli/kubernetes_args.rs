//! How the API server is reached, on `run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::source::{Access, KubernetesOptions};

/// What `--state-dir` is, if nothing else is said.
const STATE_DIR: &str = "/var/lib/podgate";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kubernetes API")]
pub(super) struct KubernetesArgs {
    /// Read all objects from the Kubernetes API server, and follow them: as KUBECONFIG says where it is set, as
    /// the pod this runs in where it is one, or else as ~/.kube/config says.
    #[arg(long, group = "source", env = "PODGATE_KUBERNETES")]
    kubernetes: bool,
    /// The same, as this kubeconfig says.
    #[arg(long, group = "source", value_name = "FILE", env = "PODGATE_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context, if not its current one.
    #[arg(long, value_name = "NAME", conflicts_with = "manifests", env = "PODGATE_CONTEXT")]
    context: Option<String>,
    /// Where the last good state is kept, to be enforced after a restart until the API server answers.
    #[arg(long, default_value = STATE_DIR, value_name = "DIR", env = "PODGATE_STATE_DIR")]
    state_dir: PathBuf,
    /// A connection to the API server from which nothing has come for so long is taken for dead. Servers send
    /// something once a minute.
    #[arg(long, default_value = "90s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    api_silence: Duration,
}

impl KubernetesArgs {
    /// Options for a gateway called `name` on `node`; `None` if it reads manifests.
    pub(super) fn options(self, name: &str, node: Option<String>) -> Option<KubernetesOptions> {
        let is_wanted = self.kubernetes || self.kubeconfig.is_some();
        is_wanted.then(|| KubernetesOptions {
            access: access(self.kubeconfig, self.context, |variable| std::env::var_os(variable).is_some()),
            saved: self.state_dir.join(name).join("objects.jsonl"),
            node,
            silence: self.api_silence,
            spread: KubernetesOptions::SPREAD,
        })
    }
}

fn access(file: Option<PathBuf>, context: Option<String>, is_set: impl Fn(&str) -> bool) -> Access {
    let says_kubeconfig = file.is_some() || context.is_some() || is_set("KUBECONFIG");
    if !says_kubeconfig && is_set("KUBERNETES_SERVICE_HOST") {
        return Access::InCluster;
    }
    Access::Kubeconfig { file, context }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_one_unless_a_kubeconfig_is_named() {
        let pod = |variable: &str| variable == "KUBERNETES_SERVICE_HOST";
        let both = |_: &str| true;
        let file = |file: Option<&str>| Access::Kubeconfig { file: file.map(Into::into), context: None };
        assert_eq!(access(None, None, pod), Access::InCluster);
        assert_eq!(access(None, None, both), file(None));
        assert_eq!(access(None, None, |_| false), file(None));
        assert_eq!(access(Some("k".into()), None, pod), file(Some("k")));
        let named = Access::Kubeconfig { file: None, context: Some("c".into()) };
        assert_eq!(access(None, Some("c".into()), pod), named);
    }
}
