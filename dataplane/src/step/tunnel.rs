//! Tunnels from pods to nodes. What a node unwraps carries an inner source of the sender's choice,
//! and comes out behind every check.

use podgate_flowtable::{Addr, IpProtocol, Packet};

use super::Place;
use crate::parse::{Ip, Payload, is_group, is_link_local};
use crate::policy::EndpointKind;
use crate::verdict::DropReason;

/// IP in IP (RFC 2003), IPv6 in IP (RFC 4213), GRE (RFC 2784).
const PROTOCOLS: [IpProtocol; 3] = [IpProtocol(4), IpProtocol(41), IpProtocol(47)];
/// VXLAN (RFC 7348) and Linux's older port for it, Geneve (RFC 8926), WireGuard's usual port and
/// the one that overlays take for IPv6.
const UDP_PORTS: [u16; 5] = [4789, 8472, 6081, 51820, 51821];

/// Refuses a tunnel from a pod to whatever may be a node.
#[inline]
pub(super) fn check(place: &Place<'_>, ip: &Ip) -> Result<(), DropReason> {
    match &ip.payload {
        Payload::Packet { packet, .. } => check_packet(place, packet),
        _ => Ok(()),
    }
}

/// The same for a packet as it is once it is translated.
#[inline]
pub(super) fn check_packet(place: &Place<'_>, packet: &Packet) -> Result<(), DropReason> {
    if is_tunnel(packet)
        && place.snapshot.switches.drop_tunnels_to_nodes
        && may_be_node(place, packet.tuple.destination)
    {
        return Err(DropReason::TunnelToNode);
    }
    Ok(())
}

#[inline]
fn is_tunnel(packet: &Packet) -> bool {
    match packet.tuple.protocol {
        IpProtocol::TCP => false,
        IpProtocol::UDP => UDP_PORTS.contains(&packet.tuple.destination_port),
        protocol => PROTOCOLS.contains(&protocol),
    }
}

/// A node's address; a group or a broadcast frame, which a node takes in too (a subnet's broadcast
/// address shows only in the MAC address); a link-local address of no pod, which the node may have
/// (node-local DNS) and no one lists.
#[cold]
fn may_be_node(place: &Place<'_>, destination: Addr) -> bool {
    match place.snapshot.resolve(destination).kind {
        EndpointKind::OwnNode | EndpointKind::OtherNode => true,
        EndpointKind::LocalPod { .. } | EndpointKind::RemotePod => false,
        EndpointKind::Outside => {
            is_group(destination) || place.header.destination.is_group() || is_link_local(destination)
        }
    }
}
