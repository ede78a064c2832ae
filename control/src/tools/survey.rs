//! Paths to a cluster, and where everything in it stands.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::{reach, words};
use crate::model::{Cluster, NAMESPACE_NAME_LABEL, NamespaceScope, ObjectKey, Peer, Peers, Pod, PodPeer};
use crate::source::{Directory, Note, SourceText, Traced, Untraced};

/// Pods whose manifest has no address are lent one from here; a lab does the same.
const POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);

/// Manifests as people keep them often hold workloads instead of pods.
const NO_PODS: &str = "there are no pods among the files; workloads such as Deployments are not read, but a cluster \
                       tells its pods: kubectl get namespaces,nodes,pods,networkpolicies -A -o yaml";

/// A cluster as it was read.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The objects.
    pub cluster: Cluster,
    /// Where they stand; nothing does in a cluster that was not read.
    pub traced: Traced,
    /// Pods that were lent an address.
    pub lent: Vec<ObjectKey>,
    /// Objects that were not read, by kind.
    pub left_out: BTreeMap<String, usize>,
    /// Namespaces that are used and nowhere declared.
    pub implied: Vec<String>,
}

/// A place in a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Spot {
    /// The file, as it was named or found.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The field: `spec.ingress[0].from[1]`.
    pub field: String,
    /// The bytes that are meant.
    #[serde(skip)]
    pub span: Range<usize>,
}

impl Survey {
    /// Reads files and directories as the gateway does.
    pub fn read(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Result<Self, Untraced> {
        let mut survey = Self::read_as_written(paths)?;
        survey.lent = lend(&mut [&mut survey.cluster]);
        Ok(survey)
    }

    /// Reads the same cluster at two times: a pod that is lent an address is lent the same.
    pub fn read_both(
        old: impl IntoIterator<Item = impl Into<PathBuf>>,
        new: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> Result<(Self, Self), Untraced> {
        let (old, new) = (Self::read_as_written(old)?, Self::read_as_written(new)?);
        Ok(Self::lend_both(old, new))
    }

    /// The same cluster at two times, made and not read.
    pub fn of_both(old: Cluster, new: Cluster) -> (Self, Self) {
        let survey = |cluster| Self { cluster, ..Self::default() };
        Self::lend_both(survey(old), survey(new))
    }

    fn lend_both(mut old: Self, mut new: Self) -> (Self, Self) {
        let lent = lend(&mut [&mut old.cluster, &mut new.cluster]);
        old.lent.clone_from(&lent);
        new.lent = lent;
        (old, new)
    }

    fn read_as_written(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Result<Self, Untraced> {
        let (loaded, traced) = Directory::new(paths).load_traced().map_err(|mut failed| {
            failed.errors.sort_by(|one, other| one.place.cmp(&other.place));
            failed
        })?;
        let mut survey = Self { cluster: loaded.cluster, traced, ..Self::default() };
        for note in loaded.notes {
            match note {
                Note::IgnoredKind { kind, .. } => {
                    let kind = kind.rsplit(' ').next().unwrap_or_default().to_owned();
                    *survey.left_out.entry(kind).or_default() += 1;
                }
                Note::ImpliedNamespace { name } => survey.implied.push(name),
            }
        }
        Ok(survey)
    }

    /// A cluster that was made, not read.
    pub fn of(mut cluster: Cluster) -> Self {
        let lent = lend(&mut [&mut cluster]);
        Self { cluster, lent, ..Self::default() }
    }

    /// Where a field of a policy stands, or what is written around it.
    pub fn policy_spot(&self, policy: &ObjectKey, field: &str) -> Option<Spot> {
        self.spot(&format!("NetworkPolicy {policy}"), field)
    }

    /// Where a field of the object of this title stands, or what is written around it.
    pub fn spot(&self, title: &str, field: &str) -> Option<Spot> {
        let (text, origin) = self.traced.origin(title)?;
        Some(Spot::new(text, field, origin.field(field)))
    }

    /// What of the input plays no part or was made up, one sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.left_out.is_empty() {
            let kinds: Vec<String> =
                self.left_out.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            remarks.push(format!("left out, for they play no part: {}", kinds.join(", ")));
        }
        if self.cluster.pods().is_empty() {
            remarks.push(NO_PODS.to_owned());
        }
        if !self.lent.is_empty() {
            let whose = match &self.lent[..] {
                [only] => format!("{only} has no address in its manifest: it was lent one"),
                pods => {
                    format!("{} pods have no address in their manifests: they were lent some", pods.len())
                }
            };
            remarks.push(format!("{whose} from {POOL}"));
        }
        if !self.implied.is_empty() && asks_for_namespace_labels(&self.cluster) {
            let names = words::some(&self.implied, "namespace");
            remarks
                .push(format!("no manifest of {names}: taken to have no labels but {NAMESPACE_NAME_LABEL}"));
        }
        remarks
    }
}

impl Spot {
    /// Bytes of a text.
    pub(super) fn new(text: &SourceText, field: &str, span: Range<usize>) -> Self {
        let line_start = text.text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let column = text.text[line_start..span.start].chars().count() + 1;
        Self { file: text.file.clone(), line: text.line(span.start), column, field: field.to_owned(), span }
    }

    /// `file:line`.
    pub fn at(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// Whether some peer looks for namespaces by more than their name.
fn asks_for_namespace_labels(cluster: &Cluster) -> bool {
    let peers = reach::rules(cluster).flat_map(|rule| match &rule.peers {
        Peers::Any => &[],
        Peers::AnyOf(items) => items.as_slice(),
    });
    let mut selectors = peers.filter_map(|peer| match peer {
        Peer::Pods(PodPeer { namespaces: NamespaceScope::Matching(selector), .. }) => Some(selector),
        _ => None,
    });
    selectors.any(|selector| selector.requirements().iter().any(|asked| asked.key != NAMESPACE_NAME_LABEL))
}

/// Lends addresses to pods that have none; one pod gets the same in all clusters.
pub(super) fn lend(clusters: &mut [&mut Cluster]) -> Vec<ObjectKey> {
    let mut taken: HashSet<IpAddr> = HashSet::new();
    let mut without: Vec<ObjectKey> = Vec::new();
    for cluster in clusters.iter() {
        taken.extend(cluster.pods().values().flat_map(|pod| &pod.addresses));
        taken.extend(cluster.nodes().values().flat_map(|node| &node.addresses));
        let pods = cluster.pods().values();
        let bare = pods.filter(|pod| pod.is_endpoint() && pod.addresses.is_empty());
        without.extend(bare.map(|pod| pod.key.clone()));
    }
    without.sort_unstable();
    without.dedup();
    let free = POOL.hosts().map(IpAddr::from).filter(|address| !taken.contains(address));
    for (key, address) in without.iter().zip(free) {
        for cluster in clusters.iter_mut() {
            if let Some(pod) = cluster.pods().get(key).filter(|pod| pod.addresses.is_empty()) {
                let mut pod = Pod::clone(pod);
                pod.addresses.push(address);
                cluster.put_pod(pod);
            }
        }
    }
    without
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Phase};

    fn cluster(pods: &[(&str, &[&str])]) -> Cluster {
        let mut cluster = Cluster::new();
        for (key, addresses) in pods {
            cluster.put_pod(Pod {
                key: key.parse().unwrap(),
                labels: Labels::new(),
                node: None,
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                host_network: false,
                phase: Phase::Running,
                ready: true,
                terminating: false,
                ports: Vec::new(),
            });
        }
        cluster
    }

    #[test]
    fn a_pod_is_lent_one_free_address_for_all_clusters() {
        let mut old = cluster(&[("x/a", &[]), ("x/b", &["10.244.0.1"])]);
        let mut new = cluster(&[("x/a", &[]), ("x/c", &[])]);
        assert_eq!(lend(&mut [&mut old, &mut new]).len(), 2);
        let address = |cluster: &Cluster, key: &str| cluster.pods()[&key.parse().unwrap()].addresses[0];
        assert_eq!(address(&old, "x/a").to_string(), "10.244.0.2");
        assert_eq!(address(&new, "x/a"), address(&old, "x/a"));
        assert_eq!(address(&new, "x/c").to_string(), "10.244.0.3");
    }
}
