//! Recording a new flow, and making room for it.

use thiserror::Error;

use crate::bucket::{BucketLock, WAYS, Ways};
use crate::entry::{Clock, Locked, Record};
use crate::key::Key;
use crate::state::{Assurance, FlowState};
use crate::stats::bump;
use crate::table::{FlowTable, Place};
use crate::timeout::tick;
use crate::track;
use crate::{Decision, Exceeded, FlowId, Packet, Refusal, Time};

/// Why a flow was not recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OpenError {
    /// There is no room, and every flow in the packet's place is assured.
    #[error("the flow table is full")]
    Full,
    /// Another worker was faster: the flow is there.
    #[error("flow {0} is there already")]
    Exists(FlowId),
    /// This packet may not open a flow.
    #[error("the packet may not open a flow")]
    NotAnOpener(Refusal),
    /// The owner, [`Decision::owner`], has as many flows as its quota allows; nothing was given up.
    #[error("the owner of the flow has too many: {0:?}")]
    Quota(Exceeded),
}

/// A flow goes to its first bucket, where lookups begin, until only this many slots are left
/// there; only then to the emptier one of its two, which is what makes room for all.
const RESERVED_WAYS: u32 = 7;

/// Why a slot's flow may make way for a new one; the first kind found is taken, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Dispensable {
    /// Over, expired, or never answered: what a flood leaves behind.
    AtOnce,
    /// Answered, but not assured.
    IfNeedBe,
}

/// The locks of a place's buckets, taken in the order of their numbers.
pub(crate) struct PlaceLock<'a> {
    /// As [`Place::buckets`]; one lock if both are the same bucket.
    locks: [Option<BucketLock<'a>>; 2],
    buckets: [usize; 2],
}

impl PlaceLock<'_> {
    pub(crate) fn of(&self, bucket: usize) -> Option<&BucketLock<'_>> {
        let position = self.buckets.iter().position(|&other| other == bucket)?;
        self.locks[position].as_ref()
    }
}

impl FlowTable {
    /// Records the flow that `packet` opens, with the verdict that lets it; the packet is its first.
    ///
    /// Without room, a flow of the same place that is over, half-open or at least not assured is
    /// given up for it; an assured flow never is. A flow on the same ports that policy has cut makes way:
    /// whoever calls this has asked policy again.
    pub fn open(&self, packet: &Packet, decision: Decision, now: Time) -> Result<FlowId, OpenError> {
        self.may_open(packet, now).map_err(OpenError::NotAnOpener)?;
        let (key, sender) = Key::of_packet(packet);
        let place = self.place(&key);
        let tick = tick(now);
        let lock = self.lock_place(&place);

        let (state, memory) = track::opening(packet);
        let existing = self.locate(&key, &place);
        let slot = if let Some((slot, generation)) = existing {
            if let Some((_, alias)) = self.entries[slot].alias() {
                // The flow that this name is for is there, or the name is a moment from being taken away.
                return Err(OpenError::Exists(alias.flow));
            }
            let flow = self.entries[slot].lock(generation);
            match flow {
                Some(flow) if self.has_expired(flow.clock(), tick) => {
                    // Its own place in the quota is free again.
                    self.retire(flow);
                    bump(&self.counters.expired);
                    self.charge(decision.owner, state).inspect_err(|_| {
                        if let Some(bucket) = lock.of(slot / WAYS) {
                            bucket.vacate(slot % WAYS);
                        }
                        self.unreserve();
                    })?;
                    slot
                }
                Some(flow) if flow.clock().state == FlowState::Denied => {
                    self.charge(decision.owner, state)?;
                    self.retire(flow);
                    bump(&self.counters.reopened);
                    slot
                }
                // Both locks are held: the flow cannot have gone meanwhile.
                _ => return Err(OpenError::Exists(FlowId::new(slot, generation))),
            }
        } else {
            self.charge(decision.owner, state)?;
            self.room(&place, tick, None).ok_or_else(|| {
                self.quotas.release(decision.owner, state);
                bump(&self.counters.full);
                OpenError::Full
            })?
        };

        let generation = self.entries[slot].fill(&Record {
            key,
            originator: sender,
            decision,
            clock: Clock { last_seen: tick, state, assurance: Assurance::Tentative },
            opened: tick,
            packets: [1, 0],
            bytes: [u64::from(packet.len_bytes), 0],
            memory,
            partner: None,
        });
        if let Some(bucket) = lock.of(slot / WAYS) {
            bucket.occupy(slot % WAYS, place.tag);
        }
        bump(&self.counters.opened);
        Ok(FlowId::new(slot, generation))
    }

    pub(crate) fn charge(&self, owner: u16, state: FlowState) -> Result<(), OpenError> {
        self.quotas.charge(owner, state).map_err(|exceeded| {
            bump(match exceeded {
                Exceeded::Flows => &self.counters.over_flow_quota,
                Exceeded::HalfOpen => &self.counters.over_half_open_quota,
            });
            OpenError::Quota(exceeded)
        })
    }

    pub(crate) fn lock_place(&self, place: &Place) -> PlaceLock<'_> {
        let [first, second] = place.buckets;
        let take = |bucket: usize| Some(self.buckets[bucket].lock());
        let locks = match first.cmp(&second) {
            std::cmp::Ordering::Equal => [take(first), None],
            std::cmp::Ordering::Less => {
                let lower = take(first);
                [lower, take(second)]
            }
            std::cmp::Ordering::Greater => {
                let lower = take(second);
                [take(first), lower]
            }
        };
        PlaceLock { locks, buckets: place.buckets }
    }

    /// A slot for a new flow, counted in: a free one, or one whose flow is given up, but for `kept`.
    pub(crate) fn room(&self, place: &Place, tick: u64, kept: Option<FlowId>) -> Option<usize> {
        let vacant = place.buckets.map(|bucket| self.buckets[bucket].vacant());
        let emptier = match vacant.each_ref().map(Ways::size) {
            [first, _] if first > RESERVED_WAYS => 0,
            [first, second] => usize::from(second > first),
        };
        let free = vacant[emptier].clone().next().map(|way| place.buckets[emptier] * WAYS + way);
        match free {
            Some(slot) if self.reserve().is_ok() => Some(slot),
            _ => self.evict(place, tick, kept),
        }
    }

    /// Gives up one flow of the place. Which one is as good as random (the order of slots is not
    /// the order of arrival), as in nf_conntrack's `early_drop`.
    fn evict(&self, place: &Place, tick: u64, kept: Option<FlowId>) -> Option<usize> {
        for wanted in [Dispensable::AtOnce, Dispensable::IfNeedBe] {
            for bucket in place.buckets {
                for way in self.buckets[bucket].occupied() {
                    let slot = bucket * WAYS + way;
                    let entry = &self.entries[slot];
                    if let Some((generation, alias)) = entry.alias() {
                        let stale = self.is_stale(&alias).then(|| entry.lock(generation)).flatten();
                        if let Some(alias) = stale {
                            alias.retire();
                            self.uncount_alias();
                            return Some(slot);
                        }
                        continue;
                    }
                    let is_kept = kept.is_some_and(|kept| kept.slot() == slot);
                    if is_kept || self.dispensable(entry.clock(), tick) != Some(wanted) {
                        continue;
                    }
                    let Some(flow) = entry.lock(entry.generation()) else { continue };
                    if self.dispensable(flow.clock(), tick) == Some(wanted) {
                        self.give_up(flow, tick);
                        return Some(slot);
                    }
                }
            }
        }
        None
    }

    /// The slot stays counted in, for the flow that takes it.
    fn give_up(&self, flow: Locked<'_>, tick: u64) {
        let expired = self.has_expired(flow.clock(), tick);
        self.retire(flow);
        bump(if expired { &self.counters.expired } else { &self.counters.evicted });
    }

    fn dispensable(&self, clock: Clock, tick: u64) -> Option<Dispensable> {
        if self.has_expired(clock, tick) || clock.state.is_finished() || clock.state.is_unanswered() {
            Some(Dispensable::AtOnce)
        } else if clock.assurance == Assurance::Tentative {
            Some(Dispensable::IfNeedBe)
        } else {
            None
        }
    }
}
