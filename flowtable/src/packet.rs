//! What the flow table needs to know of a packet.

use crate::Tuple;

/// TCP header flags, the low byte as on the wire (RFC 9293, 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: Self = Self(0x01);
    /// SYN.
    pub const SYN: Self = Self(0x02);
    /// RST.
    pub const RST: Self = Self(0x04);
    /// PSH.
    pub const PSH: Self = Self(0x08);
    /// ACK.
    pub const ACK: Self = Self(0x10);

    /// Whether every flag of `other` is set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of flags.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The TCP header fields that connection tracking reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpSegment {
    /// Flags.
    pub flags: TcpFlags,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Window as on the wire, unscaled.
    pub window: u16,
    /// Payload length in bytes.
    pub payload_len_bytes: u16,
    /// Window scale option (RFC 7323), only present on SYN segments; at most 14.
    pub window_scale: Option<u8>,
    /// Whether a SYN carries the SACK-permitted option (RFC 2018).
    pub sack_permitted: bool,
}

/// Whether an ICMP query opens a flow or answers one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpRole {
    /// Echo, timestamp: may open a flow.
    Request,
    /// Its answer: never opens a flow.
    Reply,
}

/// The transport part of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP.
    Tcp(TcpSegment),
    /// UDP.
    Udp,
    /// SCTP: type of the first chunk (RFC 9260, 3.2).
    Sctp {
        /// The verification tag.
        verification_tag: u32,
        /// First chunk type.
        first_chunk: u8,
    },
    /// An ICMP query message; errors are matched by the flow inside them, see `FlowTable::find`.
    Icmp(IcmpRole),
    /// Any other protocol: a flow by its address pair.
    Other,
}

/// One packet, as the flow table sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Its addressing.
    pub tuple: Tuple,
    /// Its transport header.
    pub transport: Transport,
    /// Length of the IP packet in bytes, for the flow's counters.
    pub len_bytes: u32,
}
