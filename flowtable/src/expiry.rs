//! Forgetting silent flows, a bounded slice at a time.

use crate::bucket::WAYS;
use crate::table::{Ending, FlowTable};
use crate::timeout::tick;
use crate::{FlowId, Time};

/// Where the next slice begins. One per sweeper; several may sweep one table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExpiryCursor {
    slot: usize,
}

impl FlowTable {
    /// Looks at the next `max_slots` slots, at most once at each, and forgets the flows that have
    /// been silent for longer than their timeout; returns how many.
    ///
    /// A flow's timeout is enforced without this as well, when its next packet comes; the sweep
    /// frees the room of those that get none. There are [`FlowTable::slots`] slots.
    pub fn expire(&self, cursor: &mut ExpiryCursor, now: Time, max_slots: usize) -> usize {
        let tick = tick(now);
        let slots = self.slots();
        let mut slot = cursor.slot % slots;
        let mut left = max_slots.min(slots);
        let mut expired = 0;
        while left > 0 {
            // As much of one bucket as the slice covers.
            let (bucket, first_way) = (slot / WAYS, slot % WAYS);
            let span = left.min(WAYS - first_way);
            let occupied = self.buckets[bucket].occupied();
            for way in occupied.filter(|way| (first_way..first_way + span).contains(way)) {
                expired += usize::from(self.expire_slot(bucket * WAYS + way, tick));
            }
            left -= span;
            slot = (slot + span) % slots;
        }
        cursor.slot = slot;
        expired
    }

    /// How many slots a whole sweep looks at: some more than [`FlowTable::capacity`].
    pub fn slots(&self) -> usize {
        self.entries.len()
    }

    fn expire_slot(&self, slot: usize, tick: u64) -> bool {
        let entry = &self.entries[slot];
        if entry.is_alias() {
            // Not a flow, and not counted as one.
            self.end_stale(slot);
            return false;
        }
        let generation = entry.generation();
        self.has_expired(entry.clock(), tick)
            && self
                .end_if(FlowId::new(slot, generation), Ending::Expired, |clock| self.has_expired(clock, tick))
    }
}
