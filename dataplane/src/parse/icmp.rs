//! ICMP of both families (RFC 792, RFC 4443): queries, errors, and what errors quote.

use podgate_flowtable::{Addr, IcmpRole, IpProtocol, Transport, Tuple};

use super::{Network, Payload, ipv4, ipv6, nd};
use crate::verdict::DropReason;

/// Type, code, checksum, and the four bytes that each type uses as it likes.
const HEADER_LEN_BYTES: usize = 8;

pub(super) fn parse_v4(network: &Network, payload: &[u8]) -> Result<Payload, DropReason> {
    let Some((header, rest)) = payload.split_first_chunk::<HEADER_LEN_BYTES>() else {
        return Err(network.cut());
    };
    let icmp_type = header[0];
    if let Some(role) = query_v4(icmp_type) {
        return Ok(query(network, *header, role));
    }
    match icmp_type {
        // Unreachable, source quench, time exceeded, parameter problem. Not redirects: whoever
        // sends one asks for the traffic of others.
        3 | 4 | 11 | 12 => Ok(Payload::IcmpError { icmp_type, quoted: quoted_v4(rest)? }),
        _ => Ok(Payload::IcmpOther { icmp_type }),
    }
}

pub(super) fn parse_v6(network: &Network, payload: &[u8]) -> Result<Payload, DropReason> {
    let Some(&icmp_type) = payload.first() else {
        return Err(network.cut());
    };
    match icmp_type {
        130..=132 | 143 => return nd::parse_mld(network, payload),
        133..=137 => return nd::parse(network, payload),
        _ => {}
    }
    let Some((header, rest)) = payload.split_first_chunk::<HEADER_LEN_BYTES>() else {
        return Err(network.cut());
    };
    if let Some(role) = query_v6(icmp_type) {
        return Ok(query(network, *header, role));
    }
    match icmp_type {
        1..=4 => Ok(Payload::IcmpError { icmp_type, quoted: quoted_v6(rest)? }),
        _ => Ok(Payload::IcmpOther { icmp_type }),
    }
}

/// Echo, timestamp, information, address mask: all have their identifier in bytes 4 and 5.
const fn query_v4(icmp_type: u8) -> Option<IcmpRole> {
    match icmp_type {
        8 | 13 | 15 | 17 => Some(IcmpRole::Request),
        0 | 14 | 16 | 18 => Some(IcmpRole::Reply),
        _ => None,
    }
}

const fn query_v6(icmp_type: u8) -> Option<IcmpRole> {
    match icmp_type {
        128 => Some(IcmpRole::Request),
        129 => Some(IcmpRole::Reply),
        _ => None,
    }
}

fn query(network: &Network, header: [u8; HEADER_LEN_BYTES], role: IcmpRole) -> Payload {
    let identifier = u16::from_be_bytes([header[4], header[5]]);
    match network.packet(identifier, identifier, Transport::Icmp(role)) {
        Payload::Packet { packet, .. } => Payload::Packet { packet, icmp_type: Some(header[0]) },
        other => other,
    }
}

/// The tuple of the IPv4 packet that an error quotes: its header and 8 bytes (RFC 792). `None` if
/// they name no flow: a later fragment, or an error about an error.
fn quoted_v4(bytes: &[u8]) -> Result<Option<Tuple>, DropReason> {
    let Ok(header) = ipv4::Header::parse(bytes) else {
        return Err(DropReason::BadTransport);
    };
    if header.fragment_start_bytes() != 0 {
        return Ok(None);
    }
    let Some(transport) = bytes.get(header.len_bytes..) else {
        return Err(DropReason::BadTransport);
    };
    let (source, destination) = (Addr::from_v4(header.source), Addr::from_v4(header.destination));
    quoted(source, destination, header.protocol, transport)
}

/// The same of an IPv6 packet, of which an error quotes as much as fits (RFC 4443, 2.4 c).
fn quoted_v6(bytes: &[u8]) -> Result<Option<Tuple>, DropReason> {
    let Ok(header) = ipv6::Header::parse(bytes) else {
        return Err(DropReason::BadTransport);
    };
    if ipv6::embeds_v4(&header.source) || ipv6::embeds_v4(&header.destination) {
        return Ok(None);
    }
    let Ok(chain) = ipv6::Chain::walk(header.first_protocol, ipv6::Header::rest(bytes)) else {
        return Ok(None);
    };
    if chain.fragment.is_some_and(|fragment| fragment.start_bytes > 0) {
        return Ok(None);
    }
    let (source, destination) = (Addr::from_v6(header.source), Addr::from_v6(header.destination));
    quoted(source, destination, chain.protocol, chain.payload)
}

fn quoted(
    source: Addr,
    destination: Addr,
    protocol: u8,
    transport: &[u8],
) -> Result<Option<Tuple>, DropReason> {
    let protocol = IpProtocol(protocol);
    let Some(&[b0, b1, b2, b3, b4, b5, _, _]) = transport.first_chunk::<8>() else {
        return Err(DropReason::BadTransport);
    };
    let query_role = match protocol {
        IpProtocol::ICMP if source.is_v4() => Some(query_v4(b0)),
        IpProtocol::ICMPV6 if !source.is_v4() => Some(query_v6(b0)),
        _ => None,
    };
    let (source_port, destination_port) = match (protocol, query_role) {
        (_, Some(None)) => return Ok(None),
        (_, Some(Some(_))) => (u16::from_be_bytes([b4, b5]), u16::from_be_bytes([b4, b5])),
        (IpProtocol::TCP | IpProtocol::UDP | IpProtocol::SCTP, None) => {
            (u16::from_be_bytes([b0, b1]), u16::from_be_bytes([b2, b3]))
        }
        _ => (0, 0),
    };
    Ok(Some(Tuple { source, destination, source_port, destination_port, protocol }))
}
