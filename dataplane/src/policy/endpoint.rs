//! Addresses of pods and nodes to identities.

use podgate_flowtable::Addr;

use super::PrefixMap;
use super::addresses::Addresses;
use crate::tag::PortId;

/// Index of an endpoint in the snapshot's names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EndpointId(pub u32);

/// What stands behind an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndpointKind {
    /// A pod whose device is guarded here, or will be: this gateway enforces its policy.
    LocalPod {
        /// Its device, once there is one.
        port: Option<PortId>,
    },
    /// A pod of another node.
    RemotePod,
    /// This node itself; its hostNetwork pods too.
    OwnNode,
    /// Another node.
    OtherNode,
    /// None of the cluster's.
    Outside,
}

/// An address, resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The number shared by all endpoints that every policy treats alike.
    pub identity: u32,
    /// What it is.
    pub kind: EndpointKind,
    /// Its name, if it has one.
    pub id: Option<EndpointId>,
}

/// Every known address, and identities for all others.
#[derive(Clone, Debug)]
pub struct EndpointMap {
    four: Addresses<u32>,
    six: Addresses<u128>,
    outside: PrefixMap,
}

impl EndpointMap {
    /// From the known addresses and the classes of all others. `seed` keys the hash.
    pub fn new(known: impl IntoIterator<Item = (Addr, Endpoint)>, outside: PrefixMap, seed: u64) -> Self {
        let mut map = Self { four: Addresses::new(seed), six: Addresses::new(seed), outside };
        known.into_iter().for_each(|(addr, endpoint)| map.insert(addr, endpoint));
        map
    }

    /// What stands behind `addr`.
    #[inline]
    pub fn resolve(&self, addr: Addr) -> Endpoint {
        let known = if addr.is_v4() { self.four.get(v4(addr)) } else { self.six.get(addr.bits()) };
        known.unwrap_or_else(|| Endpoint {
            identity: self.outside.identity(addr),
            kind: EndpointKind::Outside,
            id: None,
        })
    }

    /// Adds a known address or replaces what stands behind it.
    pub fn insert(&mut self, addr: Addr, endpoint: Endpoint) {
        if addr.is_v4() {
            self.four.insert(v4(addr), endpoint);
        } else {
            self.six.insert(addr.bits(), endpoint);
        }
    }

    /// Takes a known address out: it is one outside from then on.
    pub fn remove(&mut self, addr: Addr) {
        if addr.is_v4() {
            self.four.remove(v4(addr));
        } else {
            self.six.remove(addr.bits());
        }
    }

    /// Replaces the classes of all other addresses.
    pub fn set_outside(&mut self, outside: PrefixMap) {
        self.outside = outside;
    }

    /// Every known address.
    pub fn known(&self) -> impl Iterator<Item = (Addr, Endpoint)> {
        let four = self.four.iter().map(|(bits, endpoint)| (Addr::from_v4(bits.to_be_bytes()), endpoint));
        four.chain(self.six.iter().map(|(bits, endpoint)| (Addr::from_bits(bits), endpoint)))
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.four.len() + self.six.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.four.heap_bytes() + self.six.heap_bytes() + self.outside.heap_bytes()
    }
}

/// An IPv4 address as a number.
#[inline]
fn v4(addr: Addr) -> u32 {
    addr.bits() as u32
}
