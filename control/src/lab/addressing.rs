//! Who gets which address, and what is on the link.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::LabError;

/// Addresses for pods without any are from here.
const POOL_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
const POOL_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, 0), 64);

/// What counts as an address' surroundings.
const SURROUNDINGS_V4: u8 = 16;
const SURROUNDINGS_V6: u8 = 64;

/// The addresses of the node on the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gateway {
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
}

impl Gateway {
    pub(super) fn addresses(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// The one a host with that address uses.
    pub(super) fn facing(self, address: IpAddr) -> IpAddr {
        if address.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }
}

/// Addresses in use, by their holders.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    holders: HashMap<IpAddr, String>,
    next_v4: u32,
    next_v6: u128,
}

impl Addresses {
    /// Goes on after those that were handed out before: what a pod has just given up is still in
    /// the neighbour tables of others.
    pub(super) fn after((v4, v6): (u32, u64)) -> Self {
        Self { holders: HashMap::new(), next_v4: v4, next_v6: v6.into() }
    }

    /// How far into the subnets addresses have been handed out.
    pub(super) fn handed_out(&self) -> (u32, u64) {
        (self.next_v4, u64::try_from(self.next_v6).unwrap_or(u64::MAX))
    }

    /// Takes note of an address that a host was given.
    pub(super) fn give(&mut self, host: &str, address: IpAddr) -> Result<(), LabError> {
        if let Some(problem) = problem(address) {
            return Err(LabError::BadAddress { host: host.into(), address, problem });
        }
        match self.holders.insert(address, host.into()) {
            None => Ok(()),
            Some(first) => Err(LabError::AddressTaken { address, first, second: host.into() }),
        }
    }

    /// Chooses free addresses for the node, after all given ones are known.
    pub(super) fn gateway(&mut self) -> Result<Gateway, LabError> {
        Ok(Gateway { v4: self.free_v4("the node")?, v6: self.free_v6("the node")? })
    }

    /// Chooses free addresses for a host, one of each family.
    pub(super) fn assign(&mut self, host: &str) -> Result<Vec<IpAddr>, LabError> {
        Ok(vec![self.free_v4(host)?.into(), self.free_v6(host)?.into()])
    }

    fn free_v4(&mut self, host: &str) -> Result<Ipv4Addr, LabError> {
        loop {
            self.next_v4 += 1;
            let address = Ipv4Addr::from(u32::from(POOL_V4.network()) + self.next_v4);
            if address >= POOL_V4.broadcast() {
                return Err(LabError::NoAddressLeft { subnet: POOL_V4.to_string() });
            }
            if let Entry::Vacant(free) = self.holders.entry(address.into()) {
                free.insert(host.into());
                return Ok(address);
            }
        }
    }

    fn free_v6(&mut self, host: &str) -> Result<Ipv6Addr, LabError> {
        loop {
            self.next_v6 += 1;
            let address = Ipv6Addr::from(u128::from(POOL_V6.network()) + self.next_v6);
            if !POOL_V6.contains(&address) {
                return Err(LabError::NoAddressLeft { subnet: POOL_V6.to_string() });
            }
            if let Entry::Vacant(free) = self.holders.entry(address.into()) {
                free.insert(host.into());
                return Ok(address);
            }
        }
    }
}

/// The subnets that are on the link for all on the bridge: every address' surroundings.
pub(super) fn on_link(addresses: impl IntoIterator<Item = IpAddr>) -> BTreeSet<IpNet> {
    addresses.into_iter().map(surroundings).collect()
}

/// An address alone.
pub(super) fn alone(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn surroundings(address: IpAddr) -> IpNet {
    let length = if address.is_ipv4() { SURROUNDINGS_V4 } else { SURROUNDINGS_V6 };
    IpNet::new_assert(address, length).trunc()
}

fn problem(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(address) if address.is_broadcast() => return Some("the broadcast address"),
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            return Some("an IPv4 address in IPv6 form");
        }
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if link_local => Some("a link-local address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn chosen_addresses_avoid_given_ones() {
        let mut addresses = Addresses::default();
        for given in ["10.244.0.1", "10.244.0.3", "fd00:244::2"] {
            addresses.give("a/given", ip(given)).expect("free");
        }
        let gateway = addresses.gateway().expect("free");
        assert_eq!(gateway.addresses(), [ip("10.244.0.2"), ip("fd00:244::1")]);
        assert_eq!(addresses.assign("a/b").expect("free"), [ip("10.244.0.4"), ip("fd00:244::3")]);
    }

    #[test]
    fn an_address_is_given_once_and_only_if_a_host_can_have_it() {
        let mut addresses = Addresses::default();
        addresses.give("a/first", ip("10.0.0.1")).expect("free");
        let error = addresses.give("a/second", ip("10.0.0.1")).expect_err("taken");
        assert_eq!(
            error.to_string(),
            "a/second has the address 10.0.0.1 that a/first has already; give it another, or none"
        );
        for bad in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.1.1", "255.255.255.255"] {
            assert!(matches!(addresses.give("x", ip(bad)), Err(LabError::BadAddress { .. })), "{bad}");
        }
        for bad in ["::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1"] {
            assert!(matches!(addresses.give("x", ip(bad)), Err(LabError::BadAddress { .. })), "{bad}");
        }
    }

    #[test]
    fn a_full_subnet_says_so() {
        let mut addresses = Addresses { next_v4: 0xfffd, ..Addresses::default() };
        assert_eq!(addresses.free_v4("a").expect("the last"), Ipv4Addr::new(10, 244, 255, 254));
        assert!(matches!(addresses.free_v4("b"), Err(LabError::NoAddressLeft { .. })));
    }

    #[test]
    fn surroundings_are_shared() {
        let found = on_link(["10.0.1.10", "10.0.200.1", "192.168.7.7", "fd00:1::5"].map(ip));
        let found: Vec<String> = found.iter().map(IpNet::to_string).collect();
        assert_eq!(found, ["10.0.0.0/16", "192.168.0.0/16", "fd00:1::/64"]);
    }
}
