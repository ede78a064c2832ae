//! Paths to a cluster, and where everything in it stands.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::{reach, words};
use crate::model::{
    Cluster, NAMESPACE_NAME_LABEL, NamespaceScope, ObjectKey, Peer, Peers, Pod, PodPeer, Selector,
};
use crate::service::ServiceMode;
use crate::source::{Background, Directory, Note, SourceText, Traced, Untraced, Workloads};

/// Pods whose manifest has no address are lent one from here; a lab does the same.
const POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);

/// Policies say nothing by themselves.
const NO_PODS: &str = "there are neither pods nor workloads among the files; a cluster tells its pods: kubectl get \
                       namespaces,nodes,pods,networkpolicies -A -o yaml";

/// A cluster as it was read.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The objects.
    pub cluster: Cluster,
    /// Where they stand; nothing does in a cluster that was not read.
    pub traced: Traced,
    /// Owners of pods, and where policies stand.
    pub background: Background,
    /// The gateway that told all this, if it was not read from files.
    pub gateway: Option<AskedGateway>,
    /// Who translates the addresses of Services; files do not tell.
    pub services: Option<ServiceMode>,
    /// Pods that were lent an address.
    pub lent: Vec<ObjectKey>,
    /// Pods that were made of a workload's template, by the workload's title.
    pub made: BTreeMap<String, Vec<ObjectKey>>,
    /// Objects that were not read, by kind.
    pub left_out: BTreeMap<String, usize>,
    /// Namespaces that are used and nowhere declared.
    pub implied: Vec<String>,
}

/// A gateway that was asked what is in force.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AskedGateway {
    /// Its name.
    pub name: String,
    /// Number of the snapshot in force.
    pub epoch: u32,
    /// Seconds since it was published.
    pub age_seconds: f64,
    /// Why what the manifests say now is not in force, if it is not.
    pub held_back: Vec<String>,
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

    pub(super) fn read_as_written(
        paths: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> Result<Self, Untraced> {
        let directory = Directory::new(paths).with_workloads(Workloads::AtLeastOne);
        let (loaded, traced) = directory.load_traced().map_err(|mut failed| {
            failed.errors.sort_by(|one, other| one.place.cmp(&other.place));
            failed
        })?;
        let (cluster, background) = (loaded.cluster, loaded.background);
        let mut survey = Self { cluster, traced, background, ..Self::default() };
        for note in loaded.notes {
            match note {
                Note::IgnoredKind { kind, .. } => {
                    let kind = kind.rsplit(' ').next().unwrap_or_default().to_owned();
                    *survey.left_out.entry(kind).or_default() += 1;
                }
                Note::ImpliedNamespace { name } => survey.implied.push(name),
                Note::Workload { workload, pods } => {
                    survey.made.insert(workload, pods);
                }
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
        if let Some((text, origin)) = self.traced.origin(title) {
            return Some(Spot::new(text, field, origin.field(field)));
        }
        // Of what a gateway told, it is known where each policy stood, and no more.
        let policy = title.strip_prefix("NetworkPolicy ").filter(|_| field == "metadata.name")?;
        let place = self.background.policies.get(&policy.parse().ok()?)?;
        let line = usize::try_from(place.line?).ok()?;
        Some(Spot { file: place.file.clone(), line, column: 1, field: field.to_owned(), span: 0..0 })
    }

    /// Whom rules are about and nothing can be said of: pods in namespaces that there are not. One
    /// sentence.
    pub fn elsewhere(&self) -> Option<String> {
        let namespaces = self.cluster.namespaces();
        let unknown = namespace_selectors(&self.cluster)
            .filter(|selector| !namespaces.values().any(|namespace| selector.matches(namespace.labels())));
        let unknown: BTreeSet<String> = unknown
            .map(|selector| match words::name_of(selector) {
                Some(name) => name.to_owned(),
                None => words::selector(selector),
            })
            .collect();
        let unknown: Vec<String> = unknown.into_iter().collect();
        (!unknown.is_empty()).then(|| {
            let names = words::some(&unknown, "namespace");
            format!(
                "rules are about namespaces that are not given ({names}): what pods there may do is not shown"
            )
        })
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
        let made: usize = self.made.values().map(Vec::len).sum();
        if made > 0 {
            let workloads: Vec<&String> =
                self.made.iter().filter(|(_, pods)| !pods.is_empty()).map(|(workload, _)| workload).collect();
            let are = if made == 1 { "one pod was" } else { "pods were" };
            remarks.push(format!("{are} made of the templates of {}", words::some(&workloads, "workload")));
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

/// Every selector of namespaces.
fn namespace_selectors(cluster: &Cluster) -> impl Iterator<Item = &Selector> {
    let peers = reach::rules(cluster).flat_map(|rule| match &rule.peers {
        Peers::Any => &[],
        Peers::AnyOf(items) => items.as_slice(),
    });
    peers.filter_map(|peer| match peer {
        Peer::Pods(PodPeer { namespaces: NamespaceScope::Matching(selector), .. }) => Some(selector),
        _ => None,
    })
}

/// Whether some peer looks for namespaces by more than their name.
fn asks_for_namespace_labels(cluster: &Cluster) -> bool {
    namespace_selectors(cluster)
        .any(|selector| selector.requirements().iter().any(|asked| asked.key != NAMESPACE_NAME_LABEL))
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
    use crate::model::Phase;

    fn cluster(pods: &[(&str, &[&str])]) -> Cluster {
        let mut cluster = Cluster::new();
        for (key, addresses) in pods {
            cluster.put_pod(Pod {
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                phase: Phase::Running,
                ..Pod::new(key.parse().unwrap())
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
