//! Services as the dataplane looks them up; what has not changed since the last time is used again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use podgate_dataplane::service::{Maglev, ServiceKey, ServicePort, Services};
use podgate_flowtable::{Addr, Target};

use super::backends::{Backend, backends_among};
use super::follow::Seen;
use crate::model::{Cluster, Condition, EndpointSlice, Node, ObjectKey, Pod, Service};

/// Makes [`Services`], and keeps what it has made for the next time.
#[derive(Debug, Default)]
pub struct Translator {
    services: Seen<Service>,
    slices: Seen<EndpointSlice>,
    pods: Seen<Pod>,
    nodes: Seen<Node>,
    /// Lists of endpoints by Service.
    listed: BTreeMap<ObjectKey, BTreeMap<ObjectKey, Arc<EndpointSlice>>>,
    made: BTreeMap<ObjectKey, Made>,
    last: Option<Last>,
}

/// What one Service became.
#[derive(Debug)]
struct Made {
    /// Its endpoints are derived from pods, for want of a list.
    is_derived: bool,
    ports: Vec<(ServiceKey, ServicePort)>,
}

/// What all became together.
#[derive(Debug)]
struct Last {
    services: Arc<Services>,
    notes: Vec<ServiceNote>,
    seed: u64,
    /// Every address, and whether it was a pod's or node's.
    addresses: Vec<(Addr, bool)>,
}

/// What is to be made of what has changed.
enum Change {
    /// The ports of these Services lead elsewhere.
    Backends(BTreeSet<ObjectKey>),
    /// Some have other ports or addresses.
    Keys,
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
    ) -> (Arc<Services>, Vec<ServiceNote>) {
        let change = self.remake(cluster);
        let last = self.last.take().filter(|last| {
            last.seed == seed
                && last.addresses.iter().all(|(addr, was_endpoint)| is_endpoint(*addr) == *was_endpoint)
        });
        let last = match (last, change) {
            (Some(last), Change::Backends(changed)) => self.patch(last, &changed),
            _ => self.put_together(is_endpoint, seed),
        };
        let all = (last.services.clone(), last.notes.clone());
        self.last = Some(last);
        all
    }

    /// With the new backends of these Services, whose ports are what they were.
    fn patch(&self, last: Last, changed: &BTreeSet<ObjectKey>) -> Last {
        if changed.is_empty() {
            return last;
        }
        let mut services = Services::clone(&last.services);
        for (key, port) in changed.iter().filter_map(|key| self.made.get(key)).flat_map(|made| &made.ports) {
            // It is not there if it is an endpoint's, and nobody's if it is contested.
            if services.port(key).is_some_and(|before| before.name == port.name) {
                services.insert(*key, port.clone());
            }
        }
        Last { services: Arc::new(services), ..last }
    }

    fn put_together(&self, is_endpoint: impl Fn(Addr) -> bool, seed: u64) -> Last {
        let mut notes = Vec::new();
        let mut addresses = Vec::new();
        let mut ports: HashMap<ServiceKey, Option<&ServicePort>> =
            HashMap::with_capacity(self.made.len() * 2);
        let mut contested: BTreeMap<ServiceKey, Vec<String>> = BTreeMap::new();
        for (service, made) in &self.made {
            for (key, port) in &made.ports {
                let is_taken = is_endpoint(key.addr);
                addresses.push((key.addr, is_taken));
                if is_taken {
                    let note = ServiceNote::Endpoint { address: key.addr, service: service.to_string() };
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
        addresses.dedup();
        notes.extend(contested.into_iter().map(|(key, claimants)| ServiceNote::Contested {
            address: key.addr,
            port: key.port,
            claimants,
        }));
        // A contested port has nothing behind it: its address is a Service's all the same.
        let nobodys = ServicePort::default();
        let all = ports.into_iter().map(|(key, port)| (key, port.unwrap_or(&nobodys).clone()));
        Last { services: Arc::new(Services::new(all, seed)), notes, seed, addresses }
    }

    /// Makes anew what has changed.
    fn remake(&mut self, cluster: &Cluster) -> Change {
        let changed = self.see(cluster);
        let mut has_same_keys = true;
        for key in &changed {
            let earlier = self.made.remove(key);
            let Some(service) = cluster.services().get(key) else {
                has_same_keys &= earlier.is_none();
                continue;
            };
            let made = make(cluster, service, self.listed.get(key), earlier.as_ref());
            has_same_keys &= earlier.is_some_and(|earlier| {
                earlier.ports.iter().map(|(key, _)| key).eq(made.ports.iter().map(|(key, _)| key))
            });
            self.made.insert(key.clone(), made);
        }
        if has_same_keys { Change::Backends(changed) } else { Change::Keys }
    }

    /// The Services that are new, gone, or may have other backends.
    fn see(&mut self, cluster: &Cluster) -> BTreeSet<ObjectKey> {
        let mut changed = BTreeSet::new();
        self.services.follow(
            cluster.services().values(),
            |service| &service.key,
            |before, now| {
                changed.extend(before.or(now).map(|service| service.key.clone()));
            },
        );
        let listed = &mut self.listed;
        self.slices.follow(
            cluster.endpoint_slices().values(),
            |slice| &slice.key,
            |before, now| {
                if let Some(before) = before
                    && let Some(of_service) = listed.get_mut(&before.service)
                {
                    of_service.remove(&before.key);
                    if of_service.is_empty() {
                        listed.remove(&before.service);
                    }
                    changed.insert(before.service.clone());
                }
                if let Some(now) = now {
                    listed.entry(now.service.clone()).or_default().insert(now.key.clone(), now.clone());
                    changed.insert(now.service.clone());
                }
            },
        );
        let mut namespaces = BTreeSet::new();
        self.pods.follow(
            cluster.pods().values(),
            |pod| &pod.key,
            |before, now| {
                let namespace = before.or(now).map(|pod| pod.key.namespace.as_str());
                if let Some(namespace) = namespace.filter(|namespace| !namespaces.contains(*namespace)) {
                    namespaces.insert(namespace.to_owned());
                }
            },
        );
        let mut has_same_nodes = true;
        self.nodes.follow(cluster.nodes().values(), |node| &node.name, |_, _| has_same_nodes = false);
        let derived = |(key, made): (&ObjectKey, &Made)| made.is_derived.then(|| key.clone());
        if has_same_nodes {
            for namespace in &namespaces {
                let within = self.made.range(ObjectKey::new(namespace, "")..);
                let within = within.take_while(|(key, _)| key.namespace == *namespace);
                changed.extend(within.filter_map(derived));
            }
        } else {
            changed.extend(self.made.iter().filter_map(derived));
        }
        changed
    }
}

fn make(
    cluster: &Cluster,
    service: &Service,
    slices: Option<&BTreeMap<ObjectKey, Arc<EndpointSlice>>>,
    earlier: Option<&Made>,
) -> Made {
    let name: Arc<str> = service.key.to_string().into();
    let affinity = service.affinity_secs.map(|secs| Duration::from_secs(secs.into()));
    let mut ports = Vec::new();
    if !service.cluster_ips().is_empty() {
        for port in &service.ports {
            let slices = slices.into_iter().flatten().map(|(_, slice)| slice.as_ref());
            let all = backends_among(cluster, service, port, &slices);
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
    Made { is_derived: slices.is_none(), ports }
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
