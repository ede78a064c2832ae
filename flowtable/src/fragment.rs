//! Later fragments carry no ports: they follow what was decided for the first one.
//!
//! A first fragment that the policy allowed is recorded; a later one is allowed only after it, and
//! only if it overlaps nothing that was allowed before. An overlap refuses the whole datagram
//! (RFC 5722, section 4; RFC 8200, 4.5), for IPv4 too, where nobody sends them in good faith
//! either (RFC 1858, RFC 3128). An exact repetition is no overlap: a fragment may pass the table twice.
//!
//! An owner with as many datagrams under way as its share can begin another one only in place of one of
//! its own, and in a full bucket too its own make way first: whoever sends first fragments without end
//! loses its own datagrams and nobody else's.

mod owners;
mod room;
mod runs;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::{ConfigError, MAX_CAPACITY};
use crate::hash::KeyedHash;
use crate::key::Key;
use crate::stats::bump;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::{Addr, HashSecret, IpProtocol, Time, Tuple};

use owners::Owners;
use room::oldest_under_way;
use runs::{Fit, Runs};

/// How long a datagram's fragments may take (`net/ipv4/ip_fragment.c`, `IP_FRAG_TIME`).
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest datagram; a fragment that reaches beyond it is no part of one (RFC 791, 3.1).
const MAX_END_BYTES: u32 = 65_535;

const WAYS: usize = 8;

type Bucket<P> = [Option<Datagram<P>>; WAYS];

/// What the fragments of one datagram have in common (RFC 791, 3.2; RFC 8200, 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FragmentKey {
    /// Where it was seen, as the dataplane numbers it: what passes two ports is two datagrams. Quotas
    /// count by it.
    pub owner: u16,
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// The protocol; for IPv6 the next header of the first fragment may differ from that of the
    /// others, so give them all the same.
    pub protocol: IpProtocol,
    /// The identification field: 16 bits in IPv4, 32 in IPv6.
    pub identification: u32,
}

/// What became of a first fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// Recorded: its followers will be allowed.
    Recorded,
    /// It overlaps the datagram that is there; the whole of it is refused from now on.
    Overlap,
    /// Not recorded: its owner has as many datagrams under way as its share, and none that could make way.
    OverQuota,
}

/// What a later fragment may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follow<P = u64> {
    /// Go where the first one went: its payload.
    Allowed(P),
    /// No first fragment was allowed, or it is too long ago, or there are more gaps between the
    /// fragments than are remembered.
    Unknown,
    /// It overlaps, or another one did, or it reaches beyond the datagram's end.
    Overlap,
}

/// What became of the datagrams, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FragmentStats {
    /// Datagrams whose first fragment was recorded.
    pub recorded: u64,
    /// Datagrams of which every fragment was seen.
    pub completed: u64,
    /// Datagrams refused for an overlap.
    pub overlapping: u64,
    /// Datagrams forgotten before their time to make room.
    pub evicted: u64,
    /// First fragments not recorded because their owner had its share under way.
    pub over_quota: u64,
}

/// Remembers the datagrams whose fragments are under way, and for each what its later fragments are to be
/// told, a `P`.
///
/// Fragments are rare and cost their receiver more than this table, so a bucket is read and
/// written under its lock.
pub struct FragmentTable<P = u64> {
    buckets: Box<[Mutex<Bucket<P>>]>,
    hash: KeyedHash,
    owners: Owners,
    /// Where [`FragmentTable::expire`] goes on.
    next: AtomicUsize,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    recorded: AtomicU64,
    completed: AtomicU64,
    overlapping: AtomicU64,
    evicted: AtomicU64,
    over_quota: AtomicU64,
}

#[derive(Clone, Copy)]
struct Datagram<P> {
    key: FragmentKey,
    payload: P,
    since: Time,
    progress: Progress,
    runs: Runs,
    /// Where it ends, once the last fragment was seen.
    end: Option<u32>,
}

/// In the order in which datagrams are given up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Complete,
    Open,
    Refused,
}

/// Whether more fragments follow this one (the MF flag, RFC 791, 3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Follow,
    NoneFollow,
}

impl<P: Copy> FragmentTable<P> {
    /// A table of at least `capacity` datagrams, which will not allocate again. An owner's share is a
    /// sixteenth of it, but no less than 8.
    pub fn new(capacity: usize, secret: HashSecret) -> Result<Self, ConfigError> {
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return Err(ConfigError::Capacity { capacity });
        }
        let bucket_count = capacity.div_ceil(WAYS);
        Ok(Self {
            buckets: (0..bucket_count).map(|_| Mutex::new([None; WAYS])).collect(),
            hash: KeyedHash::new(secret),
            owners: Owners::new(bucket_count * WAYS),
            next: AtomicUsize::default(),
            counters: Counters::default(),
        })
    }

    /// Records a first fragment that was allowed: it covers the bytes up to `end_offset_bytes`, and
    /// `payload` is what its followers will be told. One that is repeated brings its payload anew.
    /// In a full bucket a complete datagram makes way, or else the owner's oldest, or else the oldest.
    pub fn first(&self, key: FragmentKey, end_offset_bytes: u32, payload: P, now: Time) -> First {
        self.with_bucket(&key, |datagrams| {
            self.forget_expired(datagrams, now);
            if let Some(datagram) = live(datagrams, &key, now)
                && datagram.progress != Progress::Complete
            {
                // A complete one instead makes way: its sender uses the number again.
                return match self.cover(datagram, 0, end_offset_bytes, More::Follow) {
                    Follow::Allowed(_) => {
                        datagram.payload = payload;
                        First::Recorded
                    }
                    Follow::Unknown | Follow::Overlap => First::Overlap,
                };
            }
            if self.owners.charge(key.owner).is_err() {
                let Some(own) = oldest_under_way(datagrams, key.owner) else {
                    bump(&self.counters.over_quota);
                    return First::OverQuota;
                };
                // One for the other.
                bump(&self.counters.evicted);
                *own = None;
            }
            let mut datagram = Datagram {
                key,
                payload,
                since: now,
                progress: Progress::Open,
                runs: Runs::default(),
                end: None,
            };
            let slot = self.room(datagrams, &key);
            bump(&self.counters.recorded);
            let covered = self.cover(&mut datagram, 0, end_offset_bytes, More::Follow);
            *slot = Some(datagram);
            if matches!(covered, Follow::Overlap) { First::Overlap } else { First::Recorded }
        })
    }

    /// Asks about a later fragment that is not the last: bytes `start..end` of the datagram.
    pub fn follow(&self, key: FragmentKey, start: u32, end: u32, now: Time) -> Follow<P> {
        self.follow_with(key, start, end, More::Follow, now)
    }

    /// Asks about the last fragment, the one without the more-fragments flag: bytes `start..end`.
    ///
    /// Telling the last one apart lets the table see that a datagram is complete, so that a sender
    /// may use its number again at once: at 10,000 datagrams a second, 16 bits last 7 seconds.
    pub fn follow_last(&self, key: FragmentKey, start: u32, end: u32, now: Time) -> Follow<P> {
        self.follow_with(key, start, end, More::NoneFollow, now)
    }

    /// Forgets what has expired in the next `max_buckets` buckets, of 8 datagrams each. Without this it
    /// would hold its owner's share until its bucket is asked for room, perhaps much later.
    pub fn expire(&self, now: Time, max_buckets: usize) {
        let first = self.next.fetch_add(max_buckets, Ordering::Relaxed);
        for bucket in 0..max_buckets.min(self.buckets.len()) {
            let bucket = &self.buckets[first.wrapping_add(bucket) % self.buckets.len()];
            self.forget_expired(&mut bucket.lock().unwrap_or_else(PoisonError::into_inner), now);
        }
    }

    /// What became of the datagrams so far.
    pub fn stats(&self) -> FragmentStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FragmentStats {
            recorded: load(&self.counters.recorded),
            completed: load(&self.counters.completed),
            overlapping: load(&self.counters.overlapping),
            evicted: load(&self.counters.evicted),
            over_quota: load(&self.counters.over_quota),
        }
    }

    fn follow_with(&self, key: FragmentKey, start: u32, end: u32, more: More, now: Time) -> Follow<P> {
        self.with_bucket(&key, |datagrams| match live(datagrams, &key, now) {
            Some(datagram) => self.cover(datagram, start, end, more),
            None => Follow::Unknown,
        })
    }

    /// Adds a fragment to its datagram.
    fn cover(&self, datagram: &mut Datagram<P>, start: u32, end: u32, more: More) -> Follow<P> {
        if datagram.progress == Progress::Refused {
            return Follow::Overlap;
        }
        let ends_with_others = match (more, datagram.end) {
            (More::NoneFollow, None) => datagram.runs.end() <= end,
            (More::NoneFollow, Some(known)) => known == end,
            (More::Follow, known) => end <= known.unwrap_or(MAX_END_BYTES),
        };
        let fit = if ends_with_others && end <= MAX_END_BYTES {
            datagram.runs.add(start, end)
        } else {
            Fit::Overlap
        };
        match fit {
            Fit::Scattered => return Follow::Unknown,
            Fit::Overlap => {
                if !datagram.is_under_way() {
                    self.owners.readmit(datagram.key.owner);
                }
                datagram.progress = Progress::Refused;
                bump(&self.counters.overlapping);
                return Follow::Overlap;
            }
            Fit::New | Fit::Again => {}
        }
        if more == More::NoneFollow {
            datagram.end = Some(end);
        }
        if datagram.progress == Progress::Open && datagram.end == Some(datagram.runs.covered_bytes()) {
            datagram.progress = Progress::Complete;
            self.owners.release(datagram.key.owner);
            bump(&self.counters.completed);
        }
        Follow::Allowed(datagram.payload)
    }

    fn with_bucket<T>(&self, key: &FragmentKey, act: impl FnOnce(&mut Bucket<P>) -> T) -> T {
        // Bucket lines need no order of the two ends; the identification takes the ports' place.
        let (flow, _) = Key::of(&Tuple {
            source: key.source,
            destination: key.destination,
            source_port: 0,
            destination_port: 0,
            protocol: key.protocol,
        });
        let number = u64::from(key.identification) | u64::from(key.owner) << Key::ENDS_BITS;
        let hash = self.hash.of(&Key { ends: flow.ends | number, ..flow });
        let bucket = (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize;
        // A panic cannot leave a datagram half-written: each is assigned whole.
        act(&mut self.buckets[bucket].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P> Datagram<P> {
    fn has_expired(&self, now: Time) -> bool {
        now.since(self.since) > TIMEOUT
    }

    /// Whether more of it may come, which is what counts for its owner.
    fn is_under_way(&self) -> bool {
        self.progress != Progress::Complete
    }
}

fn live<'a, P>(datagrams: &'a mut Bucket<P>, key: &FragmentKey, now: Time) -> Option<&'a mut Datagram<P>> {
    datagrams.iter_mut().flatten().find(|datagram| datagram.key == *key && !datagram.has_expired(now))
}

#[cfg(test)]
mod tests;
