//! The flow table: fixed capacity, shared by all workers, both directions in one entry.
//!
//! ```text
//! buckets   one cache line each: 28 tags and a lock      2.8 bytes a flow, mostly in L2 or L3
//! entries   128 bytes each, 28 to a bucket, inline       a miss to memory for a cold flow
//! ```
//!
//! A flow may be in either of two buckets, which its keyed hash gives, and never moves. It goes to the
//! first, where lookups begin, until that one is nearly full, and then to the emptier of the two (Azar
//! et al., "Balanced Allocations", 1999). So a lookup reads one line of tags mostly and two at most,
//! takes no lock, and writes only the flow it found. Opening takes both buckets' locks, in the order of
//! their numbers, and ending the one of its slot, both for a bounded time.

use crossbeam::utils::CachePadded;

use crate::bucket::{Bucket, Tag, WAYS};
use crate::config::{Config, ConfigError, MAX_CAPACITY};
use crate::entry::{Clock, Entry, Generation, Locked};
use crate::hash::KeyedHash;
use crate::key::{End, Key};
use crate::quota::Quotas;
use crate::stats::{Counters, bump};
use crate::sync::{AtomicUsize, Ordering};
use crate::timeout::{TimeoutTicks, tick};
use crate::track::{self, Pickup, Step};
use crate::{
    Assurance, Decision, Direction, FlowId, FlowView, Packet, Quota, TableStats, Time, Track, Tuple, Usage,
};

/// Flows per bucket at capacity, of [`WAYS`] slots. With two choices the fullest of a million
/// buckets holds a few more than the mean, so the slack makes "no room" mean "at capacity".
const MEAN_LOAD: usize = 23;

/// Remembers flows.
pub struct FlowTable {
    pub(crate) buckets: Box<[Bucket]>,
    pub(crate) entries: Box<[Entry]>,
    hash: KeyedHash,
    pub(crate) timeouts: TimeoutTicks,
    pickup_until: Time,
    capacity: usize,
    live: CachePadded<AtomicUsize>,
    pub(crate) counters: Counters,
    pub(crate) quotas: Quotas,
}

/// The two buckets a key may be in, and its tag.
pub(crate) struct Place {
    pub(crate) buckets: [usize; 2],
    pub(crate) tag: Tag,
}

/// Why a flow ends; each has its counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Expired,
    Removed,
    Reopened,
}

impl FlowTable {
    /// A table that is empty and will not allocate again.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let capacity = config.capacity;
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return Err(ConfigError::Capacity { capacity });
        }
        let bucket_count = capacity.div_ceil(MEAN_LOAD);
        Ok(Self {
            buckets: (0..bucket_count).map(|_| Bucket::default()).collect(),
            entries: (0..bucket_count * WAYS).map(|_| Entry::default()).collect(),
            hash: KeyedHash::new(config.secret),
            timeouts: TimeoutTicks::new(&config.timeouts),
            pickup_until: config.pickup_until,
            capacity,
            live: CachePadded::default(),
            counters: Counters::default(),
            quotas: Quotas::default(),
        })
    }

    /// The same table, still empty, that gives no owner more than `quota`. Without it nobody is limited.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Self {
        Self { quotas: Quotas::new(quota), ..self }
    }

    /// The flows that `owner` has now; none if the table has no quota.
    pub fn usage(&self, owner: u16) -> Usage {
        self.quotas.usage(owner)
    }

    /// Finds the packet's flow and runs it through the flow's state machine; an admitted packet
    /// renews the flow and is counted on it.
    ///
    /// A flow that has outlived its timeout counts as gone. So does a finished one for a packet
    /// that starts a new connection: it answers [`Track::MayOpen`], for the policy to decide again.
    #[inline]
    pub fn track(&self, packet: &Packet, now: Time) -> Track {
        let (key, sender) = Key::of_packet(packet);
        let tick = tick(now);
        if let Some((slot, generation)) = self.locate(&key, &self.place(&key)) {
            let entry = &self.entries[slot];
            let id = FlowId::new(slot, generation);
            if let Some(flow) = entry.lock(generation) {
                if self.has_expired(flow.clock(), tick) {
                    drop(flow);
                    self.end_if(id, Ending::Expired, |clock| self.has_expired(clock, tick));
                } else {
                    let direction = Direction::from_ends(sender, flow.originator());
                    match track::step(&flow, direction, packet, tick, &self.quotas) {
                        Step::Admitted => return Track::Known(track::known(&flow, id, &key, direction)),
                        Step::Refused(refusal) => return Track::Refused(refusal),
                        Step::Reopens => {
                            drop(flow);
                            self.end_if(id, Ending::Reopened, |clock| {
                                clock.state.is_finished() || clock.assurance == Assurance::Tentative
                            });
                        }
                    }
                }
            }
        }
        match self.may_open(packet, now) {
            Ok(()) => Track::MayOpen,
            Err(refusal) => Track::Refused(refusal),
        }
    }

    /// Brings the packet's flow into the cache, and changes nothing.
    ///
    /// A cold flow costs two misses in a row, tags and entry. Called for every packet of a batch
    /// before the first [`FlowTable::track`], the misses of several packets pass at the same time.
    #[inline]
    pub fn warm(&self, packet: &Packet) {
        let (key, _) = Key::of_packet(packet);
        let place = self.place(&key);
        let [first, second] = place.buckets.map(|bucket| self.buckets[bucket].matching(place.tag).lowest());
        // Arithmetic, no branches: a wrong guess would end the overlap that this is for.
        let bucket = place.buckets[usize::from(first == WAYS)];
        let way = if first == WAYS { second } else { first };
        self.entries[bucket * WAYS + way % WAYS].touch();
    }

    /// Gives a flow that was decided again its new verdict; false if the flow is gone.
    pub fn redecide(&self, id: FlowId, decision: Decision) -> bool {
        let flow = self.entry(id).and_then(|entry| entry.lock(id.generation()));
        flow.map(|flow| {
            self.quotas.hand_over(flow.owner(), decision.owner, flow.clock().state);
            flow.set_decision(&decision);
        })
        .is_some()
    }

    /// Forgets a flow; false if it is gone already.
    pub fn remove(&self, id: FlowId) -> bool {
        self.end_if(id, Ending::Removed, |_| true)
    }

    /// The flow that a packet with this tuple would belong to, and its direction on it, leaving
    /// the flow as it is. For ICMP errors, which quote a packet of the flow they are about.
    pub fn find(&self, tuple: &Tuple) -> Option<(FlowView, Direction)> {
        let (key, sender) = Key::of(tuple);
        // A quoted ICMP query is most likely a request: the sender's own flow comes first.
        let keys = if key.needs_asker() {
            [Some(key.asked_by(sender)), Some(key.asked_by(sender.other()))]
        } else {
            [Some(key), None]
        };
        keys.into_iter().flatten().find_map(|key| self.find_key(&key, sender))
    }

    fn find_key(&self, key: &Key, sender: End) -> Option<(FlowView, Direction)> {
        let (slot, generation) = self.locate(key, &self.place(key))?;
        let (current, record) = self.entries[slot].snapshot()?;
        let view = FlowView::new(FlowId::new(slot, generation), &record, &self.timeouts);
        (current == generation).then(|| (view, Direction::from_ends(sender, record.originator)))
    }

    /// Flows in the table, those included that have expired and were not yet collected.
    pub fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Flows that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What became of the flows so far.
    pub fn stats(&self) -> TableStats {
        self.counters.read()
    }

    /// All flows, each one consistent in itself; flows that open or end meanwhile may be missing.
    pub fn views(&self) -> impl Iterator<Item = FlowView> {
        self.entries.iter().enumerate().filter_map(|(slot, entry)| {
            let (generation, record) = entry.snapshot()?;
            Some(FlowView::new(FlowId::new(slot, generation), &record, &self.timeouts))
        })
    }

    #[inline]
    pub(crate) fn may_open(&self, packet: &Packet, now: Time) -> Result<(), crate::Refusal> {
        track::may_open(packet, Pickup::at(now, self.pickup_until))
    }

    #[inline]
    pub(crate) fn has_expired(&self, clock: Clock, tick: u64) -> bool {
        tick.saturating_sub(clock.last_seen) > self.timeouts.of(clock.state, clock.assurance)
    }

    #[inline]
    pub(crate) fn place(&self, key: &Key) -> Place {
        let hash = self.hash.of(key);
        // The upper half picks one bucket, the lower half's upper bits the other, and the rest is
        // the tag: multiplying maps 32 bits evenly to any number of buckets (Lemire, 2019).
        let count = self.buckets.len() as u64;
        let bucket = |half: u64| ((half * count) >> 32) as usize;
        Place { buckets: [bucket(hash >> 32), bucket(hash & 0xffff_ffff)], tag: Tag::of(hash) }
    }

    #[inline]
    pub(crate) fn locate(&self, key: &Key, place: &Place) -> Option<(usize, Generation)> {
        place.buckets.into_iter().find_map(|bucket| {
            self.buckets[bucket].matching(place.tag).find_map(|way| {
                let slot = bucket * WAYS + way;
                self.entries[slot].generation_of(key).map(|generation| (slot, generation))
            })
        })
    }

    fn entry(&self, id: FlowId) -> Option<&Entry> {
        self.entries.get(id.slot()).filter(|_| id.generation().is_live())
    }

    /// Ends a flow if, with everybody else kept out, its clock satisfies `condition`.
    pub(crate) fn end_if(&self, id: FlowId, ending: Ending, condition: impl Fn(Clock) -> bool) -> bool {
        let Some(entry) = self.entry(id) else { return false };
        let bucket = self.buckets[id.slot() / WAYS].lock();
        let Some(flow) = entry.lock(id.generation()) else { return false };
        if !condition(flow.clock()) {
            return false;
        }
        self.retire(flow);
        bucket.vacate(id.slot() % WAYS);
        self.unreserve();
        bump(match ending {
            Ending::Expired => &self.counters.expired,
            Ending::Removed => &self.counters.removed,
            Ending::Reopened => &self.counters.reopened,
        });
        true
    }

    /// Frees the slot of a flow, and its owner of it. The caller holds the bucket's lock.
    pub(crate) fn retire(&self, flow: Locked<'_>) {
        self.quotas.release(flow.owner(), flow.clock().state);
        flow.retire();
    }

    /// Counts one flow less.
    pub(crate) fn unreserve(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one more flow in, unless the table is at capacity.
    #[inline]
    pub(crate) fn reserve(&self) -> Result<(), AtCapacity> {
        let admit = |live| (live < self.capacity).then_some(live + 1);
        self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).map(drop).map_err(|_| AtCapacity)
    }
}

/// The table holds as many flows as it was made for.
pub(crate) struct AtCapacity;
