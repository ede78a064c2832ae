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

use std::ops::Range;

use crossbeam::utils::CachePadded;

use crate::bucket::{Bucket, Tag, WAYS};
use crate::config::{Config, ConfigError, MAX_CAPACITY};
use crate::entry::{Clock, Entry, Generation, Locked};
use crate::hash::KeyedHash;
use crate::key::{End, Key};
use crate::quota::Quotas;
use crate::stats::{Counters, bump};
use crate::sync::{AtomicUsize, Ordering};
use crate::timeout::TimeoutTicks;
use crate::track::{self, Pickup};
use crate::{Decision, Direction, FlowId, FlowView, Packet, Quota, TableStats, Time, Tuple, Usage};

/// Flows per bucket at capacity, of [`WAYS`] slots. With two choices the fullest of a million
/// buckets holds a few more than the mean, so the slack makes "no room" mean "at capacity".
const MEAN_LOAD: usize = 23;

/// Remembers flows.
pub struct FlowTable {
    pub(crate) buckets: Box<[Bucket]>,
    pub(crate) entries: Box<[Entry]>,
    hash: KeyedHash,
    pub(crate) timeouts: TimeoutTicks,
    pub(crate) pickup_until: Time,
    capacity: usize,
    /// Slots in use.
    live: CachePadded<AtomicUsize>,
    /// Of these, aliases.
    aliases: AtomicUsize,
    pub(crate) counters: Counters,
    pub(crate) quotas: Quotas,
}

/// The two buckets a key may be in, and its tag.
#[derive(Clone, Copy)]
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
            aliases: AtomicUsize::default(),
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
        let (id, originator) = match self.entries[slot].alias() {
            Some((current, alias)) if current == generation => (alias.flow, Some(alias.originator)),
            _ => (FlowId::new(slot, generation), None),
        };
        let (view, recorded) = self.view(id.slot()).filter(|(view, _)| view.id == id)?;
        Some((view, Direction::from_ends(sender, originator.unwrap_or(recorded))))
    }

    /// The flow in a slot, and its originator's end of the key.
    fn view(&self, slot: usize) -> Option<(FlowView, End)> {
        let (generation, record) = self.entries.get(slot)?.snapshot()?;
        let id = FlowId::new(slot, generation);
        let calling = record.partner.and_then(|partner| self.calling_at(id, partner));
        Some((FlowView::new(id, &record, calling.as_ref(), &self.timeouts), record.originator))
    }

    /// Flows in the table, those included that have expired and were not yet collected.
    pub fn len(&self) -> usize {
        // Each is right by itself; between the two a flow may come or go.
        self.live.load(Ordering::Relaxed).saturating_sub(self.aliases.load(Ordering::Relaxed))
    }

    /// Whether there are flows whose originator calls the other end by another address.
    #[inline]
    pub fn has_translated(&self) -> bool {
        self.aliases.load(Ordering::Relaxed) > 0
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

    /// Where the table lies in memory, for a caller that has a say in how that is mapped.
    pub fn memory(&self) -> [Range<*const u8>; 2] {
        let Range { start, end } = self.buckets.as_ptr_range();
        let buckets = start.cast()..end.cast();
        let Range { start, end } = self.entries.as_ptr_range();
        [buckets, start.cast()..end.cast()]
    }

    /// All flows, each one consistent in itself; flows that open or end meanwhile may be missing.
    pub fn views(&self) -> impl Iterator<Item = FlowView> {
        (0..self.entries.len()).filter_map(|slot| Some(self.view(slot)?.0))
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

    /// The slot of a flow; an alias has no id.
    #[inline]
    pub(crate) fn entry(&self, id: FlowId) -> Option<&Entry> {
        self.entries.get(id.slot()).filter(|entry| id.generation().is_live() && !entry.is_alias())
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

    pub(crate) fn count_alias(&self) {
        self.aliases.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn uncount_alias(&self) {
        self.aliases.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one slot in use less.
    pub(crate) fn unreserve(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Slots in use, aliases included.
    #[cfg(all(test, feature = "interleavings"))]
    pub(crate) fn reserved(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Counts one more slot in, unless the table is at capacity.
    #[inline]
    pub(crate) fn reserve(&self) -> Result<(), AtCapacity> {
        let admit = |live| (live < self.capacity).then_some(live + 1);
        self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).map(drop).map_err(|_| AtCapacity)
    }
}

/// The table holds as many flows as it was made for.
pub(crate) struct AtCapacity;
