//! One address type for both families.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address as 128 bits; IPv4 is held as `::ffff:a.b.c.d`.
///
/// A frame that carries a v4-mapped address *on the wire* never becomes an `Addr`: the parser
/// refuses it, so the two families cannot be confused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Addr(u128);

impl Addr {
    /// The unspecified IPv6 address, `::`.
    pub const UNSPECIFIED: Self = Self(0);

    /// From 4 octets in network order.
    #[inline]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self(0xffff_0000_0000 | u32::from_be_bytes(octets) as u128)
    }

    /// From 16 octets in network order.
    #[inline]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(octets))
    }

    /// The 128 bits, most significant first.
    #[inline]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// From [`Addr::bits`].
    #[inline]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Whether this is an IPv4 address.
    #[inline]
    pub const fn is_v4(self) -> bool {
        self.0 >> 32 == 0xffff
    }

    /// As the standard library's type.
    pub const fn to_ip(self) -> IpAddr {
        if self.is_v4() {
            IpAddr::V4(Ipv4Addr::from_bits(self.0 as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(self.0))
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stay_apart_and_round_trip() {
        for text in ["10.0.1.10", "0.0.0.0", "255.255.255.255", "fd00::1", "::", "fe80::1"] {
            let ip: IpAddr = text.parse().unwrap();
            let addr = Addr::from(ip);
            assert_eq!(addr.to_ip(), ip);
            assert_eq!(addr.is_v4(), ip.is_ipv4());
            assert_eq!(Addr::from_bits(addr.bits()), addr);
        }
    }
}
