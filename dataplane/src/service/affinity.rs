//! Clients that keep their backend (`sessionAffinity: ClientIP`).
//!
//! Asked where a connection opens to a Service that wants it, and only there. There is room for a fixed number of
//! clients; beyond it a client gets the backend that its address hashes to, which is the same one for as long as
//! the backends are.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
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
    /// How many there are: the map itself would have to look at all of its parts.
    count: AtomicUsize,
    capacity: usize,
}

impl Affinities {
    /// Room for `capacity` clients. `seed` keys the hash.
    pub fn new(capacity: usize, seed: u64) -> Self {
        // Twice the room, so that no shard has to grow in the middle of a batch.
        let kept = DashMap::with_capacity_and_hasher(capacity * 2, AddrHasher::new(seed));
        Self { kept, count: AtomicUsize::new(0), capacity }
    }

    /// The backend that the client keeps, if it has opened a connection within `timeout`.
    pub fn find(&self, key: &AffinityKey, timeout: Duration, now: Time) -> Option<Target> {
        let kept = self.kept.get(key)?;
        (now.since(kept.since) <= timeout).then_some(kept.target)
    }

    /// The client has opened a connection to `target`, and keeps it from now on, if there is room.
    pub fn keep(&self, key: AffinityKey, timeout: Duration, target: Target, now: Time) {
        match self.kept.entry(key) {
            Entry::Occupied(mut occupied) => {
                occupied.insert(Kept { target, since: now, timeout });
            }
            Entry::Vacant(vacant) => {
                if self.count.load(Relaxed) < self.capacity {
                    self.count.fetch_add(1, Relaxed);
                    vacant.insert(Kept { target, since: now, timeout });
                }
            }
        }
    }

    /// Forgets clients whose time is over. For a thread that decides no frames.
    pub fn expire(&self, now: Time) {
        self.kept.retain(|_, kept| {
            let stays = now.since(kept.since) <= kept.timeout;
            self.count.fetch_sub(usize::from(!stays), Relaxed);
            stays
        });
    }

    /// Clients that keep a backend.
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
    fn a_client_keeps_its_backend_until_it_is_silent() {
        let affinities = Affinities::new(8, 7);
        let minute = Duration::from_mins(1);
        let find = |at| affinities.find(&client(1), minute, secs(at));
        assert_eq!(find(0), None);
        affinities.keep(client(1), minute, target(1), secs(0));
        assert_eq!((find(50), find(60), find(61)), (Some(target(1)), Some(target(1)), None));
        affinities.keep(client(1), minute, target(2), secs(50));
        assert_eq!((find(110), affinities.len()), (Some(target(2)), 1));
        affinities.keep(client(2), minute, target(6), secs(60));
        affinities.expire(secs(111));
        assert_eq!((affinities.len(), affinities.find(&client(2), minute, secs(111))), (1, Some(target(6))));
        affinities.expire(secs(121));
        assert!(affinities.is_empty());
    }

    #[test]
    fn beyond_its_room_nobody_is_remembered_and_nobody_forgotten() {
        let affinities = Affinities::new(1, 7);
        let minute = Duration::from_mins(1);
        for number in [1, 2, 1] {
            affinities.keep(client(number), minute, target(number), secs(1));
        }
        let find = |number| affinities.find(&client(number), minute, secs(1));
        assert_eq!((find(1), find(2), affinities.len()), (Some(target(1)), None, 1));
    }
}
