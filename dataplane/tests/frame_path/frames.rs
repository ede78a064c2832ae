//! Frames as the trunk carries them: IP packets by etherparse, the rest by hand.

use std::net::IpAddr;

use etherparse::{PacketBuilder, TcpHeader};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::tag::{PortId, Tag};

pub const ARP: u16 = 0x0806;
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

pub fn port(number: u16) -> PortId {
    PortId::new(number).unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An Ethernet header on the trunk.
#[derive(Clone, Copy)]
pub struct Link {
    pub tag: Tag,
    pub source: Mac,
    pub destination: Mac,
}

impl Link {
    pub fn new(tag: Tag, source: Mac, destination: Mac) -> Self {
        Self { tag, source, destination }
    }

    pub fn carry(self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend_from_slice(&self.destination.0);
        frame.extend_from_slice(&self.source.0);
        frame.extend_from_slice(&[0x81, 0x00]);
        frame.extend_from_slice(&self.tag.tci().to_be_bytes());
        frame.extend_from_slice(&ethertype.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    /// An IP packet of either family.
    pub fn ip(self, packet: &[u8]) -> Vec<u8> {
        self.carry(if packet[0] >> 4 == 4 { IPV4 } else { IPV6 }, packet)
    }
}

/// A link for tests that do not look at it.
pub fn any_link() -> Link {
    Link::new(Tag::from_pod(port(1)), Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
}

pub fn udp(source: (&str, u16), destination: (&str, u16), payload: &[u8]) -> Vec<u8> {
    let builder = match (ip(source.0), ip(destination.0)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("two families"),
    };
    let mut packet = Vec::new();
    builder.udp(source.1, destination.1).write(&mut packet, payload).unwrap();
    packet
}

/// A TCP segment; `header` has flags, numbers and options.
pub fn tcp(
    source: (&str, u16),
    destination: (&str, u16),
    header: impl FnOnce(&mut TcpHeader),
    payload: &[u8],
) -> Vec<u8> {
    let mut tcp = TcpHeader::new(source.1, destination.1, 1000, 64240);
    header(&mut tcp);
    let builder = match (ip(source.0), ip(destination.0)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("two families"),
    };
    let mut packet = Vec::new();
    builder.tcp_header(tcp).write(&mut packet, payload).unwrap();
    packet
}

pub fn syn(source: (&str, u16), destination: (&str, u16)) -> Vec<u8> {
    tcp(source, destination, |tcp| tcp.syn = true, &[])
}

/// An IP packet of `protocol` with `payload`, hop limit 255.
pub fn raw(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (ip(source), ip(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (20 + payload.len()) as u16;
            let mut packet = vec![0x45, 0];
            packet.extend_from_slice(&total.to_be_bytes());
            packet.extend_from_slice(&[0, 7, 0, 0, 255, protocol, 0, 0]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&destination.octets());
            packet.extend_from_slice(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            packet.extend_from_slice(&[protocol, 255]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&destination.octets());
            packet.extend_from_slice(payload);
            packet
        }
        _ => panic!("two families"),
    }
}

/// The transport part of an IP packet without options or extension headers.
pub fn transport_of(packet: &[u8]) -> &[u8] {
    &packet[if packet[0] >> 4 == 4 { 20 } else { 40 }..]
}

/// Fragment `start..end` (bytes of the transport part) of a datagram.
pub fn fragment(packet: &[u8], start: usize, end: usize, identification: u16) -> Vec<u8> {
    let transport = transport_of(packet);
    let more = end < transport.len();
    let part = &transport[start..end];
    if packet[0] >> 4 == 4 {
        let mut fragment = packet[..20].to_vec();
        fragment[2..4].copy_from_slice(&((20 + part.len()) as u16).to_be_bytes());
        fragment[4..6].copy_from_slice(&identification.to_be_bytes());
        let field = (start / 8) as u16 | if more { 0x2000 } else { 0 };
        fragment[6..8].copy_from_slice(&field.to_be_bytes());
        fragment.extend_from_slice(part);
        fragment
    } else {
        let mut fragment = packet[..40].to_vec();
        fragment[4..6].copy_from_slice(&((8 + part.len()) as u16).to_be_bytes());
        let next = std::mem::replace(&mut fragment[6], 44);
        let field = start as u16 | u16::from(more);
        fragment.extend_from_slice(&[next, 0]);
        fragment.extend_from_slice(&field.to_be_bytes());
        fragment.extend_from_slice(&u32::from(identification).to_be_bytes());
        fragment.extend_from_slice(part);
        fragment
    }
}

/// The same, with the header's own sum.
pub fn fragment_with_sum(packet: &[u8], start: usize, end: usize, identification: u16) -> Vec<u8> {
    let mut fragment = fragment(packet, start, end, identification);
    if fragment[0] >> 4 == 4 {
        write_sum(&mut fragment, 0..20, 10, 0);
    }
    fragment
}

/// Sums up 16-bit words, as IP, ICMP, TCP and UDP do (RFC 1071), on top of `before`.
fn write_sum(packet: &mut [u8], range: std::ops::Range<usize>, at: usize, before: u32) {
    packet[at..at + 2].fill(0);
    let words = packet[range]
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)])));
    let mut sum = before + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// An ICMP error about `quoted`, with all its sums.
pub fn icmp_error_with_sum(
    source: &str,
    destination: &str,
    icmp_type: u8,
    code: u8,
    quoted: &[u8],
) -> Vec<u8> {
    let mut packet = icmp_error(source, destination, icmp_type, quoted);
    let len = packet.len();
    if packet[0] >> 4 == 4 {
        packet[21] = code;
        write_sum(&mut packet, 0..20, 10, 0);
        write_sum(&mut packet, 20..len, 22, 0);
    } else {
        packet[41] = code;
        let addresses: u32 =
            packet[8..40].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        write_sum(&mut packet, 40..len, 42, addresses + u32::from(ICMPV6) + (len - 40) as u32);
    }
    packet
}

/// An echo request (8, 128) or reply (0, 129), or any other ICMP query.
pub fn query(source: &str, destination: &str, icmp_type: u8, identifier: u16) -> Vec<u8> {
    let [i0, i1] = identifier.to_be_bytes();
    let message = [icmp_type, 0, 0, 0, i0, i1, 0, 1, b'p', b'i', b'n', b'g'];
    raw(source, destination, icmp_of(source), &message)
}

/// An ICMP error about `quoted`.
pub fn icmp_error(source: &str, destination: &str, icmp_type: u8, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![icmp_type, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(quoted);
    raw(source, destination, icmp_of(source), &message)
}

fn icmp_of(addr: &str) -> u8 {
    if ip(addr).is_ipv4() { ICMP } else { ICMPV6 }
}

pub const REQUEST: u16 = 1;
pub const REPLY: u16 = 2;

pub fn arp(operation: u16, sender_mac: Mac, sender: &str, target: &str) -> Vec<u8> {
    let octets = |text| match ip(text) {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => panic!("ARP is for IPv4"),
    };
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend_from_slice(&operation.to_be_bytes());
    packet.extend_from_slice(&sender_mac.0);
    packet.extend_from_slice(&octets(sender));
    packet.extend_from_slice(&[0; 6]);
    packet.extend_from_slice(&octets(target));
    packet
}

/// A neighbour solicitation (135) or advertisement (136), with a link-layer address option.
pub fn nd(source: &str, destination: &str, icmp_type: u8, target: &str, link: Option<Mac>) -> Vec<u8> {
    let IpAddr::V6(target) = ip(target) else { panic!("ND is for IPv6") };
    let mut message = vec![icmp_type, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    if let Some(mac) = link {
        message.extend_from_slice(&[if icmp_type == 135 { 1 } else { 2 }, 1]);
        message.extend_from_slice(&mac.0);
    }
    raw(source, destination, ICMPV6, &message)
}

/// A router solicitation (133), advertisement (134) or redirect (137), or an MLD message.
pub fn icmpv6(source: &str, destination: &str, icmp_type: u8) -> Vec<u8> {
    let mut message = [0; 40];
    message[0] = icmp_type;
    let len = if icmp_type == 133 { 8 } else { 40 };
    raw(source, destination, ICMPV6, &message[..len])
}

/// An SCTP packet with one chunk.
pub fn sctp(source: (&str, u16), destination: (&str, u16), verification_tag: u32, chunk: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend_from_slice(&source.1.to_be_bytes());
    packet.extend_from_slice(&destination.1.to_be_bytes());
    packet.extend_from_slice(&verification_tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&[chunk, 0, 0, 20]);
    packet.extend_from_slice(&[0; 16]);
    raw(source.0, destination.0, SCTP, &packet)
}
