//! ARP for IPv4 over Ethernet (RFC 826).

use podgate_flowtable::Addr;

use crate::mac::Mac;
use crate::verdict::DropReason;

/// What an ARP packet does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArpOperation {
    /// Who has `target`?
    Request,
    /// `sender` is at `sender_mac`.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// Request or reply.
    pub operation: ArpOperation,
    /// Sender hardware address.
    pub sender_mac: Mac,
    /// Sender protocol address.
    pub sender: Addr,
    /// Target protocol address.
    pub target: Addr,
}

impl Arp {
    const LEN_BYTES: usize = 28;
    /// Hardware Ethernet, protocol IPv4, and the lengths of their addresses.
    const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
    const ANY: Addr = Addr::from_v4([0; 4]);

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        // Ethernet padding may follow.
        let Some(packet) = bytes.first_chunk::<{ Self::LEN_BYTES }>() else {
            return Err(DropReason::Truncated);
        };
        let (kind, rest) = packet.split_at(6);
        if kind != Self::ETHERNET_IPV4 {
            return Err(DropReason::BadArp);
        }
        let &[o0, o1, m0, m1, m2, m3, m4, m5, s0, s1, s2, s3, _, _, _, _, _, _, t0, t1, t2, t3] = rest else {
            return Err(DropReason::BadArp);
        };
        let operation = match [o0, o1] {
            [0, 1] => ArpOperation::Request,
            [0, 2] => ArpOperation::Reply,
            _ => return Err(DropReason::BadArp),
        };
        Ok(Self {
            operation,
            sender_mac: Mac([m0, m1, m2, m3, m4, m5]),
            sender: Addr::from_v4([s0, s1, s2, s3]),
            target: Addr::from_v4([t0, t1, t2, t3]),
        })
    }

    /// Whether this asks if an address is free before the sender takes it (RFC 5227, 1.1).
    pub fn is_probe(&self) -> bool {
        self.operation == ArpOperation::Request && self.sender == Self::ANY
    }

    /// Whether this tells everyone where `sender` is (RFC 5227, 1.1; gratuitous ARP).
    pub fn is_announcement(&self) -> bool {
        self.sender == self.target
    }
}
