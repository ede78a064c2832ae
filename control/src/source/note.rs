//! What was read but is not used; worth a line to whoever wrote the manifests.

use super::Place;
use crate::model::ObjectKey;

/// Something that is no error but may surprise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// An object of a kind that has no part in policy.
    #[error("{place}: {kind} {name} is ignored: podgate does not read that kind")]
    IgnoredKind {
        /// Where it stands.
        place: Place,
        /// `apiVersion kind`.
        kind: String,
        /// Its name, as far as it has one.
        name: String,
    },
    /// A workload that was taken for pods.
    #[error("{workload} is taken for {} of its template", counted(pods))]
    Workload {
        /// Its kind, namespace and name.
        workload: String,
        /// The pods.
        pods: Vec<ObjectKey>,
    },
    /// A namespace that pods or policies use and nobody declared.
    #[error(
        "namespace {name} is not declared: it is taken to have no labels but kubernetes.io/metadata.name; \
         add a Namespace manifest if it has others"
    )]
    ImpliedNamespace {
        /// Its name.
        name: String,
    },
}

fn counted(pods: &[ObjectKey]) -> String {
    match pods {
        [_] => "one pod".to_owned(),
        pods => format!("{} pods", pods.len()),
    }
}
