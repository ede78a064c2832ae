//! Services as the dataplane looks them up; what has not changed since the last time is used again.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use podgate_dataplane::service::{Maglev, ServiceKey, ServicePort, Services};
use podgate_flowtable::{Addr, Target};

use super::backends::{Backend, backends_among};
use crate::model::{Cluster, Condition, EndpointSlice, Node, ObjectKey, Pod, Service};

/// Makes [`Services`], and keeps what it has made for the next time.
#[derive(Debug, Default)]
pub struct Translator {
    made: BTreeMap<ObjectKey, Made>,
    pods: BTreeMap<String, Vec<Arc<Pod>>>,
    nodes: Vec<Arc<Node>>,
}

/// What one Service became, and from what.
#[derive(Debug)]
struct Made {
    service: Arc<Service>,
    slices: Vec<Arc<EndpointSlice>>,
    ports: Vec<(ServiceKey, ServicePort)>,
}

/// A Service's address that is not translated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceNote {
    /// Several Services have it, with the same port.
    #[error("{address} port {port} is claimed by Services {}: it is translated for none of them", claimants.join(" and "))]
    Contested {
        /// The address.
        address: Addr,
        /// The port.
        port: u16,
        /// `namespace/name`.
        claimants: Vec<String>,
    },
    /// A pod or node has it.
    #[error("{address} of Service {service} is an address of a pod or node: it is not translated")]
    Endpoint {
        /// The address.
        address: Addr,
        /// `namespace/name`.
        service: String,
    },
}

impl Translator {
    /// The Services of `cluster`. `is_endpoint` says whether an address is a pod's or a node's. `seed` keys hashes.
    pub fn translate(
        &mut self,
        cluster: &Cluster,
        is_endpoint: impl Fn(Addr) -> bool,
        seed: u64,
    ) -> (Services, Vec<ServiceNote>) {
        self.remake(cluster);
        let mut notes = Vec::new();
        let mut ports: HashMap<ServiceKey, Option<&ServicePort>> =
            HashMap::with_capacity(self.made.len() * 2);
        let mut contested: BTreeMap<ServiceKey, Vec<String>> = BTreeMap::new();
        for made in self.made.values() {
            for (key, port) in &made.ports {
                if is_endpoint(key.addr) {
                    let note =
                        ServiceNote::Endpoint { address: key.addr, service: made.service.key.to_string() };
                    if notes.last() != Some(&note) {
                        notes.push(note);
                    }
                } else if let Some(first) = ports.get_mut(key) {
                    let claimants = contested.entry(*key).or_default();
                    claimants.extend(first.take().map(|first| first.name.to_string()));
                    claimants.push(port.name.to_string());
                } else {
                    ports.insert(*key, Some(port));
                }
            }
        }
        notes.extend(contested.into_iter().map(|(key, claimants)| ServiceNote::Contested {
            address: key.addr,
            port: key.port,
            claimants,
        }));
        // A contested port has nothing behind it: its address is a Service's all the same.
        let nobodys = ServicePort::default();
        let all = ports.into_iter().map(|(key, port)| (key, port.unwrap_or(&nobodys).clone()));
        (Services::new(all, seed), notes)
    }

    fn remake(&mut self, cluster: &Cluster) {
        let mut slices: HashMap<&ObjectKey, Vec<&Arc<EndpointSlice>>> = HashMap::new();
        for slice in cluster.endpoint_slices().values() {
            slices.entry(&slice.service).or_default().push(slice);
        }
        let same_nodes = same(&self.nodes, cluster.nodes().values());
        if !same_nodes {
            self.nodes = cluster.nodes().values().cloned().collect();
        }
        let mut namespaces: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
        for pod in cluster.pods().values() {
            namespaces.entry(&pod.key.namespace).or_default().push(pod);
        }
        let same_pods: HashMap<&str, bool> = namespaces
            .iter()
            .map(|(name, pods)| {
                let before = self.pods.get(*name);
                (*name, before.is_some_and(|before| same(before, pods.iter().copied())))
            })
            .collect();
        let mut before = std::mem::take(&mut self.made);
        for (key, service) in cluster.services() {
            let slices = slices.remove(key).unwrap_or_default();
            let is_derived = slices.is_empty();
            let earlier = before.remove(key);
            let is_unchanged = earlier.as_ref().is_some_and(|made| {
                Arc::ptr_eq(&made.service, service)
                    && same(&made.slices, slices.iter().copied())
                    && (!is_derived
                        || (same_nodes
                            && same_pods
                                .get(key.namespace.as_str())
                                .copied()
                                .unwrap_or(!self.pods.contains_key(&key.namespace))))
            });
            let made = match earlier {
                Some(made) if is_unchanged => made,
                earlier => make(cluster, service, &slices, earlier.as_ref()),
            };
            self.made.insert(key.clone(), made);
        }
        let changed: Vec<&str> =
            same_pods.iter().filter(|(_, same)| !**same).map(|(name, _)| *name).collect();
        for name in changed {
            let pods = namespaces[name].iter().copied().cloned().collect();
            self.pods.insert(name.to_owned(), pods);
        }
        self.pods.retain(|name, _| namespaces.contains_key(name.as_str()));
    }
}

/// Whether these are the very same objects.
fn same<'a, T: 'a>(before: &[Arc<T>], now: impl ExactSizeIterator<Item = &'a Arc<T>>) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(before, now)| Arc::ptr_eq(before, now))
}

fn make(
    cluster: &Cluster,
    service: &Arc<Service>,
    slices: &[&Arc<EndpointSlice>],
    earlier: Option<&Made>,
) -> Made {
    let name: Arc<str> = service.key.to_string().into();
    let affinity = service.affinity_secs.map(|secs| Duration::from_secs(secs.into()));
    let mut ports = Vec::new();
    if !service.cluster_ips().is_empty() {
        for port in &service.ports {
            let all = backends_among(cluster, service, port, &slices.iter().map(AsRef::as_ref));
            for address in service.cluster_ips() {
                let (new, leaving) = split(&all, *address);
                let key =
                    ServiceKey { addr: (*address).into(), port: port.port, protocol: port.protocol.number() };
                let before = earlier.and_then(|made| made.ports.iter().find(|(other, _)| *other == key));
                let backends = match before {
                    Some((_, before)) => Arc::new(before.backends.followed_by(new)),
                    None => Arc::new(Maglev::new(new)),
                };
                ports.push((key, ServicePort { name: name.clone(), backends, leaving, affinity }));
            }
        }
    }
    Made { service: service.clone(), slices: slices.iter().copied().cloned().collect(), ports }
}

/// Backends of the family of `address` that get new connections, and those that only keep what they have.
/// Where none is ready, those that are going away but still serve are used (KEP-1669).
fn split(all: &[Backend], address: IpAddr) -> (Vec<Target>, Box<[Target]>) {
    let of = |condition: Condition| -> Vec<Target> {
        all.iter()
            .filter(|backend| {
                backend.condition == condition && backend.address.is_ipv4() == address.is_ipv4()
            })
            .map(|backend| Target { addr: backend.address.into(), port: backend.port })
            .collect()
    };
    let (ready, mut leaving) = (of(Condition::Ready), of(Condition::Terminating));
    if ready.is_empty() {
        return (leaving, Box::default());
    }
    leaving.sort_unstable_by_key(|target| (target.addr, target.port));
    (ready, leaving.into())
}
