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

/// The fields of an IP header that are rewritten, by family.
struct Fields {
    source: usize,
    destination: usize,
    /// Length of an address.
    len: usize,
    /// IPv6 has none.
    checksum: Option<usize>,
}

const V4: Fields = Fields { source: 12, destination: 16, len: 4, checksum: Some(10) };
const V6: Fields = Fields { source: 8, destination: 24, len: 16, checksum: None };

/// The change of a one's complement sum.
#[derive(Clone, Copy, Default)]
struct Change(u32);

impl Change {
    #[inline]
    fn replace(&mut self, old: &[u8], new: &[u8]) {
        for (old, new) in old.chunks_exact(2).zip(new.chunks_exact(2)) {
            self.0 += u32::from(!u16::from_be_bytes([old[0], old[1]]));
            self.0 += u32::from(u16::from_be_bytes([new[0], new[1]]));
        }
    }

    #[inline]
    fn add(&mut self, other: Self) {
        self.0 += other.0;
    }

    /// The checksum after the change.
    #[inline]
    fn of(self, checksum: [u8; 2]) -> [u8; 2] {
        let mut sum = u32::from(!u16::from_be_bytes(checksum)) + self.0;
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        (!(sum as u16)).to_be_bytes()
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
            write_transport(packet, start, ip.protocol, pseudo, rewriting);
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
    let fields = if is_v4 { V4 } else { V6 };
    let mut change = Change::default();
    for (at, target) in [(fields.source, rewriting.source), (fields.destination, rewriting.destination)] {
        let Some(target) = target else { continue };
        let Some(field) = packet.get_mut(at..at + fields.len) else { continue };
        let address = target.addr.bits().to_be_bytes();
        let address = &address[16 - fields.len..];
        change.replace(field, address);
        field.copy_from_slice(address);
    }
    if let Some(at) = fields.checksum {
        update(packet, at, change);
    }
    change
}

/// Writes the ports that follow at `start`, and the transport's sum; what the sum of all changes by.
#[inline]
fn write_transport(
    packet: &mut [u8],
    start: usize,
    protocol: IpProtocol,
    pseudo: Change,
    rewriting: &Rewriting,
) -> Change {
    let mut ports = Change::default();
    if matches!(protocol, IpProtocol::TCP | IpProtocol::UDP | IpProtocol::SCTP) {
        for (at, target) in [(start, rewriting.source), (start + 2, rewriting.destination)] {
            let Some(target) = target else { continue };
            let Some(field) = packet.get_mut(at..at + 2) else { continue };
            ports.replace(field, &target.port.to_be_bytes());
            field.copy_from_slice(&target.port.to_be_bytes());
        }
    }
    let mut change = pseudo;
    change.add(ports);
    let mut all = ports;
    let (at, may_be_absent) = match protocol {
        IpProtocol::TCP => (start + 16, false),
        // No sum at all is written as zero (RFC 768).
        IpProtocol::UDP => (start + 6, true),
        IpProtocol::ICMPV6 => (start + 2, false),
        IpProtocol::SCTP => {
            write_crc(packet, start);
            return all;
        }
        _ => return all,
    };
    let Some(&[c0, c1]) = packet.get(at..at + 2) else { return all };
    if may_be_absent && [c0, c1] == [0, 0] {
        return all;
    }
    let mut new = change.of([c0, c1]);
    if may_be_absent && new == [0, 0] {
        new = [0xff, 0xff];
    }
    all.replace(&[c0, c1], &new);
    packet[at..at + 2].copy_from_slice(&new);
    all
}

/// RFC 9260, 6.8 and appendix A: little end first. A quoted packet is not whole, and its sum nobody's.
fn write_crc(packet: &mut [u8], start: usize) {
    const CRC: std::ops::Range<usize> = 8..12;
    let Some(whole) = packet.get_mut(start..).filter(|whole| whole.len() >= CRC.end) else { return };
    whole[CRC].fill(0);
    let crc = crc32c::crc32c(whole);
    whole[CRC].copy_from_slice(&crc.to_le_bytes());
}

#[inline]
fn update(packet: &mut [u8], at: usize, change: Change) {
    if let Some(&[c0, c1]) = packet.get(at..at + 2) {
        packet[at..at + 2].copy_from_slice(&change.of([c0, c1]));
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
    if protocol == IpProtocol::SCTP {
        for (at, target) in [(0, quoted_rewriting.source), (2, quoted_rewriting.destination)] {
            let at = transport_start + at;
            if let Some(target) = target
                && let Some(field) = quoted.get_mut(at..at + 2)
            {
                change.replace(field, &target.port.to_be_bytes());
                field.copy_from_slice(&target.port.to_be_bytes());
            }
        }
    } else {
        change.add(write_transport(quoted, transport_start, protocol, header, &quoted_rewriting));
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
