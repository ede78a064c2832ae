//! Which devices are guarded, and which pod is behind each.
//!
//! A port is bound to a pod by what the kernel says of the pod's end of the veth, never by what
//! the pod sends, and once: a pod that gives itself another's address later gains nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use podgate_dataplane::mac::Mac;
use podgate_dataplane::steer::Device;
use podgate_dataplane::tag::{MAX_PORTS, PortId};
use podgate_flowtable::Time;

use super::bindings::Behind;
use super::pod_starts::PodStarts;
use crate::model::{Cluster, ObjectKey, Pod, PodRef};
use crate::net::PodEnd;

/// A guarded device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Port {
    pub(super) id: PortId,
    pub(super) device: Device,
    /// The MAC address of the pod's end, as last read. The device's is that of the pod it was bound
    /// to: a bound pod that changes its own gains nothing.
    seen_mac: Mac,
    /// Addresses at the pod's end, as last read.
    seen: Vec<IpAddr>,
    /// When it came, or got the addresses that it has; `None`: before the start.
    ready: Option<Time>,
    /// The pod it is bound to, or was.
    former: Option<PodRef>,
    /// The pod that it is of, as the runtime has told: it is bound to no other.
    told: Option<PodRef>,
    /// As the next snapshot has it.
    pub(super) bound: Option<Bound>,
    /// As the snapshot in force has it. The one above is not in force where a snapshot could not be made.
    pub(super) enforced: Option<Bound>,
}

/// The pod behind a port, as it was when the port was bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bound {
    pub(super) pod: PodRef,
    pub(super) mac: Mac,
    /// The pod's own addresses, and the link-local ones its device had.
    pub(super) addresses: Vec<IpAddr>,
    /// Since when the pod waits for its policy to be in force; `None` if it does not, or is not timed.
    waits_since: Option<Time>,
    /// How long it has waited, if it was timed.
    pub(super) time_to_policy: Option<Duration>,
}

/// All guarded devices, by ifindex.
#[derive(Debug, Default)]
pub(super) struct PortTable {
    ports: BTreeMap<u32, Port>,
    /// Where to look for the next number: numbers are reused as late as possible, so that frames
    /// still on the trunk cannot reach a newcomer.
    next: u16,
    /// Numbers that were given back and mean something in the snapshot in force.
    resting: BTreeSet<u16>,
}

/// What became of a look at a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Noted {
    /// It is not known.
    Unknown,
    /// Nothing of it matters.
    Unchanged,
    /// The steering has to be told its MAC address anew.
    MacChanged {
        /// Its number.
        id: PortId,
        /// As it is now.
        device: Device,
    },
    /// Its addresses changed, and it is bound to nothing yet.
    MayBind,
}

/// What came of binding.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Binding {
    /// Ports that are no longer bound and whose pod's end has another MAC address by now: the
    /// steering has to be told.
    pub(super) readdressed: Vec<(PortId, Device)>,
    /// What a person should know: ports that could not be bound though they have addresses, and why.
    pub(super) notes: Vec<String>,
}

impl Port {
    /// Whether the pod it is bound to is there and has no address that it had not then.
    fn stays_bound(&self, cluster: &Cluster) -> bool {
        self.bound.as_ref().is_some_and(|bound| {
            cluster.pods().get(&bound.pod.key).is_some_and(|pod| {
                bound.pod.is(pod)
                    && self.may_be_of(pod)
                    && pod.is_live()
                    && pod.addresses.iter().all(|address| bound.addresses.contains(address))
            })
        })
    }

    /// Whether what the runtime has told speaks for that pod, or for none.
    fn may_be_of(&self, pod: &Pod) -> bool {
        self.told.as_ref().is_none_or(|told| told.is(pod))
    }

    /// Whether it was that pod's.
    fn was_of(&self, pod: &Pod) -> bool {
        self.former.as_ref().is_some_and(|former| former.is(pod))
    }

    /// Whether it is known to be another pod's than `pod`, which the runtime has not told: one that is still in the
    /// manifests, ended or not. An address may be given to the next pod before the device of the one that had it
    /// is gone.
    fn is_anothers(&self, pod: &Pod, cluster: &Cluster) -> bool {
        self.told.is_none()
            && self
                .former
                .as_ref()
                .is_some_and(|former| former.key != pod.key && cluster.pods().contains_key(&former.key))
    }

    fn note_of_strangeness(&self, cluster: &Cluster) -> Option<String> {
        let seen: Vec<_> = self.seen.iter().copied().filter(|seen| !is_link_local(*seen)).collect();
        let device = &self.device.name;
        if let Some(told) = &self.told {
            let why = match cluster.pods().get(&told.key) {
                Some(pod) if told.uid_differs(pod) => format!(
                    "which is not the pod of that name that there is now (its UID is {}, not {})",
                    told.uid.as_deref().unwrap_or_default(),
                    pod.uid.as_deref().unwrap_or_default()
                ),
                _ if seen.is_empty() => "which is not known, nor has it an address".to_owned(),
                _ => format!("which is not known with the address {}", some_of(&seen)),
            };
            return Some(format!(
                "{device}: the runtime has told that it is of pod {told}, {why}; its frames are dropped \
                 (unknown-endpoint)"
            ));
        }
        (!seen.is_empty()).then(|| {
            format!(
                "{device}: no pod that is known has the address {}; its frames are dropped (unknown-endpoint)",
                some_of(&seen)
            )
        })
    }
}

impl PortTable {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Port> {
        self.ports.values()
    }

    pub(super) fn devices(&self) -> Vec<Device> {
        self.ports.values().map(|port| port.device.clone()).collect()
    }

    /// A number that no port has, the least recently given out first.
    pub(super) fn free_number(&mut self) -> Option<PortId> {
        let mut taken = self.resting.clone();
        taken.extend(self.ports.values().map(|port| port.id.number()));
        for _ in 1..MAX_PORTS {
            self.next = if usize::from(self.next) + 1 >= MAX_PORTS { 1 } else { self.next + 1 };
            if !taken.contains(&self.next) {
                return PortId::new(self.next);
            }
        }
        None
    }

    /// A former gateway's number whose device is gone: used again as late as the others.
    pub(super) fn retire(&mut self, id: PortId) {
        self.next = self.next.max(id.number());
    }

    /// Takes up a device under a number. A former gateway's numbers are taken up first. `now` unless
    /// it was there at the start.
    pub(super) fn insert(&mut self, id: PortId, end: &PodEnd, now: Option<Time>) -> &Port {
        self.next = self.next.max(id.number());
        let device = Device { ifindex: end.host_index, name: end.host_name.clone(), pod_mac: end.peer_mac };
        let (seen_mac, seen) = (end.peer_mac, end.addresses.clone());
        let (former, told, bound, enforced) = (None, None, None, None);
        let port = Port { id, device, seen_mac, seen, ready: now, former, told, bound, enforced };
        self.ports.entry(end.host_index).insert_entry(port).into_mut()
    }

    /// The pods that ports are bound to, or were, by ifindex.
    pub(super) fn formers(&self) -> BTreeMap<u32, Behind> {
        let formers = self.ports.iter().filter_map(|(ifindex, port)| {
            let PodRef { key, uid } = port.former.clone()?;
            Some((*ifindex, Behind { device: port.device.name.clone(), pod: key.to_string(), uid }))
        });
        formers.collect()
    }

    /// A former gateway has had `pod` behind the device.
    pub(super) fn was_of(&mut self, ifindex: u32, pod: PodRef) {
        if let Some(port) = self.ports.get_mut(&ifindex) {
            port.former = Some(pod);
        }
    }

    /// The runtime has told that the device is `pod`'s.
    pub(super) fn tell(&mut self, ifindex: u32, pod: PodRef) {
        if let Some(port) = self.ports.get_mut(&ifindex) {
            port.told = Some(pod);
        }
    }

    pub(super) fn remove(&mut self, ifindex: u32) -> Option<Port> {
        let port = self.ports.remove(&ifindex)?;
        self.resting.insert(port.id.number());
        Some(port)
    }

    /// Notes what a device looks like now.
    pub(super) fn note(&mut self, end: &PodEnd, now: Option<Time>) -> Noted {
        let Some(port) = self.ports.get_mut(&end.host_index) else { return Noted::Unknown };
        // A device that is renamed stays what it is: the hooks go by number.
        port.device.name.clone_from(&end.host_name);
        let addresses_changed = port.seen != end.addresses;
        if addresses_changed {
            port.seen.clone_from(&end.addresses);
            port.ready = now;
        }
        port.seen_mac = end.peer_mac;
        if port.bound.is_some() {
            return Noted::Unchanged;
        }
        if port.device.pod_mac != end.peer_mac {
            port.device.pod_mac = end.peer_mac;
            return Noted::MacChanged { id: port.id, device: port.device.clone() };
        }
        if addresses_changed { Noted::MayBind } else { Noted::Unchanged }
    }

    /// Ports at whose pod's end no address has been seen, by ifindex.
    pub(super) fn unseen(&self) -> BTreeSet<u32> {
        let unseen = self.ports.iter().filter(|(_, port)| port.seen.is_empty());
        unseen.map(|(ifindex, _)| *ifindex).collect()
    }

    /// Ports that are bound to nothing, or will not stay bound to what they are, by ifindex.
    pub(super) fn unsettled(&self, cluster: &Cluster) -> BTreeSet<u32> {
        let unsettled = self.ports.iter().filter(|(_, port)| !port.stays_bound(cluster));
        unsettled.map(|(ifindex, _)| *ifindex).collect()
    }

    /// The pods that have an address which is seen behind an unbound port, by address.
    fn claimants<'a>(&self, cluster: &'a Cluster) -> BTreeMap<IpAddr, Vec<&'a Pod>> {
        let unbound = self.ports.values().filter(|port| port.bound.is_none());
        let mut pod_of: BTreeMap<IpAddr, Vec<&Pod>> =
            unbound.flat_map(|port| &port.seen).map(|address| (*address, Vec::new())).collect();
        if pod_of.is_empty() {
            return pod_of;
        }
        for pod in cluster.pods().values().filter(|pod| pod.is_endpoint()) {
            for address in &pod.addresses {
                pod_of.entry(*address).and_modify(|pods| pods.push(pod));
            }
        }
        pod_of
    }

    /// Binds ports to the pods whose addresses they have, and unbinds those whose pod is gone or
    /// has other addresses.
    pub(super) fn bind(&mut self, cluster: &Cluster, starts: &PodStarts) -> Binding {
        let mut readdressed = Vec::new();
        for port in self.ports.values_mut() {
            if !port.stays_bound(cluster) {
                port.bound = None;
                if port.device.pod_mac != port.seen_mac {
                    port.device.pod_mac = port.seen_mac;
                    readdressed.push((port.id, port.device.clone()));
                }
            }
        }
        let pod_of = self.claimants(cluster);
        let bound: BTreeMap<ObjectKey, String> = self
            .ports
            .values()
            .filter_map(|port| Some((port.bound.as_ref()?.pod.key.clone(), port.device.name.clone())))
            .collect();
        let mut notes = Vec::new();
        let mut claims: BTreeMap<ObjectKey, Vec<u32>> = BTreeMap::new();
        for (ifindex, port) in self.ports.iter().filter(|(_, port)| port.bound.is_none()) {
            let seen = port.seen.iter().filter_map(|seen| pod_of.get(seen)).flatten().copied();
            let mut pods: Vec<&Pod> = seen.filter(|pod| port.may_be_of(pod)).collect();
            pods.sort_by_key(|pod| &pod.key);
            pods.dedup_by_key(|pod| &pod.key);
            let device = &port.device.name;
            // The one it was keeps it, whatever it has given itself since.
            if pods.len() > 1
                && let Some(own) = pods.iter().copied().find(|pod| port.was_of(pod))
            {
                pods = vec![own];
            }
            match pods[..] {
                [] => notes.extend(port.note_of_strangeness(cluster)),
                [pod] => match bound.get(&pod.key) {
                    Some(other) => notes.push(format!(
                        "{device} has the addresses of pod {}, which is already behind {other}; \
                         its frames are dropped (unknown-endpoint)",
                        pod.key
                    )),
                    None if port.is_anothers(pod, cluster) => notes.push(format!(
                        "{device} has the addresses of pod {}, but is the device of {}; its frames are dropped \
                         (unknown-endpoint)",
                        pod.key,
                        join(port.former.as_slice())
                    )),
                    None => claims.entry(pod.key.clone()).or_default().push(*ifindex),
                },
                _ => {
                    let keys: Vec<_> = pods.iter().map(|pod| &pod.key).collect();
                    notes.push(format!(
                        "{device} has addresses of several pods ({}); its frames are dropped (unknown-endpoint)",
                        join(&keys)
                    ));
                }
            }
        }
        for (key, claimants) in claims {
            let pod = &cluster.pods()[&key];
            let were_its: Vec<_> =
                claimants.iter().copied().filter(|ifindex| self.ports[ifindex].was_of(pod)).collect();
            let (([ifindex], _) | (_, [ifindex])) = (&claimants[..], &were_its[..]) else {
                let devices: Vec<_> =
                    claimants.iter().map(|ifindex| &self.ports[ifindex].device.name).collect();
                notes.push(format!(
                    "{} have the addresses of pod {key}, and which of them is its device is not known; their \
                     frames are dropped (unknown-endpoint)",
                    join(&devices)
                ));
                continue;
            };
            if let Some(port) = self.ports.get_mut(ifindex) {
                let mut addresses = pod.addresses.clone();
                addresses.extend(port.seen.iter().copied().filter(|seen| is_link_local(*seen)));
                let waits_since = port.ready.max(starts.named(&key));
                let (mac, time_to_policy) = (port.device.pod_mac, None);
                let pod = PodRef::from(&**pod);
                port.former = Some(pod.clone());
                port.bound = Some(Bound { pod, mac, addresses, waits_since, time_to_policy });
            }
        }
        Binding { readdressed, notes }
    }

    /// A snapshot with these ports bound is in force since `now`: what is known of them is in it, and
    /// what is not in it is free. Returns how long each pod waited that is bound for the first time.
    pub(super) fn in_force(&mut self, is_bound: impl Fn(PortId) -> bool, now: Time) -> Vec<Duration> {
        self.resting.clear();
        let waited = self.ports.values_mut().filter_map(|port| {
            let mut bound = port.bound.as_mut().filter(|_| is_bound(port.id));
            let waited = bound.as_mut().and_then(|bound| {
                bound.time_to_policy = Some(now.since(bound.waits_since.take()?));
                bound.time_to_policy
            });
            port.enforced = bound.cloned();
            waited
        });
        waited.collect()
    }
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How many addresses are told one by one: a pod may give itself thousands.
const TOLD: usize = 4;

/// The first of them, and how many more there are.
fn some_of(addresses: &[IpAddr]) -> String {
    match addresses.get(..TOLD) {
        Some(first) if first.len() < addresses.len() => {
            format!("{} and {} more", join(first), addresses.len() - TOLD)
        }
        _ => join(addresses),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

mod strays;
#[cfg(test)]
mod tests;
