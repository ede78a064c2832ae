//! Addresses that have passed from one pod to another.
//!
//! A flow is known by addresses, and an address outlives its pod: a Job ends, and the next pod gets
//! what it had. What was decided for the one is nothing to the other, so every address that changes
//! hands is noted with the epoch from which on it is somebody else's, and flows of before are forgotten.

use std::collections::HashMap;
use std::sync::Arc;

use podgate_flowtable::{Addr, Epoch, Tuple};

use super::AddrHasher;

/// Since when addresses are whose they are; only those that have changed hands are listed.
#[derive(Clone, Debug, Default)]
pub struct Handovers {
    /// The latest of all; what was decided from then on needs no look into the list.
    newest: Epoch,
    since: Arc<HashMap<Addr, Epoch, AddrHasher>>,
}

impl Handovers {
    /// With these addresses, each with the first epoch of its present owner. `seed` keys the hash.
    pub fn new(since: impl IntoIterator<Item = (Addr, Epoch)>, seed: u64) -> Self {
        let mut map = HashMap::with_hasher(AddrHasher::new(seed));
        map.extend(since);
        Self { newest: map.values().copied().max().unwrap_or_default(), since: Arc::new(map) }
    }

    /// Whether what was decided at `decided` about packets between these addresses was about another
    /// pod that had one of them.
    #[inline]
    pub fn outdate(&self, tuple: &Tuple, decided: Epoch) -> bool {
        decided < self.newest && self.is_listed(tuple, decided)
    }

    fn is_listed(&self, tuple: &Tuple, decided: Epoch) -> bool {
        let is_after = |addr| self.since.get(addr).is_some_and(|since| decided < *since);
        is_after(&tuple.source) || is_after(&tuple.destination)
    }
}

#[cfg(test)]
mod tests {
    use podgate_flowtable::IpProtocol;

    use super::*;

    #[test]
    fn a_decision_is_outdated_by_either_end_and_by_later_handovers_only() {
        let addr = |last| Addr::from_v4([10, 0, 0, last]);
        let between = |source, destination| Tuple {
            source: addr(source),
            destination: addr(destination),
            source_port: 1,
            destination_port: 2,
            protocol: IpProtocol::UDP,
        };
        let handovers = Handovers::new([(addr(1), Epoch(5)), (addr(2), Epoch(9))], 7);
        for (tuple, decided, expected) in [
            (between(1, 3), 4, true),
            (between(3, 1), 4, true),
            (between(1, 3), 5, false),
            (between(1, 2), 8, true),
            (between(1, 2), 9, false),
            (between(3, 4), 0, false),
        ] {
            assert_eq!(handovers.outdate(&tuple, Epoch(decided)), expected, "{tuple:?} at {decided}");
        }
        assert!(!Handovers::default().outdate(&between(1, 2), Epoch(0)));
    }
}
