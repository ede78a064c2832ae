//! What the sender of a rejected packet is told, so that it need not wait: what a host would say on whose port
//! nothing listens. Only what a pod sent is answered, one packet with one small frame.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep, TcpHeader, VlanId, icmpv4, icmpv6};
use podgate_flowtable::{Packet, TcpFlags, TcpSegment, Transport};

use crate::parse::{Body, Ip, Payload, TRUNK_HEADER_LEN_BYTES, TrunkHeader};
use crate::tag::{Passage, Tag};

/// Bytes of the longest answer: the headers of IPv6 and ICMP, and what is quoted.
pub const MAX_LEN_BYTES: usize = TRUNK_HEADER_LEN_BYTES + 40 + 8 + QUOTE_LEN_BYTES;

/// As much of the packet as its sender needs to find the socket: an IPv6 header, extension headers, ports.
const QUOTE_LEN_BYTES: usize = 128;
const HOP_LIMIT: u8 = 64;

/// A frame of the trunk, on its way to the pod that is told.
pub type Answer = ArrayVec<u8, MAX_LEN_BYTES>;

/// The answer to `frame`, which is as it came from the trunk; `None` where nothing is to be said: to what came
/// to a pod, to a reset, to a later fragment, to ICMP.
#[cold]
pub fn answer(frame: &[u8]) -> Option<Answer> {
    let (header, rest) = TrunkHeader::split(frame).ok()?;
    let Ok(Body::Ip(ip)) = Body::parse(&header, rest) else { return None };
    let Payload::Packet { packet, .. } = ip.payload else { return None };
    if header.tag.passage != Passage::FromPod {
        return None;
    }
    let mut answer = Answer::new();
    match packet.transport {
        Transport::Tcp(segment) => {
            back(&header, &ip)?.tcp_header(reset(&packet, &segment)?).write(&mut answer, &[]).ok()?;
        }
        Transport::Udp | Transport::Sctp { .. } => {
            let quote = rest.get(..(ip.len_bytes as usize).min(QUOTE_LEN_BYTES))?;
            let back = back(&header, &ip)?;
            // Destination unreachable, port unreachable (RFC 792; RFC 4443, 3.1).
            if ip.source.is_v4() {
                let code = icmpv4::CODE_DST_UNREACH_PORT;
                back.icmpv4_raw(icmpv4::TYPE_DEST_UNREACH, code, [0; 4]).write(&mut answer, quote).ok()?;
            } else {
                let code = icmpv6::CODE_DST_UNREACH_PORT;
                back.icmpv6_raw(icmpv6::TYPE_DST_UNREACH, code, [0; 4]).write(&mut answer, quote).ok()?;
            }
        }
        Transport::Icmp(_) | Transport::Other => return None,
    }
    Some(answer)
}

/// From where the packet was going to where it came from.
fn back(header: &TrunkHeader, ip: &Ip) -> Option<PacketBuilderStep<IpHeaders>> {
    // The tag has no priority bits, so it is what an 802.1Q header calls an identifier.
    let tag = VlanId::try_new(Tag::to_pod(header.tag.port).tci()).ok()?;
    let link = PacketBuilder::ethernet2(header.destination.0, header.source.0).single_vlan(tag);
    match (ip.destination.to_ip(), ip.source.to_ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(link.ipv4(from.octets(), to.octets(), HOP_LIMIT)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(link.ipv6(from.octets(), to.octets(), HOP_LIMIT)),
        _ => None,
    }
}

/// RFC 9293, 3.10.7.1: the answer of a closed port.
fn reset(packet: &Packet, segment: &TcpSegment) -> Option<TcpHeader> {
    if segment.flags.contains(TcpFlags::RST) {
        return None;
    }
    let tuple = packet.tuple.reversed();
    let mut header = TcpHeader::new(tuple.source_port, tuple.destination_port, 0, 0);
    header.rst = true;
    if segment.flags.contains(TcpFlags::ACK) {
        header.sequence_number = segment.acknowledgement;
    } else {
        let controls = [TcpFlags::SYN, TcpFlags::FIN].map(|flag| u32::from(segment.flags.contains(flag)));
        header.ack = true;
        header.acknowledgment_number = segment
            .sequence
            .wrapping_add(u32::from(segment.payload_len_bytes))
            .wrapping_add(controls[0] + controls[1]);
    }
    Some(header)
}
