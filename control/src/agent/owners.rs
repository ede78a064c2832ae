//! Which pod has which address, and since when.
//!
//! Flows are known by addresses. When an address passes to another pod, or the same pod to another
//! device, what was decided about it before is about somebody who is gone; the step is told by
//! [`Handovers`]. Over a restart the owners go along with the flows (`carry`).

use std::collections::HashMap;
use std::time::Duration;

use podgate_dataplane::policy::{EndpointKind, Handovers};
use podgate_dataplane::snapshot::Snapshot;
use podgate_dataplane::tag::PortId;
use podgate_flowtable::{Addr, Epoch, Time};

use crate::model::ObjectKey;

/// A handover is remembered for at least so long: no worker is in the midst of a batch by a snapshot
/// of before it any more.
const REMEMBERED: Duration = Duration::from_mins(1);

/// A pod that has an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    /// `namespace/name`.
    pub(super) pod: String,
    /// Its device on this node, once there is one. The system gives no number twice.
    pub(super) ifindex: Option<u32>,
}

/// All addresses of pods.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    owners: HashMap<Addr, Owner>,
    handed_over: HashMap<Addr, (Epoch, Time)>,
}

impl Owner {
    /// Whether what was decided about `before` holds for this one. A pod that had no device yet had
    /// nothing but what its policy gave it, and has that still.
    fn succeeds(&self, before: &Self) -> bool {
        self.pod == before.pod && (before.ifindex.is_none() || before.ifindex == self.ifindex)
    }
}

impl Owners {
    /// Those of a gateway before.
    pub(super) fn inherited(owners: impl IntoIterator<Item = (Addr, Owner)>) -> Self {
        Self { owners: owners.into_iter().collect(), handed_over: HashMap::new() }
    }

    /// The pod behind a device.
    pub(super) fn behind(&self, ifindex: u32) -> Option<ObjectKey> {
        let mut owners = self.owners.values().filter(|owner| owner.ifindex == Some(ifindex));
        owners.find_map(|owner| owner.pod.parse().ok())
    }

    /// Takes over what `snapshot` says; what is other than it was is so since its epoch. `ifindex` is
    /// of the device at a port.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, ifindex: impl Fn(PortId) -> Option<u32>, now: Time) {
        let link_local = snapshot.bindings().map(|(_, binding)| binding.mac.link_local());
        let addresses = snapshot.endpoints.known().map(|(addr, _)| addr).chain(link_local);
        let owners: HashMap<Addr, Owner> = addresses
            .filter_map(|addr| {
                let endpoint = snapshot.resolve(addr);
                let ifindex = match endpoint.kind {
                    EndpointKind::LocalPod { port } => port.and_then(&ifindex),
                    EndpointKind::RemotePod => None,
                    EndpointKind::OwnNode | EndpointKind::OtherNode | EndpointKind::Outside => return None,
                };
                let pod = snapshot.names.endpoint(endpoint.id?)?.to_owned();
                Some((addr, Owner { pod, ifindex }))
            })
            .collect();
        let came = owners
            .iter()
            .filter(|(addr, owner)| !self.owners.get(addr).is_some_and(|before| owner.succeeds(before)));
        let went = self.owners.keys().filter(|addr| !owners.contains_key(addr));
        let changed = came.map(|(addr, _)| addr).chain(went);
        self.handed_over.extend(changed.map(|addr| (*addr, (snapshot.epoch, now))));
        self.owners = owners;
    }

    /// What the step is told. Handovers of long ago that every flow has been looked at since, all those
    /// decided before `looked_at`, are left out from here on.
    pub(super) fn handovers(&mut self, looked_at: Epoch, now: Time, seed: u64) -> Handovers {
        self.handed_over.retain(|_, (since, at)| *since > looked_at || now.since(*at) < REMEMBERED);
        Handovers::new(self.handed_over.iter().map(|(addr, (since, _))| (*addr, *since)), seed)
    }

    /// As bytes: address 16, ifindex 4 (0: none), length 2, name; for each.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (addr, Owner { pod, ifindex }) in &self.owners {
            let Ok(length) = u16::try_from(pod.len()) else { continue };
            bytes.extend_from_slice(&addr.bits().to_le_bytes());
            bytes.extend_from_slice(&ifindex.unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(pod.as_bytes());
        }
        bytes
    }

    /// From [`Owners::to_bytes`]; `None` if it is not that.
    pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut owners = HashMap::new();
        while !bytes.is_empty() {
            let (addr, rest) = bytes.split_first_chunk()?;
            let (ifindex, rest) = rest.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let (pod, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
            let ifindex = Some(u32::from_le_bytes(*ifindex)).filter(|index| *index != 0);
            let pod = str::from_utf8(pod).ok()?.to_owned();
            owners.insert(Addr::from_bits(u128::from_le_bytes(*addr)), Owner { pod, ifindex });
            bytes = rest;
        }
        Some(Self::inherited(owners))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use podgate_dataplane::mac::Mac;
    use podgate_dataplane::policy::{Endpoint, EndpointId, EndpointMap, PolicyTable, PrefixMap};
    use podgate_dataplane::snapshot::{Names, PortBinding, Switches};
    use podgate_flowtable::{IpProtocol, Tuple};

    use super::*;

    fn addr(last: u8) -> Addr {
        Addr::from_v4([10, 0, 0, last])
    }

    /// Pods by the last byte of their address: name, port if local.
    fn snapshot(epoch: u32, pods: &[(u8, &str, Option<u16>)]) -> Snapshot {
        let known = pods.iter().zip(0..).map(|((last, _, port), id)| {
            let kind = match port {
                Some(port) => EndpointKind::LocalPod { port: PortId::new(*port) },
                None => EndpointKind::RemotePod,
            };
            (addr(*last), Endpoint { identity: 5, kind, id: Some(EndpointId(id)) })
        });
        let endpoints = EndpointMap::new(known, PrefixMap::default(), 7);
        let names = pods.iter().map(|(_, name, _)| Arc::from(*name)).collect();
        let names = Names { endpoints: names, ..Names::default() };
        let (policy, switches) = (PolicyTable::default(), Switches::default());
        let mut snapshot = Snapshot::new(Epoch(epoch), endpoints, policy, switches, names);
        for ((last, _, port), id) in pods.iter().zip(0..) {
            let Some(port) = port.and_then(PortId::new) else { continue };
            let (endpoint, addresses) = (EndpointId(id), Box::new([addr(*last)]));
            snapshot.bind(port, PortBinding { endpoint, mac: Mac([2, 0, 0, 0, 0, *last]), addresses });
        }
        snapshot
    }

    /// Which of the decisions made at `decided` about these addresses are outdated.
    fn outdated(owners: &mut Owners, decided: u32, addrs: &[Addr]) -> Vec<bool> {
        let handovers = owners.handovers(Epoch(0), Time::default(), 7);
        let about = |addr: &Addr| Tuple {
            source: *addr,
            destination: Addr::from_v4([8, 8, 8, 8]),
            source_port: 1,
            destination_port: 2,
            protocol: IpProtocol::UDP,
        };
        addrs.iter().map(|addr| handovers.outdate(&about(addr), Epoch(decided))).collect()
    }

    fn follow(owners: &mut Owners, snapshot: &Snapshot) {
        owners.follow(snapshot, |port| Some(100 + u32::from(port.number())), Time::default());
    }

    #[test]
    fn another_pod_or_device_is_another_owner() {
        let link_local = Mac([2, 0, 0, 0, 0, 1]).link_local();
        for (next, is_another) in [
            (&[(1, "a/a", Some(1))][..], false),
            (&[(1, "a/b", Some(1))], true),
            (&[(1, "a/a", Some(2))], true),
            (&[(1, "a/a", None)], true),
            (&[(2, "a/a", Some(1))], true),
            (&[], true),
        ] {
            let mut owners = Owners::default();
            follow(&mut owners, &snapshot(1, &[(1, "a/a", Some(1))]));
            follow(&mut owners, &snapshot(2, next));
            assert_eq!(outdated(&mut owners, 1, &[addr(1)]), [is_another], "{next:?}");
            assert_eq!(outdated(&mut owners, 2, &[addr(1), link_local]), [false, false], "{next:?}");
        }
        let mut owners = Owners::default();
        follow(&mut owners, &snapshot(1, &[(1, "a/a", Some(1))]));
        follow(&mut owners, &snapshot(2, &[(1, "a/b", Some(1))]));
        assert_eq!(outdated(&mut owners, 1, &[link_local]), [true]);
    }

    #[test]
    fn a_pod_that_gets_its_device_is_the_same() {
        let mut owners = Owners::default();
        follow(&mut owners, &snapshot(1, &[(1, "a/a", None)]));
        follow(&mut owners, &snapshot(2, &[(1, "a/a", Some(1))]));
        assert_eq!(outdated(&mut owners, 1, &[addr(1)]), [false]);
    }

    #[test]
    fn owners_come_back_from_bytes_and_are_compared_with_those_of_now() {
        let mut before = Owners::default();
        follow(&mut before, &snapshot(1, &[(1, "a/a", Some(1)), (2, "a/b", None), (3, "a/c", Some(3))]));
        let bytes = before.to_bytes();
        assert_eq!(Owners::from_bytes(&bytes).unwrap().owners, before.owners);
        assert!((1..bytes.len().min(20)).all(|cut| Owners::from_bytes(&bytes[cut..]).is_none()));
        let mut after = Owners::from_bytes(&bytes).unwrap();
        let pods = [(1, "a/a", Some(1)), (2, "a/b", None), (3, "a/z", Some(3)), (4, "a/d", None)];
        follow(&mut after, &snapshot(1, &pods));
        let addrs = [1, 2, 3, 4].map(addr);
        assert_eq!(outdated(&mut after, 0, &addrs), [false, false, true, true]);
    }

    #[test]
    fn a_handover_is_forgotten_when_it_is_old_and_all_flows_were_looked_at() {
        let later = Time::default().after(REMEMBERED);
        for (looked_at, now, kept) in [(1, later, true), (2, Time::default(), true), (2, later, false)] {
            let mut owners = Owners::default();
            follow(&mut owners, &snapshot(1, &[]));
            follow(&mut owners, &snapshot(2, &[(1, "a/a", Some(1))]));
            owners.handovers(Epoch(looked_at), now, 7);
            assert_eq!(outdated(&mut owners, 1, &[addr(1)]), [kept], "{looked_at} {now:?}");
        }
    }
}
