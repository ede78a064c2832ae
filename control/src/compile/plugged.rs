//! What pods are plugged in with: ports and addresses.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use podgate_flowtable::Addr;

use super::{Note, PortAssignment};
use crate::model::{ObjectKey, Pod};

/// Assignments by pod; one port for a pod and one pod for a port.
pub(super) fn plugged<'a>(
    ports: &'a [PortAssignment],
    notes: &mut Vec<Note>,
) -> BTreeMap<&'a ObjectKey, &'a PortAssignment> {
    let mut plugged = BTreeMap::new();
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
/// pod without status has those it was plugged in with. And those that it does not have, though it
/// was plugged in with them.
pub(super) fn addresses(pod: &Pod, port: Option<&PortAssignment>) -> (Vec<Addr>, Vec<Addr>) {
    let mut addresses = distinct(&pod.addresses);
    let mut foreign = Vec::new();
    let adopt = addresses.is_empty();
    for address in port.into_iter().flat_map(|assignment| &assignment.addresses) {
        let addr = Addr::from(*address);
        if addresses.contains(&addr) {
            continue;
        }
        if adopt || is_link_local(*address) {
            addresses.push(addr);
        } else {
            foreign.push(addr);
        }
    }
    (addresses, foreign)
}

/// Each once, in order: an endpoint does not contest its own address.
pub(super) fn distinct(addresses: &[IpAddr]) -> Vec<Addr> {
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
