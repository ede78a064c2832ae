//! Clients that keep their backend (`sessionAffinity: ClientIP`).
//!
//! Asked where a connection opens to a Service that wants it, and only there. There is room for a fixed number of
//! clients; beyond it a client gets the backend that its address hashes to, which is the same one for as long as
//! the backends are.

use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use podgate_flowtable::{Addr, Target, Time};

use super::ServiceKey;
use crate::policy::AddrHasher;

/// A client of a Service's port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AffinityKey {
    /// The client's address.
    pub client: Addr,
    /// What it connects to.
    pub service: ServiceKey,
}

#[derive(Clone, Copy)]
struct Kept {
    target: Target,
    /// When the client last opened a connection.
    since: Time,
    timeout: Duration,
}

/// Which backends clients have.
pub struct Affinities {
    kept: DashMap<AffinityKey, Kept, AddrHasher>,
    capacity: usize,
}

impl Affinities {
    /// Room for `capacity` clients. `seed` keys the hash.
    pub fn new(capacity: usize, seed: u64) -> Self {
        // Twice the room, so that no shard has to grow in the middle of a batch.
        let kept = DashMap::with_capacity_and_hasher(capacity * 2, AddrHasher::new(seed));
        Self { kept, capacity }
    }

    /// The backend that the client keeps, if it may still have it; else `chosen`, from now on. A connection that
    /// opens renews it.
    pub fn keep(
        &self,
        key: AffinityKey,
        timeout: Duration,
        may_have: impl Fn(Target) -> bool,
        chosen: Target,
        now: Time,
    ) -> Target {
        let is_full = self.kept.len() >= self.capacity;
        match self.kept.entry(key) {
            Entry::Occupied(mut occupied) => {
                let kept = occupied.get_mut();
                if now.since(kept.since) > kept.timeout || !may_have(kept.target) {
                    kept.target = chosen;
                }
                (kept.since, kept.timeout) = (now, timeout);
                kept.target
            }
            Entry::Vacant(vacant) => {
                if !is_full {
                    vacant.insert(Kept { target: chosen, since: now, timeout });
                }
                chosen
            }
        }
    }

    /// Forgets clients whose time is over. For a thread that decides no frames.
    pub fn expire(&self, now: Time) {
        self.kept.retain(|_, kept| now.since(kept.since) <= kept.timeout);
    }

    /// Clients that keep a backend.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

impl std::fmt::Debug for Affinities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Affinities").field("clients", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use podgate_flowtable::IpProtocol;

    use super::*;

    fn client(number: u8) -> AffinityKey {
        let addr = Addr::from_v4([10, 96, 0, 1]);
        let service = ServiceKey { addr, port: 80, protocol: IpProtocol::TCP };
        AffinityKey { client: Addr::from_v4([10, 0, 0, number]), service }
    }

    fn target(number: u8) -> Target {
        Target { addr: Addr::from_v4([10, 0, 1, number]), port: 80 }
    }

    fn secs(secs: u64) -> Time {
        Time::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn a_client_keeps_its_backend_until_it_is_silent_or_the_backend_gone() {
        let affinities = Affinities::new(8, 7);
        let minute = Duration::from_mins(1);
        let ask =
            |chosen, at| affinities.keep(client(1), minute, |one| one != target(9), target(chosen), secs(at));
        assert_eq!(ask(1, 0), target(1));
        assert_eq!(ask(2, 50), target(1), "kept");
        assert_eq!(ask(3, 110), target(1), "every connection renews it");
        assert_eq!(ask(4, 171), target(4), "61 s of silence");
        assert_eq!(ask(9, 240), target(9));
        assert_eq!(ask(5, 241), target(5), "its backend is gone");
        assert_eq!(affinities.keep(client(2), minute, |_| true, target(6), secs(241)), target(6));
        affinities.expire(secs(300));
        assert_eq!(affinities.len(), 2);
        affinities.expire(secs(302));
        assert!(affinities.is_empty());
    }

    #[test]
    fn beyond_its_room_nobody_is_remembered_and_nobody_forgotten() {
        let affinities = Affinities::new(1, 7);
        let ask = |number, chosen| {
            affinities.keep(client(number), Duration::from_mins(1), |_| true, target(chosen), secs(1))
        };
        assert_eq!(
            (ask(1, 1), ask(2, 2), ask(2, 3), ask(1, 4)),
            (target(1), target(2), target(3), target(1))
        );
        assert_eq!(affinities.len(), 1);
    }
}
