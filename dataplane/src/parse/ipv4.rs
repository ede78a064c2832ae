//! The IPv4 header (RFC 791, 3.1).

use podgate_flowtable::{Addr, IpProtocol};

use super::transport;
use super::{Fragment, Ip, Network, Payload};
use crate::verdict::DropReason;

const MIN_HEADER_LEN_BYTES: usize = 20;

#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<Ip, DropReason> {
    let header = Header::parse(bytes)?;
    // The frame may be padded to Ethernet's 60 bytes: the packet ends where it says.
    let Some(packet) = bytes.get(..header.total_len_bytes) else {
        return Err(DropReason::Truncated);
    };
    let Some(payload) = packet.get(header.len_bytes..) else {
        return Err(DropReason::BadIpv4);
    };
    if martian_source(header.source) || martian_destination(header.destination) {
        return Err(DropReason::Martian);
    }
    let source = Addr::from_v4(header.source);
    let destination = Addr::from_v4(header.destination);
    let protocol = IpProtocol(header.protocol);
    let len_bytes = header.total_len_bytes as u32;
    let fragment = if header.is_fragment() {
        Some(Fragment::checked(
            u32::from(header.identification),
            header.fragment_start_bytes(),
            payload.len(),
            header.more_fragments(),
        )?)
    } else {
        None
    };
    let payload = if header.fragment_start_bytes() == 0 {
        let network = Network {
            source,
            destination,
            protocol,
            len_bytes,
            hop_limit: header.ttl,
            is_fragment: fragment.is_some(),
        };
        transport::parse(&network, payload)?
    } else {
        transport::check_later_fragment(protocol, header.fragment_start_bytes())?;
        Payload::LaterFragment
    };
    let transport_start = header.len_bytes as u16;
    Ok(Ip { source, destination, protocol, len_bytes, transport_start, fragment, payload })
}

/// The fixed part, and how long all of it is. Options are walked only for source routes.
pub(super) struct Header {
    pub len_bytes: usize,
    pub total_len_bytes: usize,
    pub protocol: u8,
    pub source: [u8; 4],
    pub destination: [u8; 4],
    ttl: u8,
    identification: u16,
    flags_and_offset: u16,
}

impl Header {
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some(fixed) = bytes.first_chunk::<MIN_HEADER_LEN_BYTES>() else {
            return Err(DropReason::Truncated);
        };
        let [first, _, l0, l1, i0, i1, f0, f1, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
        let len_bytes = usize::from(first & 0x0f) * 4;
        let total_len_bytes = usize::from(u16::from_be_bytes([l0, l1]));
        if first >> 4 != 4 || len_bytes < MIN_HEADER_LEN_BYTES || total_len_bytes < len_bytes {
            return Err(DropReason::BadIpv4);
        }
        if len_bytes > MIN_HEADER_LEN_BYTES {
            let Some(options) = bytes.get(MIN_HEADER_LEN_BYTES..len_bytes) else {
                return Err(DropReason::Truncated);
            };
            check_options(options)?;
        }
        Ok(Self {
            len_bytes,
            total_len_bytes,
            protocol,
            source: [s0, s1, s2, s3],
            destination: [d0, d1, d2, d3],
            ttl,
            identification: u16::from_be_bytes([i0, i1]),
            flags_and_offset: u16::from_be_bytes([f0, f1]),
        })
    }

    const MORE_FRAGMENTS: u16 = 0x2000;
    const OFFSET_MASK: u16 = 0x1fff;

    #[inline]
    const fn is_fragment(&self) -> bool {
        self.flags_and_offset & (Self::MORE_FRAGMENTS | Self::OFFSET_MASK) != 0
    }

    #[inline]
    const fn more_fragments(&self) -> bool {
        self.flags_and_offset & Self::MORE_FRAGMENTS != 0
    }

    #[inline]
    pub(super) const fn fragment_start_bytes(&self) -> u32 {
        (self.flags_and_offset & Self::OFFSET_MASK) as u32 * 8
    }
}

/// A source route makes the destination field a hop, not the destination that policy is to judge:
/// such packets are dropped (RFC 7126, 4.3 and 4.4). Other options pass unread.
#[cold]
fn check_options(mut options: &[u8]) -> Result<(), DropReason> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    loop {
        match *options {
            [] | [END, ..] => return Ok(()),
            [NO_OPERATION, ..] => options = &options[1..],
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] => return Err(DropReason::BadIpv4),
            [_, len, ..] if len >= 2 => {
                options = options.get(usize::from(len)..).ok_or(DropReason::BadIpv4)?;
            }
            _ => return Err(DropReason::BadIpv4),
        }
    }
}

/// Sources that are never on a wire (RFC 6890, 2.2.2; RFC 1122, 3.2.1.3). 0.0.0.0 is left to the
/// anti-spoofing, so that a pod that tries DHCP is told so.
#[inline]
const fn martian_source(octets: [u8; 4]) -> bool {
    match octets {
        [0, 0, 0, 0] => false,
        [first, ..] => matches!(first, 0 | 127 | 224..),
    }
}

/// Link-local stays: node-local DNS and metadata services live there.
#[inline]
const fn martian_destination(octets: [u8; 4]) -> bool {
    match octets {
        [255, 255, 255, 255] => false,
        [first, ..] => matches!(first, 0 | 127 | 240..),
    }
}
