//! A pod speaks for itself only: its own MAC address and its own addresses, in ARP and neighbour
//! discovery too.

use podgate_flowtable::Addr;

use crate::parse::{Arp, Body, Ip, Mld, Neighbour, NeighbourMessage, Payload, TrunkHeader};
use crate::snapshot::PortBinding;
use crate::verdict::DropReason;

/// Whether the pod behind `binding` may send a frame with this header and body.
#[inline]
pub fn check(header: &TrunkHeader, body: &Body, binding: &PortBinding) -> Result<(), DropReason> {
    if header.source != binding.mac {
        return Err(DropReason::SpoofedMac);
    }
    match body {
        Body::Arp(arp) => check_arp(arp, binding),
        Body::Ip(ip) => check_ip(ip, binding),
    }
}

#[inline]
fn check_ip(ip: &Ip, binding: &PortBinding) -> Result<(), DropReason> {
    match &ip.payload {
        Payload::Neighbour(neighbour) => check_neighbour(ip, neighbour, binding),
        Payload::Mld(mld) => check_mld(ip, *mld, binding),
        _ if binding.owns(ip.source) => Ok(()),
        _ => Err(DropReason::SpoofedIp),
    }
}

fn check_arp(arp: &Arp, binding: &PortBinding) -> Result<(), DropReason> {
    // A probe has no sender yet. It claims its target all the same: one that meets the owner's own
    // probe makes the owner give up the address (RFC 5227, 2.1.1).
    let claimed = if arp.is_probe() { arp.target } else { arp.sender };
    if arp.sender_mac == binding.mac && binding.owns(claimed) { Ok(()) } else { Err(DropReason::SpoofedArp) }
}

fn check_neighbour(ip: &Ip, neighbour: &Neighbour, binding: &PortBinding) -> Result<(), DropReason> {
    if neighbour.link_address.is_some_and(|mac| mac != binding.mac) {
        return Err(DropReason::SpoofedNd);
    }
    let from_nowhere = ip.source == Addr::UNSPECIFIED;
    if !from_nowhere && !binding.owns(ip.source) {
        return Err(DropReason::SpoofedIp);
    }
    let may = match neighbour.message {
        NeighbourMessage::RouterSolicitation => true,
        // Duplicate address detection claims its target, as an ARP probe does (RFC 4862, 5.4.3).
        NeighbourMessage::Solicitation { target } => !from_nowhere || binding.owns(target),
        NeighbourMessage::Advertisement { target } => binding.owns(target),
        NeighbourMessage::RouterAdvertisement | NeighbourMessage::Redirect => false,
    };
    if may { Ok(()) } else { Err(DropReason::SpoofedNd) }
}

/// Reports, from `::` too (RFC 3590, 4). A query is a router's: with one, a pod would become the
/// bridge's querier and hear every group.
fn check_mld(ip: &Ip, mld: Mld, binding: &PortBinding) -> Result<(), DropReason> {
    match mld {
        Mld::Query => Err(DropReason::SpoofedNd),
        Mld::Report { .. } if ip.source == Addr::UNSPECIFIED || binding.owns(ip.source) => Ok(()),
        Mld::Report { .. } => Err(DropReason::SpoofedIp),
    }
}
