//! Addresses of pods and nodes to identities.

use std::collections::HashMap;

use podgate_flowtable::Addr;

use super::PrefixMap;
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
#[derive(Clone, Debug, Default)]
pub struct EndpointMap {
    known: HashMap<Addr, Endpoint, AddrHasher>,
    outside: PrefixMap,
}

impl EndpointMap {
    /// From the known addresses and the classes of all others. `seed` keys the hash.
    pub fn new(known: impl IntoIterator<Item = (Addr, Endpoint)>, outside: PrefixMap, seed: u64) -> Self {
        let mut map = HashMap::with_hasher(AddrHasher::new(seed));
        map.extend(known);
        Self { known: map, outside }
    }

    /// What stands behind `addr`.
    #[inline]
    pub fn resolve(&self, addr: Addr) -> Endpoint {
        match self.known.get(&addr) {
            Some(endpoint) => *endpoint,
            None => Endpoint { identity: self.outside.identity(addr), kind: EndpointKind::Outside, id: None },
        }
    }

    /// Every known address.
    pub fn known(&self) -> impl Iterator<Item = (Addr, &Endpoint)> {
        self.known.iter().map(|(addr, endpoint)| (*addr, endpoint))
    }

    /// Bytes held on the heap, about.
    pub fn heap_bytes(&self) -> usize {
        self.known.capacity() * (size_of::<Addr>() + size_of::<Endpoint>() + 1) + self.outside.heap_bytes()
    }
}

/// A multiply-fold hash of one address; keyed, so that a client cannot choose what collides.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddrHasher {
    pub(super) seed: u64,
}

impl AddrHasher {
    /// Keyed by `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl std::hash::BuildHasher for AddrHasher {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold(self.seed)
    }
}

/// See [`AddrHasher`].
#[derive(Debug)]
pub struct Fold(u64);

impl Fold {
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl std::hash::Hasher for Fold {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    #[inline]
    fn write_u16(&mut self, word: u16) {
        self.mix(word.into());
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    #[inline]
    fn write_u128(&mut self, bits: u128) {
        self.mix(bits as u64);
        self.mix((bits >> 64) as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
