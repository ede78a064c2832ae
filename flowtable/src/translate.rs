//! Flows whose originator calls the other end by another address, as clients of a Service do.
//!
//! The flow is recorded by the addresses that its packets have once they are translated; those are what
//! policy decides about. An alias leads from the originator's own words to it (see `entry::alias`), and the
//! flow knows its alias, so that what comes back can be translated too. An alias takes a slot and counts for
//! nobody. It ends after its flow: whoever meets one whose flow is gone takes it away.

use crate::bucket::WAYS;
use crate::entry::{Alias, Slot};
use crate::key::{End, Key};
use crate::open::OpenError;
use crate::stats::bump;
use crate::table::FlowTable;
use crate::timeout::tick;
use crate::{Addr, Decision, Direction, FlowId, Known, Packet, Time};

/// What a connection is made to: an address, and a port in host order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Target {
    /// The address.
    pub addr: Addr,
    /// The port.
    pub port: u16,
}

/// What the two ends of a translated flow have to be told apart by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewrite {
    /// The packet is as its originator sent it: this is its destination really.
    Destination(Target),
    /// The packet is as the other end sent it: to the originator, this is where it comes from.
    Source(Target),
}

impl FlowTable {
    /// Records the flow that `packet`, of a protocol with ports, opens to `becomes`, not to its own
    /// destination. `decision` is about the translated packet. From now on both tuples lead to the flow.
    pub fn open_translated(
        &self,
        packet: &Packet,
        becomes: Target,
        decision: Decision,
        now: Time,
    ) -> Result<FlowId, OpenError> {
        let (key, originator) = Key::of_packet(packet);
        let mut tuple = packet.tuple;
        (tuple.destination, tuple.destination_port) = (becomes.addr, becomes.port);
        let flow = self.open(&Packet { tuple, ..*packet }, decision, now)?;
        self.call(key, originator, flow, becomes, now).inspect_err(|_| _ = self.remove(flow))
    }

    /// Gives `flow` another name; returns the flow.
    pub(crate) fn call(
        &self,
        key: Key,
        originator: End,
        flow: FlowId,
        becomes: Target,
        now: Time,
    ) -> Result<FlowId, OpenError> {
        let place = self.place(&key);
        let lock = self.lock_place(&place);
        let slot = match self.locate(&key, &place) {
            Some((slot, generation)) => match self.entries[slot].alias() {
                Some((_, alias)) if self.is_stale(&alias) => {
                    // The name of an ended flow: its slot is there to be taken over.
                    if let Some(stale) = self.entries[slot].lock(generation) {
                        stale.retire();
                    }
                    slot
                }
                Some((_, alias)) => return Err(OpenError::Exists(alias.flow)),
                None => return Err(OpenError::Exists(FlowId::new(slot, generation))),
            },
            None => {
                self.room(&place, tick(now), Some(flow)).inspect(|_| self.count_alias()).ok_or_else(|| {
                    bump(&self.counters.full);
                    OpenError::Full
                })?
            }
        };
        let alias = Alias { key, originator, flow, becomes };
        self.entries[slot].fill_alias(&alias);
        if let Some(bucket) = lock.of(slot / WAYS) {
            bucket.occupy(slot % WAYS, place.tag);
        }
        // Nobody has been told of the flow yet, so nothing can have come back on it.
        if let Some(entry) = self.entry(flow).and_then(|entry| entry.lock(flow.generation())) {
            entry.set_partner(Slot(slot as u32));
        }
        Ok(flow)
    }

    /// Whether the flow that an alias names is gone.
    pub(crate) fn is_stale(&self, alias: &Alias) -> bool {
        self.entry(alias.flow).is_none_or(|entry| entry.generation() != alias.flow.generation())
    }

    /// Takes the alias in `slot` away if its flow is gone; whether it did.
    pub(crate) fn end_stale(&self, slot: usize) -> bool {
        let bucket = self.buckets[slot / WAYS].lock();
        let Some((generation, alias)) = self.entries[slot].alias() else { return false };
        if !self.is_stale(&alias) {
            return false;
        }
        let Some(locked) = self.entries[slot].lock(generation) else { return false };
        locked.retire();
        bucket.vacate(slot % WAYS);
        self.uncount_alias();
        self.unreserve();
        true
    }

    /// What becomes of the addresses of a packet that was found to be `known`, if its flow is translated
    /// and this packet is not yet.
    #[inline]
    pub fn rewrite(&self, known: &Known) -> Option<Rewrite> {
        let slot = known.alias?;
        match known.direction {
            // The flow is known by what its packets become.
            Direction::Original => Some(Rewrite::Destination(known.original.destination())),
            Direction::Reply => self.called_at(known.id, slot).map(Rewrite::Source),
        }
    }

    /// What the originator of the flow calls the other end, if a packet that was found to be `known` came by
    /// that name or goes back to who uses it.
    pub fn called(&self, known: &Known) -> Option<Target> {
        self.called_at(known.id, known.alias?)
    }

    /// What the originator of a flow calls the other end.
    #[inline]
    pub(crate) fn called_at(&self, flow: FlowId, Slot(slot): Slot) -> Option<Target> {
        let (_, alias) = self.entries.get(slot as usize)?.alias()?;
        (alias.flow == flow).then(|| alias.called())
    }
}
