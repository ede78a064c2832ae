//! What names a flow: a 5-tuple, and its canonical form that both directions share.

use crate::{Addr, IcmpRole, Packet, Transport};

/// An IP protocol number as the IANA registry has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: Self = Self(1);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// SCTP (RFC 9260).
    pub const SCTP: Self = Self(132);
}

/// The addressing of one packet, as it is on the wire.
///
/// For ICMP echo, `source_port` and `destination_port` both hold the identifier, so that request
/// and reply have mirrored tuples; for protocols without ports both are 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tuple {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// The transport protocol.
    pub protocol: IpProtocol,
}

impl Tuple {
    /// What the packet is for.
    #[inline]
    pub const fn destination(&self) -> crate::Target {
        crate::Target { addr: self.destination, port: self.destination_port }
    }

    /// The tuple of the answer.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// Which way a packet goes on its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// As the packet that opened the flow.
    Original,
    /// Against it.
    Reply,
}

/// Which end of a canonical [`Key`] is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The end whose (address, port) sorts first.
    Low,
    /// The other one.
    High,
}

impl End {
    #[inline]
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

const ASKER_SHIFT: u32 = 40;

/// A tuple with its two ends sorted, so that a packet and its answer have the same key.
///
/// When both ends are equal (a pod's self-connection) the sender counts as [`End::Low`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) low: Addr,
    pub(crate) high: Addr,
    /// Low end's port, high end's port, protocol, asker: 16, 16, 8 and 1 bits from the least
    /// significant.
    pub(crate) ends: u64,
}

impl Key {
    /// The bits of [`Key::ends`] that are in use.
    pub(crate) const ENDS_MASK: u64 = (1 << Self::ENDS_BITS) - 1;

    /// How many they are.
    pub(crate) const ENDS_BITS: u32 = ASKER_SHIFT + 1;

    /// The key of the flow that `packet` belongs to, and which end sent it.
    ///
    /// Two ends may ask each other with the same ICMP identifier: these are two flows, decided
    /// apart, so the asking end is part of their key (as the message type is of nf_conntrack's).
    #[inline]
    pub(crate) fn of_packet(packet: &Packet) -> (Self, End) {
        let (key, sender) = Self::of(&packet.tuple);
        match packet.transport {
            Transport::Icmp(IcmpRole::Request) => (key.asked_by(sender), sender),
            Transport::Icmp(IcmpRole::Reply) => (key.asked_by(sender.other()), sender),
            _ => (key, sender),
        }
    }

    /// The key of an ICMP query from `asker`.
    #[inline]
    pub(crate) fn asked_by(self, asker: End) -> Self {
        Self { ends: self.ends | u64::from(asker == End::High) << ASKER_SHIFT, ..self }
    }

    /// The key of `tuple`, and which end of it sent the packet.
    #[inline]
    pub(crate) fn of(tuple: &Tuple) -> (Self, End) {
        let (source, destination) = (tuple.source.bits(), tuple.destination.bits());
        let (source_port, destination_port) = (tuple.source_port, tuple.destination_port);
        // Arithmetic, no branches: which end sorts first is as good as random.
        let (distance, is_above) = destination.overflowing_sub(source);
        let is_swapped =
            u8::from(is_above) | u8::from(distance == 0) & u8::from(destination_port < source_port);
        let flip = (source ^ destination) & u128::from(is_swapped).wrapping_neg();
        let port_flip = (source_port ^ destination_port) & u16::from(is_swapped).wrapping_neg();
        let ends = u64::from(source_port ^ port_flip)
            | u64::from(destination_port ^ port_flip) << 16
            | u64::from(tuple.protocol.0) << 32;
        let (low, high) = (Addr::from_bits(source ^ flip), Addr::from_bits(destination ^ flip));
        (Self { low, high, ends }, if is_swapped == 1 { End::High } else { End::Low })
    }

    /// Whether the tuple alone does not name the flow, see [`Key::of_packet`].
    pub(crate) fn needs_asker(&self) -> bool {
        matches!(IpProtocol((self.ends >> 32) as u8), IpProtocol::ICMP | IpProtocol::ICMPV6)
    }

    /// The tuple of a packet that `sender` sends.
    #[inline]
    pub(crate) fn tuple(&self, sender: End) -> Tuple {
        let from_low = Tuple {
            source: self.low,
            destination: self.high,
            source_port: self.ends as u16,
            destination_port: (self.ends >> 16) as u16,
            protocol: IpProtocol((self.ends >> 32) as u8),
        };
        match sender {
            End::Low => from_low,
            End::High => from_low.reversed(),
        }
    }
}

impl Direction {
    /// The direction of a packet from `sender` on a flow that `originator` opened.
    #[inline]
    pub(crate) fn from_ends(sender: End, originator: End) -> Self {
        if sender == originator { Self::Original } else { Self::Reply }
    }

    /// 0 for the original direction, 1 for the reply: the order of every per-direction pair.
    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Self::Original => 0,
            Self::Reply => 1,
        }
    }

    /// The other direction.
    #[inline]
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: [u8; 4], destination: [u8; 4], source_port: u16, destination_port: u16) -> Tuple {
        Tuple {
            source: Addr::from_v4(source),
            destination: Addr::from_v4(destination),
            source_port,
            destination_port,
            protocol: IpProtocol::TCP,
        }
    }

    #[test]
    fn both_directions_share_a_key_that_gives_the_tuples_back() {
        for tuple in [
            tuple([10, 0, 0, 1], [10, 0, 0, 2], 40000, 80),
            tuple([10, 0, 0, 2], [10, 0, 0, 1], 80, 40000),
            tuple([10, 0, 0, 1], [10, 0, 0, 1], 9, 7),
        ] {
            let (key, sender) = Key::of(&tuple);
            let (same, answerer) = Key::of(&tuple.reversed());
            assert_eq!(key, same);
            assert_ne!(sender, answerer);
            assert_eq!(key.tuple(sender), tuple);
            assert_eq!(key.tuple(answerer), tuple.reversed());
            assert_eq!(key.ends & !Key::ENDS_MASK, 0);
        }
    }

    #[test]
    fn a_self_connection_has_one_sender() {
        let own = tuple([10, 0, 0, 1], [10, 0, 0, 1], 7, 7);
        assert_eq!(Key::of(&own).1, End::Low);
        assert_eq!(Key::of(&own.reversed()).1, End::Low);
    }

    #[test]
    fn swapping_only_the_ports_is_another_flow() {
        let (key, _) = Key::of(&tuple([10, 0, 0, 1], [10, 0, 0, 2], 1, 2));
        let (other, _) = Key::of(&tuple([10, 0, 0, 1], [10, 0, 0, 2], 2, 1));
        assert_ne!(key, other);
    }
}
