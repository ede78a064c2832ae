//! Flows whose originator calls the other end by another address, as clients of a Service do.
//!
//! The flow is recorded by the addresses that its packets have once they are translated; those are what
//! policy decides about. An alias leads from the originator's own words to it (see `entry::alias`), and the
//! flow knows its alias, so that what comes back can be translated too. An alias takes a slot and counts for
//! nobody. It ends after its flow: whoever meets one whose flow is gone takes it away.

use crate::bucket::WAYS;
use crate::entry::{Alias, Slot};
use crate::key::Key;
use crate::open::OpenError;
use crate::stats::bump;
use crate::table::FlowTable;
use crate::timeout::tick;
use crate::{Addr, Decision, Direction, FlowId, Known, Packet, Time, Tuple};

/// What a connection is made to: an address, and a port in host order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Target {
    /// The address.
    pub addr: Addr,
    /// The port.
    pub port: u16,
}

/// What becomes of a packet's ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewrite {
    /// The packet is as its originator sent it.
    Destination {
        /// Its destination really.
        target: Target,
        /// The port it is from really: another where the originator has a connection from its own port to that
        /// destination already.
        source_port: u16,
    },
    /// The packet is as the other end sent it.
    Source {
        /// Where it comes from, to the originator.
        called: Target,
        /// The port that the originator has sent from.
        destination_port: u16,
    },
}

impl FlowTable {
    /// Records the flow that `packet`, of a protocol with ports, opens to `becomes`, not to its own
    /// destination, and from `source_port`. `decision` is about the translated packet. From now on both tuples
    /// lead to the flow.
    pub fn open_translated(
        &self,
        packet: &Packet,
        becomes: Target,
        source_port: u16,
        decision: Decision,
        now: Time,
    ) -> Result<FlowId, OpenError> {
        let (key, originator) = Key::of_packet(packet);
        let Target { addr: destination, port: destination_port } = becomes;
        let tuple = Tuple { destination, source_port, destination_port, ..packet.tuple };
        let flow = self.open(&Packet { tuple, ..*packet }, decision, now)?;
        let alias = Alias { key, originator, flow, becomes, source_port };
        self.call(&alias, now).inspect_err(|_| _ = self.remove(flow))
    }

    /// Gives a flow another name; returns the flow.
    pub(crate) fn call(&self, alias: &Alias, now: Time) -> Result<FlowId, OpenError> {
        let Alias { key, flow, .. } = alias;
        let flow = *flow;
        let place = self.place(key);
        let lock = self.lock_place(&place);
        let slot = match self.locate(key, &place) {
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
        self.entries[slot].fill_alias(alias);
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
            Direction::Original => Some(Rewrite::Destination {
                target: known.original.destination(),
                source_port: known.original.source_port,
            }),
            Direction::Reply => self.calling_at(known.id, slot).map(|calling| Rewrite::Source {
                called: calling.destination(),
                destination_port: calling.source_port,
            }),
        }
    }

    /// What the originator of the flow calls the other end, if a packet that was found to be `known` came by
    /// that name or goes back to who uses it.
    pub fn called(&self, known: &Known) -> Option<Target> {
        self.calling_at(known.id, known.alias?).map(|calling| calling.destination())
    }

    /// The tuple by which the originator of a flow sends its packets.
    #[inline]
    pub(crate) fn calling_at(&self, flow: FlowId, Slot(slot): Slot) -> Option<Tuple> {
        let (_, alias) = self.entries.get(slot as usize)?.alias()?;
        (alias.flow == flow).then(|| alias.calling())
    }
}
