//! Where ARP, neighbour discovery and listener discovery go.
//!
//! What a pod broadcasts, the bridge copies to every port, and every copy is lifted again. So what
//! asks for a pod of this node is readdressed to that pod alone; only what asks for others goes
//! into the bridge. A port lets in what concerns its own pod.

use podgate_flowtable::Addr;

use crate::mac::Mac;
use crate::onward::Onward;
use crate::parse::{Arp, ArpOperation, Ip, Neighbour, NeighbourMessage, TrunkHeader};
use crate::policy::EndpointKind;
use crate::snapshot::{PortBinding, Snapshot};
use crate::tag::{Passage, PortId, Tag};
use crate::verdict::DropReason;

/// An ARP packet at the port of `binding`; anti-spoofing has been done.
pub fn arp(
    snapshot: &Snapshot,
    binding: &PortBinding,
    header: &TrunkHeader,
    arp: &Arp,
) -> Result<Onward, DropReason> {
    let concerns = |pod: &PortBinding| {
        arp.operation == ArpOperation::Reply || arp.is_announcement() || pod.owns(arp.target)
    };
    match header.tag.passage {
        Passage::ToPod => {
            check_local_claim(snapshot, arp.sender, [header.source, arp.sender_mac])?;
            let_in(header, concerns(binding))
        }
        Passage::FromPod if header.destination.is_group() => {
            let asks_another = arp.operation == ArpOperation::Request && !binding.owns(arp.target);
            Ok(ask(snapshot, header, asks_another.then_some(arp.target)))
        }
        Passage::FromPod => unicast(snapshot, header, concerns),
    }
}

/// A neighbour discovery message at the port of `binding`; anti-spoofing has been done.
pub fn neighbour(
    snapshot: &Snapshot,
    binding: &PortBinding,
    header: &TrunkHeader,
    ip: &Ip,
    neighbour: &Neighbour,
) -> Result<Onward, DropReason> {
    let concerns = |pod: &PortBinding| {
        (ip.is_to_group() || pod.owns(ip.destination))
            && match neighbour.message {
                NeighbourMessage::Solicitation { target } => pod.owns(target),
                // Pods are no routers.
                NeighbourMessage::RouterSolicitation => false,
                NeighbourMessage::Advertisement { .. }
                | NeighbourMessage::RouterAdvertisement
                | NeighbourMessage::Redirect => true,
            }
    };
    match header.tag.passage {
        Passage::ToPod => {
            let macs = [header.source, neighbour.link_address.unwrap_or(header.source)];
            check_local_claim(snapshot, ip.source, macs)?;
            if let NeighbourMessage::Advertisement { target } = neighbour.message {
                check_local_claim(snapshot, target, macs)?;
            }
            let_in(header, concerns(binding))
        }
        Passage::FromPod if header.destination.is_group() => {
            let asked = match neighbour.message {
                NeighbourMessage::Solicitation { target } if !binding.owns(target) => Some(target),
                _ => None,
            };
            // The IP destination stays the solicited-node group: receivers take either.
            Ok(ask(snapshot, header, asked))
        }
        Passage::FromPod => unicast(snapshot, header, concerns),
    }
}

/// A listener discovery message at a port; anti-spoofing has been done. Queries and reports
/// concern everyone in the group they are sent to.
pub fn mld(snapshot: &Snapshot, header: &TrunkHeader, ip: &Ip) -> Result<Onward, DropReason> {
    if header.tag.passage == Passage::ToPod {
        check_local_claim(snapshot, ip.source, [header.source; 2])?;
    }
    Ok(Onward::unchanged(header.tag))
}

fn let_in(header: &TrunkHeader, concerns_pod: bool) -> Result<Onward, DropReason> {
    if concerns_pod { Ok(Onward::unchanged(header.tag)) } else { Err(DropReason::NotForThisPod) }
}

/// A question to everyone: to the local pod that is asked, or into the bridge.
fn ask(snapshot: &Snapshot, header: &TrunkHeader, asked: Option<Addr>) -> Onward {
    match asked.and_then(|addr| local_pod(snapshot, addr)) {
        Some((port, mac)) if port != header.tag.port => {
            Onward { tag: Tag::to_pod(port), readdressed_to: Some(mac), rewriting: None }
        }
        _ => Onward::unchanged(header.tag),
    }
}

/// To the local pod it is addressed to, as if it had come to that pod's port, or into the bridge.
fn unicast(
    snapshot: &Snapshot,
    header: &TrunkHeader,
    concerns: impl Fn(&PortBinding) -> bool,
) -> Result<Onward, DropReason> {
    let receiver = snapshot.port_of(header.destination).filter(|&port| port != header.tag.port);
    match receiver.and_then(|port| Some((port, snapshot.binding(port)?))) {
        Some((port, pod)) if concerns(pod) => Ok(Onward::unchanged(Tag::to_pod(port))),
        Some(_) => Err(DropReason::NotForThisPod),
        None => Ok(Onward::unchanged(header.tag)),
    }
}

fn local_pod(snapshot: &Snapshot, addr: Addr) -> Option<(PortId, Mac)> {
    match snapshot.resolve(addr).kind {
        EndpointKind::LocalPod { port: Some(port) } => Some((port, snapshot.binding(port)?.mac)),
        _ => None,
    }
}

/// What comes from the bridge may claim a local pod's address only with that pod's MAC address.
fn check_local_claim(snapshot: &Snapshot, claimed: Addr, macs: [Mac; 2]) -> Result<(), DropReason> {
    match snapshot.resolve(claimed).kind {
        EndpointKind::LocalPod { port } => {
            let own = port.and_then(|port| snapshot.binding(port)).map(|pod| pod.mac);
            if macs.iter().all(|&mac| Some(mac) == own) { Ok(()) } else { Err(DropReason::SpoofedLocal) }
        }
        _ => Ok(()),
    }
}
