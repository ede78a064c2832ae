//! Addresses of one family to what stands behind them.
//!
//! Open addressing with linear probing and nothing beside the slots: an IPv4 address is found in one
//! cache line, usually, and a copy of the table is a copy of its bytes.

use super::{Endpoint, EndpointId, EndpointKind};
use crate::tag::PortId;

/// An address as a number.
pub(super) trait Key: Copy + Eq + Default {
    /// Every bit of the hash depends on every bit of the key and of the seed.
    fn hash(self, seed: u64) -> u64;
}

impl Key for u32 {
    #[inline]
    fn hash(self, seed: u64) -> u64 {
        fold(seed ^ u64::from(self))
    }
}

impl Key for u128 {
    #[inline]
    fn hash(self, seed: u64) -> u64 {
        fold(fold(seed ^ self as u64) ^ (self >> 64) as u64)
    }
}

/// A multiplication by an odd constant, both halves of the product.
#[inline]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
    (product as u64) ^ ((product >> 64) as u64)
}

/// An address and what stands behind it.
#[derive(Clone, Copy, Debug, Default)]
struct Slot<K> {
    key: K,
    identity: u32,
    /// [`NO_ID`] without a name.
    id: u32,
    /// What it is; [`FREE`] if the slot is free.
    place: u32,
}

const _: () = assert!(size_of::<Slot<u32>>() == 16, "four IPv4 slots to a cache line");

const NO_ID: u32 = u32::MAX;
const FREE: u32 = 0;
/// Of `place`, what is not the port.
const KIND_BITS: u32 = 3;

/// The table; a power of two of slots, at most two thirds of them in use.
#[derive(Clone, Debug)]
pub(super) struct Addresses<K> {
    slots: Vec<Slot<K>>,
    used: usize,
    seed: u64,
}

impl<K: Key> Addresses<K> {
    /// An empty one; `seed` keys the hash, so that nobody can choose what collides.
    pub(super) const fn new(seed: u64) -> Self {
        Self { slots: Vec::new(), used: 0, seed }
    }

    #[inline]
    pub(super) fn get(&self, key: K) -> Option<Endpoint> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = self.home(key);
        // Some slot is free, unless there is none at all.
        while let Some(slot) = self.slots.get(at).filter(|slot| slot.place != FREE) {
            if slot.key == key {
                return Some(slot.endpoint());
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Adds an address or replaces what stands behind it.
    pub(super) fn insert(&mut self, key: K, endpoint: Endpoint) {
        if (self.used + 1) * 3 > self.slots.len() * 2 {
            self.grow();
        }
        let at = self.find(key);
        self.used += usize::from(self.slots[at].place == FREE);
        self.slots[at] = Slot::new(key, endpoint);
    }

    /// Takes an address out, if it is in it. Those that had to go past it move up.
    pub(super) fn remove(&mut self, key: K) {
        if self.slots.is_empty() {
            return;
        }
        let mask = self.slots.len() - 1;
        let mut hole = self.find(key);
        if self.slots[hole].place == FREE {
            return;
        }
        self.used -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot.place == FREE {
                break;
            }
            // It may go to the hole if that lies on its way from where it would like to be.
            let (way, to_hole) = (at.wrapping_sub(self.home(slot.key)) & mask, at.wrapping_sub(hole) & mask);
            if way >= to_hole {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = Slot::default();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, Endpoint)> {
        self.slots.iter().filter(|slot| slot.place != FREE).map(|slot| (slot.key, slot.endpoint()))
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<K>>()
    }

    /// Where `key` would like to be.
    #[inline]
    fn home(&self, key: K) -> usize {
        // The upper bits of the product are mixed best.
        (key.hash(self.seed) >> 20) as usize & self.slots.len().wrapping_sub(1)
    }

    /// Where `key` is, or is to be. There are slots.
    fn find(&self, key: K) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        while self.slots[at].place != FREE && self.slots[at].key != key {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let room = (self.slots.len() * 2).max(8);
        let slots = std::mem::replace(&mut self.slots, vec![Slot::default(); room]);
        for slot in slots.into_iter().filter(|slot| slot.place != FREE) {
            let at = self.find(slot.key);
            self.slots[at] = slot;
        }
    }
}

impl<K> Slot<K> {
    fn new(key: K, endpoint: Endpoint) -> Self {
        let (kind, port) = match endpoint.kind {
            EndpointKind::Outside => (1, None),
            EndpointKind::LocalPod { port } => (2, port),
            EndpointKind::RemotePod => (3, None),
            EndpointKind::OwnNode => (4, None),
            EndpointKind::OtherNode => (5, None),
        };
        let place = kind | u32::from(port.map_or(0, PortId::number)) << KIND_BITS;
        Self { key, identity: endpoint.identity, id: endpoint.id.map_or(NO_ID, |id| id.0), place }
    }

    #[inline]
    fn endpoint(&self) -> Endpoint {
        let kind = match self.place & ((1 << KIND_BITS) - 1) {
            2 => EndpointKind::LocalPod { port: PortId::new((self.place >> KIND_BITS) as u16) },
            3 => EndpointKind::RemotePod,
            4 => EndpointKind::OwnNode,
            5 => EndpointKind::OtherNode,
            _ => EndpointKind::Outside,
        };
        let id = (self.id != NO_ID).then_some(EndpointId(self.id));
        Endpoint { identity: self.identity, kind, id }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn endpoint(number: u32) -> Endpoint {
        let kind = match number % 6 {
            0 => EndpointKind::LocalPod { port: None },
            1 => EndpointKind::LocalPod { port: PortId::new(2047) },
            2 => EndpointKind::RemotePod,
            3 => EndpointKind::OwnNode,
            4 => EndpointKind::OtherNode,
            _ => EndpointKind::Outside,
        };
        Endpoint { identity: number, kind, id: (!number.is_multiple_of(5)).then_some(EndpointId(number)) }
    }

    /// Puts addresses in and takes them out in an order that looks random, beside a map.
    fn churn<K: Key + Ord + std::fmt::Debug>(key: impl Fn(u32) -> K) {
        let mut table = Addresses::new(7);
        let mut map = BTreeMap::new();
        assert_eq!(table.get(key(0)), None);
        table.remove(key(0));
        let mut state = 1_u32;
        for step in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let one = key((state >> 16) % 500);
            if state >> 8 & 1 == step / 5000 % 2 {
                table.insert(one, endpoint(step));
                map.insert(one, endpoint(step));
            } else {
                table.remove(one);
                map.remove(&one);
            }
            if step % 500 == 0 {
                assert!((0..500).all(|number| table.get(key(number)) == map.get(&key(number)).copied()));
            }
        }
        let mut all: Vec<_> = table.iter().collect();
        all.sort_unstable_by_key(|(one, _)| *one);
        assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        assert_eq!(table.len(), all.len());
    }

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        churn(|number| number);
        churn(|number| 0x0a00_0000_u32 + (number << 8));
        churn(|number| u128::from(number) << 64 | 0xfd00);
    }
}
