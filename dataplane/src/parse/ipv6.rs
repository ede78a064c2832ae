//! The IPv6 header and its chain of extension headers (RFC 8200, 3 and 4).

use podgate_flowtable::{Addr, IpProtocol};

use super::transport;
use super::{Fragment, Ip, Network, Payload};
use crate::verdict::DropReason;

const HEADER_LEN_BYTES: usize = 40;
/// Longer chains are refused: each costs a read, and no stack sends so many.
const MAX_EXTENSION_HEADERS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<Ip, DropReason> {
    let header = Header::parse(bytes)?;
    // 0 announces a jumbogram (RFC 2675), which no veth carries, or an empty packet.
    if header.payload_len_bytes == 0 {
        return Err(DropReason::BadIpv6);
    }
    let Some(body) = bytes.get(HEADER_LEN_BYTES..HEADER_LEN_BYTES + header.payload_len_bytes) else {
        return Err(DropReason::Truncated);
    };
    if martian_source(&header.source) || martian_destination(&header.destination) {
        return Err(DropReason::Martian);
    }
    let source = Addr::from_v6(header.source);
    let destination = Addr::from_v6(header.destination);
    let chain = Chain::walk(header.first_protocol, body)?;
    let protocol = IpProtocol(chain.protocol);
    let len_bytes = (HEADER_LEN_BYTES + header.payload_len_bytes) as u32;
    let start_bytes = chain.fragment.map_or(0, |fragment| fragment.start_bytes);
    let fragment = match chain.fragment {
        // All of a datagram in one fragment is no fragment (RFC 6946, 4).
        Some(FragmentHeader { start_bytes: 0, more: false, .. }) | None => None,
        Some(header) => Some(Fragment::checked(
            header.identification,
            header.start_bytes,
            chain.fragmentable_len_bytes,
            header.more,
        )?),
    };
    let payload = if start_bytes == 0 {
        let network = Network {
            source,
            destination,
            protocol,
            len_bytes,
            hop_limit: header.hop_limit,
            // An atomic fragment counts: neighbour discovery may not even come in one (RFC 6980, 5).
            is_fragment: chain.fragment.is_some(),
        };
        transport::parse(&network, chain.payload)?
    } else {
        transport::check_later_fragment(protocol, start_bytes)?;
        Payload::LaterFragment
    };
    if source == Addr::UNSPECIFIED && !payload.may_come_from_nowhere() {
        return Err(DropReason::Martian);
    }
    let transport_start = len_bytes.saturating_sub(chain.payload.len() as u32) as u16;
    Ok(Ip { source, destination, protocol, len_bytes, transport_start, fragment, payload })
}

/// The fixed header.
pub(super) struct Header {
    pub first_protocol: u8,
    pub source: [u8; 16],
    pub destination: [u8; 16],
    payload_len_bytes: usize,
    hop_limit: u8,
}

impl Header {
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some((fixed, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(DropReason::Truncated);
        };
        let [first, _, _, _, l0, l1, first_protocol, hop_limit] = *fixed;
        if first >> 4 != 6 {
            return Err(DropReason::BadIpv6);
        }
        let Some((source, rest)) = rest.split_first_chunk::<16>() else {
            return Err(DropReason::Truncated);
        };
        let Some(destination) = rest.first_chunk::<16>() else {
            return Err(DropReason::Truncated);
        };
        Ok(Self {
            first_protocol,
            source: *source,
            destination: *destination,
            payload_len_bytes: usize::from(u16::from_be_bytes([l0, l1])),
            hop_limit,
        })
    }

    /// What follows the fixed header in `bytes`, which [`Header::parse`] took.
    pub(super) fn rest(bytes: &[u8]) -> &[u8] {
        bytes.get(HEADER_LEN_BYTES..).unwrap_or_default()
    }
}

/// The fragment header (RFC 8200, 4.5).
#[derive(Clone, Copy)]
pub(super) struct FragmentHeader {
    pub start_bytes: u32,
    pub more: bool,
    identification: u32,
}

/// What the chain of extension headers led to.
pub(super) struct Chain<'a> {
    /// Of the first header that is no extension header; in a later fragment, what the fragment
    /// header says comes first in the datagram.
    pub protocol: u8,
    /// From there on.
    pub payload: &'a [u8],
    pub fragment: Option<FragmentHeader>,
    /// What follows the fragment header, extension headers included.
    fragmentable_len_bytes: usize,
}

impl<'a> Chain<'a> {
    #[inline]
    pub(super) fn walk(first: u8, bytes: &'a [u8]) -> Result<Self, DropReason> {
        match first {
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS => {
                Self::walk_extensions(first, bytes)
            }
            protocol => Ok(Self { protocol, payload: bytes, fragment: None, fragmentable_len_bytes: 0 }),
        }
    }

    #[inline(never)]
    fn walk_extensions(first: u8, bytes: &'a [u8]) -> Result<Self, DropReason> {
        let mut chain = Self { protocol: first, payload: bytes, fragment: None, fragmentable_len_bytes: 0 };
        for position in 0..=MAX_EXTENSION_HEADERS {
            let units_and_base = match chain.protocol {
                // Only ever the first (RFC 8200, 4.1).
                HOP_BY_HOP if position > 0 => return Err(DropReason::BadIpv6),
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (8, 8),
                // RFC 4302, 2.2: in words, minus two.
                AUTHENTICATION => (4, 8),
                FRAGMENT => {
                    chain.enter_fragment()?;
                    if chain.fragment.is_some_and(|fragment| fragment.start_bytes > 0) {
                        return Ok(chain);
                    }
                    continue;
                }
                _ => return Ok(chain),
            };
            chain.skip(units_and_base)?;
        }
        Err(DropReason::BadIpv6)
    }

    fn skip(&mut self, (unit, base): (usize, usize)) -> Result<(), DropReason> {
        let [next, units, _, segments_left, ..] = *self.payload else {
            return Err(self.cut());
        };
        // With segments left the destination field is a hop, not the destination that policy is
        // to judge (RFC 8200, 4.4; RFC 5095 withdrew the routing type that hosts obeyed).
        if self.protocol == ROUTING && segments_left != 0 {
            return Err(DropReason::BadIpv6);
        }
        let Some(rest) = self.payload.get(base + usize::from(units) * unit..) else {
            return Err(self.cut());
        };
        self.protocol = next;
        self.payload = rest;
        Ok(())
    }

    fn enter_fragment(&mut self) -> Result<(), DropReason> {
        if self.fragment.is_some() {
            return Err(DropReason::BadIpv6);
        }
        let Some((&[next, _, o0, o1, i0, i1, i2, i3], rest)) = self.payload.split_first_chunk::<8>() else {
            return Err(self.cut());
        };
        let offset_and_more = u16::from_be_bytes([o0, o1]);
        self.fragment = Some(FragmentHeader {
            start_bytes: u32::from(offset_and_more & 0xfff8),
            more: offset_and_more & 1 != 0,
            identification: u32::from_be_bytes([i0, i1, i2, i3]),
        });
        self.protocol = next;
        self.payload = rest;
        self.fragmentable_len_bytes = rest.len();
        Ok(())
    }

    /// A first fragment holds the whole chain or is dropped (RFC 7112, 5).
    fn cut(&self) -> DropReason {
        if self.fragment.is_some() { DropReason::BadFragment } else { DropReason::Truncated }
    }
}

/// `::ffff:0:0/96` and `::/96` never are on a wire (RFC 4291, 2.5.5; RFC 6890, 2.2.3), and a
/// v4-mapped address would be taken for an IPv4 one. `::` itself is looked at with the payload.
fn martian_source(octets: &[u8; 16]) -> bool {
    octets[0] == 0xff || (embeds_v4(octets) && *octets != [0; 16])
}

/// Groups of scope 0 and 1 do not leave their interface (RFC 4291, 2.7).
fn martian_destination(octets: &[u8; 16]) -> bool {
    (octets[0] == 0xff && matches!(octets[1] & 0x0f, 0 | 1)) || embeds_v4(octets)
}

/// `::`, loopback, v4-compatible or v4-mapped.
pub(super) fn embeds_v4(octets: &[u8; 16]) -> bool {
    let high = u128::from_be_bytes(*octets) >> 32;
    high == 0 || high == 0xffff
}
