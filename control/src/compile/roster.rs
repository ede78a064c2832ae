//! Pods and nodes as endpoints: which are local, who owns which address, what is behind a port.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use podgate_dataplane::policy::{EndpointId, EndpointKind};
use podgate_dataplane::snapshot::PortBinding;
use podgate_dataplane::tag::PortId;
use podgate_flowtable::Addr;

use super::{Locality, Note, PortAssignment};
use crate::model::{Cluster, Pod};

/// All endpoints: pods first, in the order of their keys, then nodes.
pub(super) struct Roster<'a> {
    pods: Vec<PodEntry<'a>>,
    nodes: Vec<NodeEntry<'a>>,
}

/// A live pod with a network of its own.
pub(super) struct PodEntry<'a> {
    pub(super) pod: &'a Pod,
    pub(super) local: bool,
    /// Those that are its alone.
    pub(super) addresses: Vec<Addr>,
    port: Option<&'a PortAssignment>,
}

struct NodeEntry<'a> {
    /// `None`: this machine, of which no Node object tells.
    name: Option<&'a str>,
    own: bool,
    addresses: Vec<Addr>,
}

impl<'a> Roster<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        locality: &'a Locality,
        ports: &'a [PortAssignment],
        notes: &mut Vec<Note>,
    ) -> Self {
        let mut plugged = plugged(ports, notes);
        let mut pods = Vec::new();
        for pod in cluster.pods().values().filter(|pod| pod.is_endpoint()) {
            let port = plugged.remove(&pod.key);
            let local = match locality {
                Locality::Everything => true,
                // A pod whose device is here is here, whatever its manifest says.
                Locality::Node { name, .. } => port.is_some() || pod.node == *name,
            };
            pods.push(PodEntry { pod, local, addresses: addresses(pod, port, notes), port });
        }
        let mut unbound: Vec<_> = plugged.into_values().collect();
        unbound.sort_unstable_by_key(|assignment| assignment.port);
        notes.extend(
            unbound.iter().map(|unbound| Note::UnboundPort { port: unbound.port, pod: unbound.pod.clone() }),
        );
        let mut roster = Self { pods, nodes: nodes(cluster, locality) };
        roster.settle(notes);
        roster
    }

    /// Pods, by endpoint.
    pub(super) fn pods(&self) -> &[PodEntry<'a>] {
        &self.pods
    }

    /// Every node address and what its node is.
    pub(super) fn node_addresses(&self) -> impl Iterator<Item = (Addr, EndpointKind, EndpointId)> {
        self.nodes.iter().enumerate().flat_map(|(at, node)| {
            let kind = if node.own { EndpointKind::OwnNode } else { EndpointKind::OtherNode };
            let id = self.node_id(at);
            node.addresses.iter().map(move |address| (*address, kind, id))
        })
    }

    /// How many endpoints there are.
    pub(super) fn len(&self) -> usize {
        self.pods.len() + self.nodes.len()
    }

    /// Names of all endpoints.
    pub(super) fn names(&self) -> Vec<String> {
        let pods = self.pods.iter().map(|entry| entry.pod.key.to_string());
        pods.chain(self.nodes.iter().map(NodeEntry::title)).collect()
    }

    /// The pod behind each port.
    pub(super) fn bindings(&self) -> impl Iterator<Item = (PortId, PortBinding)> {
        self.pods.iter().enumerate().filter_map(|(at, entry)| {
            let assignment = entry.port?;
            let addresses = entry.addresses.clone().into();
            Some((
                assignment.port,
                PortBinding { endpoint: EndpointId(at as u32), mac: assignment.mac, addresses },
            ))
        })
    }

    /// The node that each pod is bound to.
    pub(super) fn homes(&self) -> Vec<Option<EndpointId>> {
        let named =
            self.nodes.iter().enumerate().filter_map(|(at, node)| Some((node.name?, self.node_id(at))));
        let ids: HashMap<&str, EndpointId> = named.collect();
        self.pods.iter().map(|entry| ids.get(entry.pod.node.as_deref()?).copied()).collect()
    }

    fn node_id(&self, at: usize) -> EndpointId {
        EndpointId((self.pods.len() + at) as u32)
    }

    /// Takes every address that more than one endpoint claims from all of them. Which of them has
    /// it is not known, and to guess would give one the other's rights.
    fn settle(&mut self, notes: &mut Vec<Note>) {
        let mut claims: HashMap<Addr, u32> = HashMap::new();
        for address in self.addresses() {
            *claims.entry(*address).or_default() += 1;
        }
        claims.retain(|_, count| *count > 1);
        if claims.is_empty() {
            return;
        }
        let mut contested: BTreeMap<Addr, Vec<String>> = BTreeMap::new();
        let mut settle = |title: &dyn Fn() -> String, addresses: &mut Vec<Addr>| {
            addresses.retain(|address| {
                let keep = !claims.contains_key(address);
                if !keep {
                    contested.entry(*address).or_default().push(title());
                }
                keep
            });
        };
        for entry in &mut self.pods {
            settle(&|| entry.pod.key.to_string(), &mut entry.addresses);
        }
        for node in &mut self.nodes {
            let title = node.title();
            settle(&|| title.clone(), &mut node.addresses);
        }
        notes.extend(
            contested.into_iter().map(|(address, claimants)| Note::ContestedAddress { address, claimants }),
        );
    }

    fn addresses(&self) -> impl Iterator<Item = &Addr> {
        let pods = self.pods.iter().flat_map(|entry| &entry.addresses);
        pods.chain(self.nodes.iter().flat_map(|node| &node.addresses))
    }
}

impl PodEntry<'_> {
    /// What it is.
    pub(super) fn kind(&self) -> EndpointKind {
        if self.local {
            EndpointKind::LocalPod { port: self.port.map(|assignment| assignment.port) }
        } else {
            EndpointKind::RemotePod
        }
    }
}

impl NodeEntry<'_> {
    fn title(&self) -> String {
        self.name.map_or_else(|| "node:(this)".to_owned(), |name| format!("node:{name}"))
    }
}

/// Assignments by pod; one port for a pod and one pod for a port.
fn plugged<'a>(
    ports: &'a [PortAssignment],
    notes: &mut Vec<Note>,
) -> HashMap<&'a crate::model::ObjectKey, &'a PortAssignment> {
    let mut plugged = HashMap::new();
    let mut taken = HashSet::new();
    for assignment in ports {
        if plugged.contains_key(&assignment.pod) || !taken.insert(assignment.port) {
            notes.push(Note::RepeatedAssignment { port: assignment.port, pod: assignment.pod.clone() });
        } else {
            plugged.insert(&assignment.pod, assignment);
        }
    }
    plugged
}

/// The addresses of a pod: those in its status and the link-local ones it was plugged in with. A
/// pod without status has those it was plugged in with.
fn addresses(pod: &Pod, port: Option<&PortAssignment>, notes: &mut Vec<Note>) -> Vec<Addr> {
    let mut addresses = distinct(&pod.addresses);
    let adopt = addresses.is_empty();
    for address in port.into_iter().flat_map(|assignment| &assignment.addresses) {
        let addr = Addr::from(*address);
        if addresses.contains(&addr) {
            continue;
        }
        if adopt || is_link_local(*address) {
            addresses.push(addr);
        } else {
            notes.push(Note::ForeignAddress { address: addr, pod: pod.key.clone() });
        }
    }
    addresses
}

/// Each once, in order: an endpoint does not contest its own address.
fn distinct(addresses: &[IpAddr]) -> Vec<Addr> {
    let mut distinct = Vec::with_capacity(addresses.len());
    for address in addresses {
        let addr = Addr::from(*address);
        if !distinct.contains(&addr) {
            distinct.push(addr);
        }
    }
    distinct
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn nodes<'a>(cluster: &'a Cluster, locality: &'a Locality) -> Vec<NodeEntry<'a>> {
    let (own_name, own_addresses): (Option<&str>, &[IpAddr]) = match locality {
        Locality::Node { name, own_addresses } => (name.as_deref(), own_addresses),
        Locality::Everything => (None, &[]),
    };
    let mine = |address: &IpAddr| own_addresses.contains(address);
    let mut entries: Vec<NodeEntry<'_>> = cluster
        .nodes()
        .values()
        .map(|node| NodeEntry {
            name: Some(&node.name),
            own: match own_name {
                Some(name) => node.name == name,
                None => node.addresses.iter().any(mine),
            },
            addresses: distinct(&node.addresses),
        })
        .collect();
    if let Locality::Node { .. } = locality {
        // What is on this machine is this machine's: an address that floats between nodes too.
        let own = distinct(own_addresses);
        for entry in &mut entries {
            entry.addresses.retain(|address| !own.contains(address));
        }
        let at = entries.iter().position(|entry| entry.own).unwrap_or_else(|| {
            entries.push(NodeEntry { name: own_name, own: true, addresses: Vec::new() });
            entries.len() - 1
        });
        entries[at].addresses.extend(own);
    }
    entries
}
