//! Pods and nodes as endpoints: which are local, who owns which address, what is behind a port.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use podgate_dataplane::policy::{EndpointId, EndpointKind};
use podgate_dataplane::snapshot::PortBinding;
use podgate_dataplane::tag::PortId;
use podgate_flowtable::Addr;

use super::claims::Claims;
use super::nodes::{NodeEntry, Nodes};
use super::numbers::Numbers;
use super::plugged::{addresses, plugged};
use super::seen::Seen;
use super::{Locality, Note, PortAssignment};
use crate::model::{Cluster, ObjectKey, Pod};

/// All endpoints, by numbers that stay theirs while they are there.
#[derive(Default)]
pub(super) struct Roster {
    seen: Seen<Pod, Option<u32>>,
    pods: Vec<Option<PodEntry>>,
    nodes: Nodes,
    numbers: Numbers,
    claims: Claims,
    plugged: BTreeMap<ObjectKey, Plugged>,
    touched: Touched,
}

/// A live pod with a network of its own.
pub(super) struct PodEntry {
    pub(super) pod: Arc<Pod>,
    pub(super) local: bool,
    plugged: Option<PortAssignment>,
    claimed: Vec<Addr>,
    /// Addresses it was plugged in with and does not have.
    foreign: Vec<Addr>,
}

/// An assignment in force, and the pod it is for if that is an endpoint.
#[derive(Clone, PartialEq, Eq)]
struct Plugged {
    assignment: PortAssignment,
    pod: Option<u32>,
}

/// What may be other than it was.
#[derive(Default)]
pub(super) struct Touched {
    /// Pods; those that are no longer there, too.
    pub(super) pods: Vec<u32>,
    /// Any node.
    pub(super) nodes: bool,
    /// Pod objects that differ.
    pub(super) changed: usize,
}

impl Roster {
    /// Takes over what is there now.
    pub(super) fn update(
        &mut self,
        cluster: &Cluster,
        locality: &Locality,
        ports: &[PortAssignment],
        notes: &mut Vec<Note>,
    ) {
        let plugged = plugged(ports, notes);
        let mut changed = 0;
        let Self { seen, pods, numbers, claims, touched, .. } = self;
        seen.update(cluster.pods().values(), |change, number| {
            changed += 1;
            let after = change.after.filter(|pod| pod.is_endpoint());
            match (after, *number) {
                (Some(pod), Some(at)) => {
                    if let Some(entry) = &mut pods[at as usize] {
                        entry.pod = pod;
                    }
                    touched.pods.push(at);
                }
                (Some(pod), None) => {
                    let at = numbers.take();
                    *number = Some(at);
                    pods.resize_with(pods.len().max(at as usize + 1), || None);
                    pods[at as usize] = Some(PodEntry::new(pod));
                    touched.pods.push(at);
                }
                (None, Some(at)) => {
                    *number = None;
                    let claimed = pods[at as usize].take().map(|entry| entry.claimed).unwrap_or_default();
                    numbers.give_back(at);
                    touched.pods.push(at);
                    touched.pods.extend(claimed.into_iter().filter_map(|address| claims.remove(address, at)));
                }
                (None, None) => {}
            }
        });
        touched.changed = changed;
        self.plug(&plugged);
        self.update_nodes(cluster, locality);
        // Whoever gains or loses an address joins them.
        let mut at = 0;
        while at < self.touched.pods.len() {
            self.refresh(self.touched.pods[at], locality);
            at += 1;
        }
        let Self { touched, pods, nodes, .. } = self;
        touched.pods.sort_unstable();
        touched.pods.dedup();
        touched.pods.retain(|number| {
            pods.get(*number as usize).is_some_and(Option::is_some)
                || !nodes.all().iter().any(|node| node.number == *number)
        });
        self.note(notes);
    }

    /// What may be other than it was before the last update.
    pub(super) fn touched(&self) -> &Touched {
        &self.touched
    }

    /// A pod, by its number.
    pub(super) fn pod(&self, number: u32) -> Option<&PodEntry> {
        self.pods.get(number as usize)?.as_ref()
    }

    /// All pods.
    pub(super) fn pods(&self) -> impl Iterator<Item = (u32, &PodEntry)> {
        (0..).zip(&self.pods).filter_map(|(number, entry)| Some((number, entry.as_ref()?)))
    }

    /// The addresses that are a pod's alone.
    pub(super) fn addresses(&self, entry: &PodEntry) -> impl Iterator<Item = Addr> {
        entry.claimed.iter().copied().filter(|address| !self.claims.is_contested(*address))
    }

    /// Every address that is a node's alone, and what its node is.
    pub(super) fn node_addresses(&self) -> impl Iterator<Item = (Addr, EndpointKind, EndpointId)> {
        self.nodes.all().iter().flat_map(|node| {
            let kind = if node.own { EndpointKind::OwnNode } else { EndpointKind::OtherNode };
            let own = node.addresses.iter().filter(|address| !self.claims.is_contested(**address));
            own.map(move |address| (*address, kind, EndpointId(node.number)))
        })
    }

    /// Names of all nodes, by number.
    pub(super) fn node_titles(&self) -> impl Iterator<Item = (u32, String)> {
        self.nodes.all().iter().map(|node| (node.number, node.title()))
    }

    /// How many endpoints there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.used()
    }

    /// One more than the highest number that was ever in use.
    pub(super) fn bound(&self) -> usize {
        self.numbers.bound()
    }

    /// The pod behind each port.
    pub(super) fn bindings(&self) -> impl Iterator<Item = (PortId, PortBinding)> {
        self.plugged.values().filter_map(|plugged| {
            let number = plugged.pod?;
            let addresses = self.addresses(self.pod(number)?).collect();
            let binding =
                PortBinding { endpoint: EndpointId(number), mac: plugged.assignment.mac, addresses };
            Some((plugged.assignment.port, binding))
        })
    }

    /// The node that each pod is bound to, by the pod's number.
    pub(super) fn homes(&self) -> Vec<Option<EndpointId>> {
        let nodes = self.nodes.all().iter();
        let ids: HashMap<&str, u32> =
            nodes.filter_map(|node| Some((node.name.as_deref()?, node.number))).collect();
        let home = |entry: &PodEntry| ids.get(entry.pod.node.as_deref()?).copied().map(EndpointId);
        self.pods.iter().map(|entry| home(entry.as_ref()?)).collect()
    }

    /// The changes are dealt with.
    pub(super) fn settle(&mut self) {
        self.numbers.settle();
        self.touched = Touched::default();
    }

    /// Notes which pods are behind which ports from now on.
    fn plug(&mut self, now: &BTreeMap<&ObjectKey, &PortAssignment>) {
        let is_same = |(key, assignment): (&&ObjectKey, &&PortAssignment)| {
            self.plugged.get(*key).is_some_and(|old| old.assignment == **assignment)
        };
        if now.len() != self.plugged.len() || !now.iter().all(is_same) {
            let old = std::mem::take(&mut self.plugged);
            for (key, assignment) in now {
                let plugged = Plugged { assignment: (*assignment).clone(), pod: None };
                if old.get(*key).is_none_or(|old| old.assignment != plugged.assignment) {
                    self.touched.pods.extend(self.seen.note(key).copied().flatten());
                }
                self.plugged.insert((*key).clone(), plugged);
            }
            let unplugged = old.keys().filter(|key| !now.contains_key(key));
            self.touched.pods.extend(unplugged.filter_map(|key| self.seen.note(key).copied().flatten()));
        } else if self.touched.pods.is_empty() {
            return;
        }
        for (key, plugged) in &mut self.plugged {
            plugged.pod = self.seen.note(key).copied().flatten();
        }
        for number in &self.touched.pods {
            if let Some(Some(entry)) = self.pods.get_mut(*number as usize) {
                entry.plugged = self.plugged.get(&entry.pod.key).map(|plugged| plugged.assignment.clone());
            }
        }
    }

    fn update_nodes(&mut self, cluster: &Cluster, locality: &Locality) {
        let Some(old) = self.nodes.update(cluster, locality, &mut self.numbers) else { return };
        self.touched.nodes = true;
        let Self { nodes, claims, touched, pods, .. } = self;
        let mut affected = Vec::new();
        for node in old {
            affected.extend(node.addresses.iter().filter_map(|address| claims.remove(*address, node.number)));
        }
        for node in nodes.all() {
            affected.extend(node.addresses.iter().filter_map(|address| claims.add(*address, node.number)));
        }
        let is_pod = |number: &u32| pods.get(*number as usize).is_some_and(Option::is_some);
        touched.pods.extend(affected.into_iter().filter(is_pod));
    }

    /// Works out anew what a pod is and claims.
    fn refresh(&mut self, number: u32, locality: &Locality) {
        let Some(Some(entry)) = self.pods.get_mut(number as usize) else {
            // A node that gains or loses an address; or a pod that is gone.
            self.touched.nodes |= self.nodes.all().iter().any(|node| node.number == number);
            return;
        };
        entry.local = match locality {
            Locality::Everything => true,
            // A pod whose device is here is here, whatever its manifest says.
            Locality::Node { name, .. } => entry.plugged.is_some() || entry.pod.node == *name,
        };
        let (claimed, foreign) = addresses(&entry.pod, entry.plugged.as_ref());
        entry.foreign = foreign;
        let before = std::mem::replace(&mut entry.claimed, claimed.clone());
        let gone = before.iter().filter(|address| !claimed.contains(address));
        self.touched.pods.extend(gone.filter_map(|address| self.claims.remove(*address, number)));
        let new = claimed.iter().filter(|address| !before.contains(address));
        self.touched.pods.extend(new.filter_map(|address| self.claims.add(*address, number)));
    }

    fn note(&self, notes: &mut Vec<Note>) {
        for (key, plugged) in &self.plugged {
            let foreign = plugged.pod.and_then(|number| self.pod(number)).map(|entry| &entry.foreign);
            notes.extend(
                foreign
                    .into_iter()
                    .flatten()
                    .map(|address| Note::ForeignAddress { address: *address, pod: key.clone() }),
            );
        }
        let unbound = self.plugged.values().filter(|plugged| plugged.pod.is_none());
        let mut unbound: Vec<_> = unbound.map(|plugged| &plugged.assignment).collect();
        unbound.sort_unstable_by_key(|assignment| assignment.port);
        notes.extend(
            unbound.iter().map(|unbound| Note::UnboundPort { port: unbound.port, pod: unbound.pod.clone() }),
        );
        notes.extend(self.claims.contested().map(|(address, claimants)| {
            let pods = claimants.iter().filter_map(|number| Some(&self.pod(*number)?.pod.key));
            let mut pods: Vec<&ObjectKey> = pods.collect();
            pods.sort_unstable();
            let nodes = self.nodes.all().iter().filter(|node| claimants.contains(&node.number));
            let titles = pods.into_iter().map(ToString::to_string);
            Note::ContestedAddress { address, claimants: titles.chain(nodes.map(NodeEntry::title)).collect() }
        }));
    }
}

impl PodEntry {
    fn new(pod: Arc<Pod>) -> Self {
        Self { pod, local: false, plugged: None, claimed: Vec::new(), foreign: Vec::new() }
    }

    /// What it is.
    pub(super) fn kind(&self) -> EndpointKind {
        if self.local {
            EndpointKind::LocalPod { port: self.plugged.as_ref().map(|assignment| assignment.port) }
        } else {
            EndpointKind::RemotePod
        }
    }
}
