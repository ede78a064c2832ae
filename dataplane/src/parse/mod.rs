//! From the bytes of a frame on the trunk to what they say.
//!
//! ```text
//! ethernet   the header with the trunk's tag
//! arp        ARP
//! ipv4       the IPv4 header
//! ipv6       the IPv6 header and its extension headers
//! transport  TCP, UDP, SCTP
//! icmp       ICMP for both families: queries, and errors with the packet they quote
//! nd         neighbour discovery and multicast listener discovery
//! rewrite    other addresses and ports for a packet of a Service
//! ```
//!
//! Every loop is bounded by a constant or by the header it walks. What comes out needs no further
//! length check, and its addresses are ones that may be on a wire.

mod arp;
mod ethernet;
mod icmp;
mod ipv4;
mod ipv6;
mod nd;
mod rewrite;
mod transport;

pub use arp::{Arp, ArpOperation};
pub use ethernet::{TRUNK_HEADER_LEN_BYTES, TrunkHeader, readdress, retag};
pub use nd::{Mld, Neighbour, NeighbourMessage};
pub use rewrite::{Rewriting, rewrite};

use podgate_flowtable::{Addr, IpProtocol, Packet, TcpFlags, Transport, Tuple};

use crate::verdict::DropReason;
use ethernet::Ethertype;

/// A frame, understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// Its Ethernet header.
    pub header: TrunkHeader,
    /// What it carries.
    pub body: Body,
}

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// ARP.
    Arp(Arp),
    /// IPv4 or IPv6.
    Ip(Ip),
}

/// An IP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ip {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// The protocol behind any extension headers.
    pub protocol: IpProtocol,
    /// Length of the packet, IP header included.
    pub len_bytes: u32,
    /// Where the transport header starts in it; in a later fragment, what the fragment carries.
    pub transport_start: u16,
    /// Which part of a datagram this is, if it is not all of one.
    pub fragment: Option<Fragment>,
    /// What it carries.
    pub payload: Payload,
}

/// A part of a datagram, first or later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// What its datagram's fragments have in common, with addresses and protocol.
    pub identification: u32,
    /// Offset of its first byte in the datagram.
    pub start_bytes: u16,
    /// Offset past its last byte.
    pub end_bytes: u16,
    /// Whether more follow.
    pub more: bool,
}

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Something that is part of a flow or opens one. First fragments come as this.
    Packet {
        /// As the flow table sees it.
        packet: Packet,
        /// Type of an ICMP query, for events.
        icmp_type: Option<u8>,
    },
    /// An ICMP error about another packet.
    IcmpError {
        /// Its type.
        icmp_type: u8,
        /// The addressing of the packet it is about, if the quote tells.
        quoted: Option<Tuple>,
    },
    /// An ICMP message that is neither query nor error: redirects, router advertisements of IPv4,
    /// experiments.
    IcmpOther {
        /// Its type.
        icmp_type: u8,
    },
    /// Neighbour discovery.
    Neighbour(Neighbour),
    /// Multicast listener discovery.
    Mld(Mld),
    /// A fragment other than the first: there is no transport header in it.
    LaterFragment,
}

impl Parsed {
    /// All of `frame`.
    #[inline]
    pub fn from_frame(frame: &[u8]) -> Result<Self, DropReason> {
        let (header, rest) = TrunkHeader::split(frame)?;
        Ok(Self { header, body: Body::parse(&header, rest)? })
    }
}

impl Body {
    /// What follows `header`; `rest` as [`TrunkHeader::split`] gave it.
    #[inline]
    pub fn parse(header: &TrunkHeader, rest: &[u8]) -> Result<Self, DropReason> {
        Ok(match header.ethertype()? {
            Ethertype::Ipv4 => Self::Ip(ipv4::parse(rest)?),
            Ethertype::Ipv6 => Self::Ip(ipv6::parse(rest)?),
            Ethertype::Arp => Self::Arp(Arp::parse(rest)?),
        })
    }
}

impl Ip {
    /// Its addressing; ports are 0 where there are none or they are not known.
    pub fn tuple(&self) -> Tuple {
        match self.payload {
            Payload::Packet { packet, .. } => packet.tuple,
            _ => Tuple {
                source: self.source,
                destination: self.destination,
                source_port: 0,
                destination_port: 0,
                protocol: self.protocol,
            },
        }
    }

    /// TCP flags, if it is TCP.
    pub fn tcp_flags(&self) -> Option<TcpFlags> {
        match self.payload {
            Payload::Packet { packet: Packet { transport: Transport::Tcp(segment), .. }, .. } => {
                Some(segment.flags)
            }
            _ => None,
        }
    }

    /// ICMP type, if it is ICMP of its family.
    pub fn icmp_type(&self) -> Option<u8> {
        match self.payload {
            Payload::Packet { icmp_type, .. } => icmp_type,
            Payload::IcmpError { icmp_type, .. } | Payload::IcmpOther { icmp_type } => Some(icmp_type),
            Payload::Neighbour(neighbour) => Some(neighbour.message.icmp_type()),
            Payload::Mld(mld) => Some(mld.icmp_type()),
            Payload::LaterFragment => None,
        }
    }

    /// Whether it goes to a group or to everyone.
    #[inline]
    pub fn is_to_group(&self) -> bool {
        is_group(self.destination)
    }
}

impl Payload {
    /// What may come from `::`: duplicate address detection, the first router solicitation (RFC
    /// 4861, 4.1 and 4.3) and listener reports before there is an address (RFC 3590, 4).
    #[inline]
    fn may_come_from_nowhere(&self) -> bool {
        matches!(
            self,
            Self::Mld(_)
                | Self::Neighbour(Neighbour {
                    message: NeighbourMessage::Solicitation { .. } | NeighbourMessage::RouterSolicitation,
                    link_address: None,
                })
        )
    }
}

impl Fragment {
    /// Every fragment but the last is a multiple of 8 bytes, none is empty, and none reaches past
    /// what a datagram can hold (RFC 791, 3.2; RFC 8200, 4.5).
    fn checked(identification: u32, start: u32, len: usize, more: bool) -> Result<Self, DropReason> {
        let start_bytes = u16::try_from(start).map_err(|_| DropReason::BadFragment)?;
        let end_bytes = u16::try_from(start as usize + len).map_err(|_| DropReason::BadFragment)?;
        if len == 0 || (more && !len.is_multiple_of(8)) {
            return Err(DropReason::BadFragment);
        }
        Ok(Self { identification, start_bytes, end_bytes, more })
    }
}

/// Multicast of either family, or the limited broadcast. A subnet's own broadcast address cannot
/// be told from a host's.
#[inline]
pub(crate) fn is_group(addr: Addr) -> bool {
    let bits = addr.bits();
    if addr.is_v4() { bits as u32 >> 28 == 0xe || bits as u32 == u32::MAX } else { bits >> 120 == 0xff }
}

/// `fe80::/10` (RFC 4291, 2.4) or 169.254.0.0/16 (RFC 3927).
pub(crate) fn is_link_local(addr: Addr) -> bool {
    let bits = addr.bits();
    if addr.is_v4() { bits as u32 >> 16 == 0xa9fe } else { bits >> 118 == 0xfe80 >> 6 }
}

/// What the transport parsers need of the header before them.
struct Network {
    source: Addr,
    destination: Addr,
    protocol: IpProtocol,
    len_bytes: u32,
    hop_limit: u8,
    is_fragment: bool,
}

impl Network {
    #[inline]
    fn packet(&self, source_port: u16, destination_port: u16, transport: Transport) -> Payload {
        Payload::Packet {
            packet: Packet {
                tuple: Tuple {
                    source: self.source,
                    destination: self.destination,
                    source_port,
                    destination_port,
                    protocol: self.protocol,
                },
                transport,
                len_bytes: self.len_bytes,
            },
            icmp_type: None,
        }
    }

    /// A header that ends before it should: in a first fragment that is an attempt to have it
    /// judged without its second half (RFC 1858, 3).
    #[cold]
    fn cut(&self) -> DropReason {
        if self.is_fragment { DropReason::BadFragment } else { DropReason::Truncated }
    }
}
