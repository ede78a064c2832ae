//! Which devices are guarded, and which pod is behind each.
//!
//! A port is bound to a pod by what the kernel says of the pod's end of the veth, never by what
//! the pod sends, and once: a pod that gives itself another's address later gains nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use podgate_dataplane::mac::Mac;
use podgate_dataplane::steer::Device;
use podgate_dataplane::tag::{MAX_PORTS, PortId};

use crate::model::{Cluster, ObjectKey};
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
    pub(super) bound: Option<Bound>,
}

/// The pod behind a port, as it was when the port was bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bound {
    pub(super) pod: ObjectKey,
    pub(super) mac: Mac,
    /// The pod's own addresses, and the link-local ones its device had.
    pub(super) addresses: Vec<IpAddr>,
}

/// All guarded devices, by ifindex.
#[derive(Debug, Default)]
pub(super) struct PortTable {
    ports: BTreeMap<u32, Port>,
    /// Where to look for the next number: numbers are reused as late as possible, so that frames
    /// still on the trunk cannot reach a newcomer.
    next: u16,
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
            cluster.pods().get(&bound.pod).is_some_and(|pod| {
                pod.is_live() && pod.addresses.iter().all(|address| bound.addresses.contains(address))
            })
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
        let taken: BTreeSet<_> = self.ports.values().map(|port| port.id.number()).collect();
        for _ in 1..MAX_PORTS {
            self.next = if usize::from(self.next) + 1 >= MAX_PORTS { 1 } else { self.next + 1 };
            if !taken.contains(&self.next) {
                return PortId::new(self.next);
            }
        }
        None
    }

    /// Takes up a device under a number. A former gateway's numbers are taken up first.
    pub(super) fn insert(&mut self, id: PortId, end: &PodEnd) -> &Port {
        self.next = self.next.max(id.number());
        let device = Device { ifindex: end.host_index, name: end.host_name.clone(), pod_mac: end.peer_mac };
        let (seen_mac, seen) = (end.peer_mac, end.addresses.clone());
        let port = Port { id, device, seen_mac, seen, bound: None };
        self.ports.entry(end.host_index).insert_entry(port).into_mut()
    }

    pub(super) fn remove(&mut self, ifindex: u32) -> Option<Port> {
        self.ports.remove(&ifindex)
    }

    /// Notes what a device looks like now.
    pub(super) fn note(&mut self, end: &PodEnd) -> Noted {
        let Some(port) = self.ports.get_mut(&end.host_index) else { return Noted::Unknown };
        // A device that is renamed stays what it is: the hooks go by number.
        port.device.name.clone_from(&end.host_name);
        let addresses_changed = port.seen != end.addresses;
        port.seen.clone_from(&end.addresses);
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

    /// Ports that are bound to nothing, or will not stay bound to what they are, by ifindex.
    pub(super) fn unsettled(&self, cluster: &Cluster) -> BTreeSet<u32> {
        let unsettled = self.ports.iter().filter(|(_, port)| !port.stays_bound(cluster));
        unsettled.map(|(ifindex, _)| *ifindex).collect()
    }

    /// The pods that have an address which is seen behind an unbound port, by address.
    fn claimants<'a>(&self, cluster: &'a Cluster) -> BTreeMap<IpAddr, Vec<&'a ObjectKey>> {
        let unbound = self.ports.values().filter(|port| port.bound.is_none());
        let mut pod_of: BTreeMap<IpAddr, Vec<&ObjectKey>> =
            unbound.flat_map(|port| &port.seen).map(|address| (*address, Vec::new())).collect();
        if pod_of.is_empty() {
            return pod_of;
        }
        for (key, pod) in cluster.pods().iter().filter(|(_, pod)| pod.is_endpoint()) {
            for address in &pod.addresses {
                pod_of.entry(*address).and_modify(|pods| pods.push(key));
            }
        }
        pod_of
    }

    /// Binds ports to the pods whose addresses they have, and unbinds those whose pod is gone or
    /// has other addresses.
    pub(super) fn bind(&mut self, cluster: &Cluster) -> Binding {
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
        let mut bound: BTreeMap<ObjectKey, String> = self
            .ports
            .values()
            .filter_map(|port| Some((port.bound.as_ref()?.pod.clone(), port.device.name.clone())))
            .collect();
        let mut notes = Vec::new();
        for port in self.ports.values_mut().filter(|port| port.bound.is_none()) {
            let mut pods: Vec<_> = port.seen.iter().filter_map(|seen| pod_of.get(seen)).flatten().collect();
            pods.sort();
            pods.dedup();
            let device = &port.device.name;
            match pods[..] {
                [] => {
                    let seen: Vec<_> = port.seen.iter().filter(|seen| !is_link_local(**seen)).collect();
                    if !seen.is_empty() {
                        notes.push(format!(
                            "{device}: no pod in the manifests has the address {}; its frames are dropped \
                             (unknown-endpoint)",
                            join(&seen)
                        ));
                    }
                }
                [pod] => {
                    if let Some(other) = bound.get(*pod) {
                        notes.push(format!(
                            "{device} has the addresses of pod {pod}, which is already behind {other}; \
                             its frames are dropped (unknown-endpoint)"
                        ));
                        continue;
                    }
                    let mut addresses = cluster.pods()[*pod].addresses.clone();
                    addresses.extend(port.seen.iter().copied().filter(|seen| is_link_local(*seen)));
                    port.bound = Some(Bound { pod: (*pod).clone(), mac: port.device.pod_mac, addresses });
                    bound.insert((*pod).clone(), device.clone());
                }
                _ => notes.push(format!(
                    "{device} has addresses of several pods ({}); its frames are dropped (unknown-endpoint)",
                    join(&pods)
                )),
            }
        }
        Binding { readdressed, notes }
    }
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
