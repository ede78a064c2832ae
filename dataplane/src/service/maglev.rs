//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! 3.4): every backend has an order of all slots of its own, and they take turns claiming the next free one.
//!
//! The shares are equal to one slot, and a lookup is one read. Made anew, a table of another backend less would
//! have a few other slots changed too (2 to 4 of 100, with 100 slots for each of ten backends). So a table follows
//! the one before: who stays keeps its slots, up to its new share, and turns are taken for the rest.

use podgate_flowtable::{Addr, Target};

/// Primes to choose a size from. Few: with another size every slot changes.
const SIZES: [u32; 5] = [1021, 4093, 16_381, 65_521, 262_139];

/// Slots for each backend, at least: shares differ by one of so many.
const SLOTS_PER_BACKEND: usize = 100;

/// Nobody's, while a table is made.
const FREE: u16 = u16::MAX;

/// Which backend each slot belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Maglev {
    backends: Box<[Target]>,
    /// Positions in `backends`; one where there is one, none where there are none.
    slots: Box<[u16]>,
    /// Slots that several backends would have.
    size: usize,
}

impl Maglev {
    /// Over these backends, in any order; those beyond 65,535 get nothing. The same ones make the same
    /// table, on every node.
    pub fn new(backends: Vec<Target>) -> Self {
        Self::default().followed_by(backends)
    }

    /// The table that takes this one's place, over these backends.
    pub fn followed_by(&self, mut backends: Vec<Target>) -> Self {
        backends.sort_unstable_by_key(order);
        backends.dedup();
        backends.truncate(usize::from(FREE));
        let size = size(backends.len()).max(self.size);
        let slots: Box<[u16]> = match backends.len() {
            0 => Box::default(),
            1 => Box::new([0]),
            _ => fill(&backends, self.keeping(&backends, size)),
        };
        Self { backends: backends.into(), slots, size }
    }

    /// The backend for a connection with this hash; `None` where there is none.
    #[inline]
    pub fn choose(&self, hash: u64) -> Option<Target> {
        // The high bits of a product: as even as a remainder, without a division.
        let slot = (u128::from(hash) * self.slots.len() as u128) >> 64;
        let backend = *self.slots.get(slot as usize)?;
        self.backends.get(usize::from(backend)).copied()
    }

    /// The backends, sorted.
    pub fn backends(&self) -> &[Target] {
        &self.backends
    }

    /// Whether `target` is one of them.
    pub fn has(&self, target: Target) -> bool {
        position(&self.backends, target).is_some()
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.backends) + size_of_val(&*self.slots)
    }

    /// The slots, as far as these backends have them already.
    fn keeping(&self, backends: &[Target], size: usize) -> Vec<u16> {
        if size != self.size || self.slots.is_empty() {
            return vec![FREE; size];
        }
        let place = |target: &Target| position(backends, *target).map_or(FREE, |at| at as u16);
        let places: Vec<u16> = self.backends.iter().map(place).collect();
        match &*self.slots {
            [only] => vec![places[usize::from(*only)]; size],
            slots => slots.iter().map(|backend| places[usize::from(*backend)]).collect(),
        }
    }
}

fn order(target: &Target) -> (Addr, u16) {
    (target.addr, target.port)
}

/// Where `target` is among sorted ones.
pub(super) fn position(targets: &[Target], target: Target) -> Option<usize> {
    targets.binary_search_by_key(&order(&target), order).ok()
}

fn size(backends: usize) -> usize {
    let wanted = backends * SLOTS_PER_BACKEND;
    SIZES.into_iter().map(|size| size as usize).find(|size| *size >= wanted).unwrap_or(SIZES[4] as usize)
}

/// Takes from whoever has more than its share, and has the others take turns for what is free.
fn fill(backends: &[Target], mut slots: Vec<u16>) -> Box<[u16]> {
    let size = slots.len();
    let (share, mut larger) = (size / backends.len(), size % backends.len());
    let mut had = vec![0; backends.len()];
    slots.iter().filter(|slot| **slot != FREE).for_each(|slot| had[usize::from(*slot)] += 1);
    // The remainder goes to those who have it already.
    let shares: Vec<usize> = had
        .iter()
        .map(|had| {
            let is_larger = larger > 0 && *had > share;
            larger -= usize::from(is_larger);
            share + usize::from(is_larger)
        })
        .collect();
    let mut has = vec![0; backends.len()];
    let mut left = 0;
    for slot in &mut slots {
        let owner = usize::from(*slot);
        if *slot != FREE && has[owner] < shares[owner] {
            has[owner] += 1;
        } else {
            *slot = FREE;
            left += 1;
        }
    }
    // Next slot of each backend's own order, and the step to the one after.
    let mut orders: Vec<(usize, usize)> = backends
        .iter()
        .map(|target| {
            let hash = mix(target);
            (hash as u32 as usize % size, (hash >> 32) as usize % (size - 1) + 1)
        })
        .collect();
    // First up to the share of all, then one more each until none is left.
    for limit in [share, share + 1] {
        let mut claimed = true;
        while left > 0 && claimed {
            claimed = false;
            for (number, (next, step)) in orders.iter_mut().enumerate() {
                if left == 0 || has[number] >= limit {
                    continue;
                }
                while slots[*next] != FREE {
                    *next += *step;
                    *next -= if *next >= size { size } else { 0 };
                }
                slots[*next] = number as u16;
                has[number] += 1;
                left -= 1;
                claimed = true;
            }
        }
    }
    slots.into()
}

/// Spread over 64 bits, the same everywhere (the finalizer of SplitMix64, for each word).
fn mix(target: &Target) -> u64 {
    let bits = target.addr.bits();
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for word in [bits as u64, (bits >> 64) as u64, u64::from(target.port)] {
        hash ^= word;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u16) -> Vec<Target> {
        let backend = |number: u16| {
            let [high, low] = number.to_be_bytes();
            Target { addr: Addr::from_v4([10, 0, high, low]), port: 8080 }
        };
        (0..count).map(backend).collect()
    }

    /// Hashes evenly spread, as those of connections are.
    fn hashes() -> impl Iterator<Item = u64> {
        (0..20_000_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[track_caller]
    fn assert_equal_shares(table: &Maglev) {
        let mut shares = vec![0_u32; table.backends.len()];
        table.slots.iter().for_each(|backend| shares[usize::from(*backend)] += 1);
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= 1, "{least} to {most} slots of {}", table.slots.len());
    }

    #[test]
    fn shares_are_equal_whatever_came_before() {
        let mut table = Maglev::default();
        for count in [2, 3, 10, 11, 12, 64, 500, 499, 10, 2, 1, 3, 0, 7] {
            assert_equal_shares(&Maglev::new(backends(count.max(1))));
            table = table.followed_by(backends(count));
            assert_eq!(table.backends, backends(count).into());
            if count > 0 {
                assert_equal_shares(&table);
            }
        }
    }

    #[test]
    fn a_backend_that_goes_takes_no_others_along() {
        for count in [2, 3, 5, 10, 11, 50, 200] {
            let all = backends(count);
            let before = Maglev::new(all.clone());
            for gone in [0, usize::from(count) / 2, usize::from(count) - 1] {
                let after = before.followed_by(all.iter().copied().filter(|one| *one != all[gone]).collect());
                for hash in hashes() {
                    let had = before.choose(hash);
                    assert!(had == Some(all[gone]) || after.choose(hash) == had, "{count}: {had:?}");
                }
            }
        }
    }

    #[test]
    fn a_backend_that_comes_takes_its_share_and_no_more() {
        for count in [1, 2, 5, 9, 50] {
            let before = Maglev::new(backends(count));
            let after = before.followed_by(backends(count + 1));
            let new = backends(count + 1).pop();
            let (mut moved, mut all) = (0, 0);
            for hash in hashes() {
                let (had, has) = (before.choose(hash), after.choose(hash));
                assert!(had == has || has == new, "{count}: from {had:?} to {has:?}");
                moved += u32::from(had != has);
                all += 1;
            }
            let share = all / u32::from(count + 1);
            assert!(moved > share * 9 / 10 && moved < share * 11 / 10, "{count}: {moved} of {all}");
        }
    }

    #[test]
    fn the_order_and_repetitions_do_not_matter() {
        let mut other = backends(10);
        other.reverse();
        other.extend(backends(3));
        assert_eq!(Maglev::new(other), Maglev::new(backends(10)));
    }

    #[test]
    fn few_backends() {
        assert_eq!(Maglev::new(Vec::new()).choose(7), None);
        assert_eq!(Maglev::default().choose(u64::MAX), None);
        for hash in [0, 1, u64::MAX] {
            assert_eq!(Maglev::new(backends(1)).choose(hash), Some(backends(1)[0]));
            assert!(Maglev::new(backends(2)).choose(hash).is_some());
        }
    }
}
