//! Who claims which address. One that more than one endpoint claims is nobody's: which of them has
//! it is not known, and to guess would give one the other's rights.

use std::collections::{BTreeMap, HashMap};

use podgate_flowtable::Addr;

/// Claims of all endpoints, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Claims {
    first: HashMap<Addr, u32>,
    /// All claimants of what more than one claims; one of them is in `first`, too.
    contested: BTreeMap<Addr, Vec<u32>>,
}

impl Claims {
    /// `who` claims `address`, once. Returns the one who loses it thereby.
    pub(super) fn add(&mut self, address: Addr, who: u32) -> Option<u32> {
        if let Some(claimants) = self.contested.get_mut(&address) {
            claimants.push(who);
            return None;
        }
        let first = *self.first.entry(address).or_insert(who);
        if first == who {
            return None;
        }
        self.contested.insert(address, vec![first, who]);
        Some(first)
    }

    /// `who` claims `address` no longer. Returns the one who gets it thereby.
    pub(super) fn remove(&mut self, address: Addr, who: u32) -> Option<u32> {
        let Some(claimants) = self.contested.get_mut(&address) else {
            self.first.remove(&address);
            return None;
        };
        claimants.retain(|claimant| *claimant != who);
        let [only] = claimants[..] else { return None };
        self.contested.remove(&address);
        self.first.insert(address, only);
        Some(only)
    }

    /// Whether more than one claims it.
    pub(super) fn is_contested(&self, address: Addr) -> bool {
        self.contested.contains_key(&address)
    }

    /// What more than one claims, and who does.
    pub(super) fn contested(&self) -> impl Iterator<Item = (Addr, &[u32])> {
        self.contested.iter().map(|(address, claimants)| (*address, claimants.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_lost_and_regained() {
        let (mut claims, address) = (Claims::default(), Addr::from_v4([10, 0, 0, 1]));
        assert_eq!(claims.add(address, 1), None);
        assert_eq!(claims.add(address, 2), Some(1));
        assert_eq!(claims.add(address, 3), None);
        assert!(claims.is_contested(address));
        assert_eq!(claims.remove(address, 1), None);
        assert_eq!(claims.contested().collect::<Vec<_>>(), [(address, &[2, 3][..])]);
        assert_eq!(claims.remove(address, 2), Some(3));
        assert!(!claims.is_contested(address));
        assert_eq!(claims.remove(address, 3), None);
        assert_eq!(claims.add(address, 4), None);
    }
}
