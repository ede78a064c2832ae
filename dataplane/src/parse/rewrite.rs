//! Other addresses and ports for a packet, and the checksums that go with them.
//!
//! Sums are brought up to date by what has changed (RFC 1624, 3, equation 3), never computed anew: a packet
//! that was damaged before it came here stays damaged. SCTP's is a CRC over its ports, and only its own kind
//! can be.

use podgate_flowtable::{Addr, IpProtocol, Target};

use super::ethernet::TRUNK_HEADER_LEN_BYTES;
use super::{Ip, Payload, ipv6};

/// What a packet's ends become. In an ICMP error, the packet that it quotes goes the other way: what the
/// error's destination becomes, becomes the source of that packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rewriting {
    /// The source, if another.
    pub source: Option<Target>,
    /// The destination, if another.
    pub destination: Option<Target>,
}

/// The change of a one's complement sum. Sums of 32-bit words are sums of 16-bit ones, in whatever order their
/// bytes are (RFC 1071, 2): here, the machine's.
#[derive(Clone, Copy, Default)]
struct Change(u64);

impl Change {
    #[inline]
    fn replace(&mut self, old: u32, new: u32) {
        self.0 += u64::from(!old) + u64::from(new);
    }

    /// Of half a word, the other half of which stays as it is.
    #[inline]
    fn replace_half(&mut self, old: u16, new: u16) {
        self.0 += u64::from(!old) + u64::from(new);
    }

    #[inline]
    fn add(&mut self, other: Self) {
        self.0 += other.0;
    }

    /// The checksum after the change.
    #[inline]
    fn of(self, checksum: [u8; 2]) -> [u8; 2] {
        let sum = self.0 + u64::from(!u16::from_ne_bytes(checksum));
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        (!(sum as u16)).to_ne_bytes()
    }
}

/// Gives the packet in `frame`, which was parsed to `ip`, other ends. A later fragment has no ports.
#[inline]
pub fn rewrite(frame: &mut [u8], ip: &Ip, rewriting: &Rewriting) {
    let Some(packet) = frame.get_mut(TRUNK_HEADER_LEN_BYTES..) else { return };
    // Ethernet may have padded it.
    let len_bytes = packet.len().min(ip.len_bytes as usize);
    let packet = &mut packet[..len_bytes];
    let start = usize::from(ip.transport_start);
    match &ip.payload {
        Payload::Packet { .. } => {
            let pseudo = write_addresses(packet, ip.source.is_v4(), rewriting);
            if let Some(transport) = packet.get_mut(start..) {
                write_transport(transport, ip.protocol, pseudo, rewriting);
            }
        }
        Payload::IcmpError { .. } => rewrite_error(packet, ip, start, rewriting),
        Payload::LaterFragment | Payload::IcmpOther { .. } | Payload::Neighbour(_) | Payload::Mld(_) => {
            write_addresses(packet, ip.source.is_v4(), rewriting);
        }
    }
}

/// Writes the addresses and the header's own sum; what a pseudo-header's sum changes by.
#[inline]
fn write_addresses(packet: &mut [u8], is_v4: bool, rewriting: &Rewriting) -> Change {
    if is_v4 { write_v4(packet, rewriting) } else { write_v6(packet, rewriting) }
}

#[inline]
fn write_v4(packet: &mut [u8], rewriting: &Rewriting) -> Change {
    let mut change = Change::default();
    let Some(header) = packet.first_chunk_mut::<20>() else { return change };
    let mut write = |at: usize, target: &Target| {
        let old = u32_at(header, at);
        let new = (target.addr.bits() as u32).to_be_bytes();
        change.replace(old, u32::from_ne_bytes(new));
        header[at..at + 4].copy_from_slice(&new);
    };
    if let Some(source) = &rewriting.source {
        write(12, source);
    }
    if let Some(destination) = &rewriting.destination {
        write(16, destination);
    }
    let checksum = change.of([header[10], header[11]]);
    header[10..12].copy_from_slice(&checksum);
    change
}

/// Its header has no sum.
#[inline]
fn write_v6(packet: &mut [u8], rewriting: &Rewriting) -> Change {
    let mut change = Change::default();
    let Some(header) = packet.first_chunk_mut::<40>() else { return change };
    for (at, target) in [(8, &rewriting.source), (24, &rewriting.destination)] {
        let Some(target) = target else { continue };
        let new = target.addr.bits().to_be_bytes();
        for word in (0..16).step_by(4) {
            change.replace(u32_at(header, at + word), u32_at(&new, word));
        }
        header[at..at + 16].copy_from_slice(&new);
    }
    change
}

#[inline]
fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The 16-bit field at `at`, if the packet has it.
#[inline]
fn field(packet: &mut [u8], at: usize) -> Option<&mut [u8; 2]> {
    packet.get_mut(at..)?.first_chunk_mut()
}

/// Writes the source and destination port that a transport header begins with; what sums change by.
#[inline]
fn write_ports(transport: &mut [u8], rewriting: &Rewriting) -> Change {
    let mut change = Change::default();
    let Some([s0, s1, d0, d1]) = transport.first_chunk_mut() else { return change };
    let mut write = |[b0, b1]: [&mut u8; 2], target: &Target| {
        let new = target.port.to_be_bytes();
        change.replace_half(u16::from_ne_bytes([*b0, *b1]), u16::from_ne_bytes(new));
        [*b0, *b1] = new;
    };
    if let Some(source) = &rewriting.source {
        write([s0, s1], source);
    }
    if let Some(destination) = &rewriting.destination {
        write([d0, d1], destination);
    }
    change
}

/// Writes the ports of a transport header, and its sum; what the sum of all changes by.
#[inline]
fn write_transport(
    transport: &mut [u8],
    protocol: IpProtocol,
    pseudo: Change,
    rewriting: &Rewriting,
) -> Change {
    let (at, has_ports) = match protocol {
        IpProtocol::UDP => (6, true),
        IpProtocol::TCP => (16, true),
        IpProtocol::ICMPV6 => (2, false),
        IpProtocol::SCTP => {
            let ports = write_ports(transport, rewriting);
            write_crc(transport);
            return ports;
        }
        _ => return Change::default(),
    };
    let mut all = if has_ports { write_ports(transport, rewriting) } else { Change::default() };
    let Some(field) = field(transport, at) else { return all };
    let old = *field;
    // No sum at all is written as zero (RFC 768).
    let may_be_absent = protocol == IpProtocol::UDP;
    if may_be_absent && old == [0, 0] {
        return all;
    }
    let mut change = pseudo;
    change.add(all);
    let mut new = change.of(old);
    if may_be_absent && new == [0, 0] {
        new = [0xff, 0xff];
    }
    all.replace_half(u16::from_ne_bytes(old), u16::from_ne_bytes(new));
    *field = new;
    all
}

/// RFC 9260, 6.8 and appendix A: little end first. A quoted packet is not whole, and its sum nobody's.
fn write_crc(whole: &mut [u8]) {
    const CRC: std::ops::Range<usize> = 8..12;
    if whole.len() < CRC.end {
        return;
    }
    whole[CRC].fill(0);
    let crc = crc32c::crc32c(whole);
    whole[CRC].copy_from_slice(&crc.to_le_bytes());
}

#[inline]
fn update(packet: &mut [u8], at: usize, change: Change) {
    if let Some(field) = field(packet, at) {
        *field = change.of(*field);
    }
}

/// An ICMP error, and the packet in it.
#[cold]
fn rewrite_error(packet: &mut [u8], ip: &Ip, start: usize, rewriting: &Rewriting) {
    const ICMP_HEADER_LEN_BYTES: usize = 8;
    let is_v4 = ip.source.is_v4();
    let Some(Quoted { transport_start, protocol, destination }) =
        Quoted::of(packet.get(start + ICMP_HEADER_LEN_BYTES..).unwrap_or_default(), is_v4)
    else {
        return;
    };
    let quoted_rewriting = Rewriting { source: rewriting.destination, destination: rewriting.source };
    let quoted = &mut packet[start + ICMP_HEADER_LEN_BYTES..];
    let header = write_addresses(quoted, is_v4, &quoted_rewriting);
    // An IPv4 header's sum, that has changed with it, makes up for the addresses.
    let mut change = if is_v4 { Change::default() } else { header };
    if let Some(transport) = quoted.get_mut(transport_start..) {
        change.add(match protocol {
            IpProtocol::SCTP => write_ports(transport, &quoted_rewriting),
            _ => write_transport(transport, protocol, header, &quoted_rewriting),
        });
    }
    // Who sends the error may be a router on the way; only the other end goes by another address.
    let source = rewriting.source.filter(|_| ip.source == destination);
    let pseudo = write_addresses(packet, is_v4, &Rewriting { source, ..*rewriting });
    if !is_v4 {
        change.add(pseudo);
    }
    update(packet, start + 2, change);
}

/// The packet that an ICMP error quotes.
struct Quoted {
    transport_start: usize,
    protocol: IpProtocol,
    destination: Addr,
}

impl Quoted {
    fn of(bytes: &[u8], is_v4: bool) -> Option<Self> {
        if is_v4 {
            let header = super::ipv4::Header::parse(bytes).ok()?;
            return Some(Self {
                transport_start: header.len_bytes,
                protocol: IpProtocol(header.protocol),
                destination: Addr::from_v4(header.destination),
            });
        }
        let header = ipv6::Header::parse(bytes).ok()?;
        let chain = ipv6::Chain::walk(header.first_protocol, ipv6::Header::rest(bytes)).ok()?;
        Some(Self {
            transport_start: bytes.len() - chain.payload.len(),
            protocol: IpProtocol(chain.protocol),
            destination: Addr::from_v6(header.destination),
        })
    }
}
