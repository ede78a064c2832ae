//! A packet meets its flow.

use crate::bucket::WAYS;
use crate::entry::{Locked, Slot};
use crate::key::{End, Key};
use crate::table::{Ending, FlowTable, Place};
use crate::timeout::tick;
use crate::track::{self, Step};
use crate::{Assurance, Direction, FlowId, Packet, Refusal, Time, Track};

/// Where the flow of a packet would be, see [`FlowTable::seek`].
#[derive(Clone, Copy)]
pub struct Seek {
    key: Key,
    sender: End,
    place: Place,
}

/// What a flow made of a packet.
enum Met<'a> {
    Admitted(Locked<'a>),
    Denied(Locked<'a>),
    Refused(Refusal),
    Ended,
}

impl FlowTable {
    /// Finds the packet's flow and runs it through the flow's state machine; an admitted packet
    /// renews the flow and is counted on it.
    ///
    /// A flow that has outlived its timeout counts as gone. So does a finished one for a packet
    /// that starts a new connection: it answers [`Track::MayOpen`], for the policy to decide again.
    #[inline]
    pub fn track(&self, packet: &Packet, now: Time) -> Track {
        self.track_sought(self.seek_silently(packet), packet, now)
    }

    /// The same, for a packet whose place is known: `seek` is of this packet and this table.
    #[inline]
    pub fn track_at(&self, seek: &Seek, packet: &Packet, now: Time) -> Track {
        self.track_sought(*seek, packet, now)
    }

    #[allow(clippy::inline_always, reason = "what was just computed stays in registers")]
    #[inline(always)]
    fn track_sought(&self, seek: Seek, packet: &Packet, now: Time) -> Track {
        let Seek { key, sender, place } = seek;
        let tick = tick(now);
        if let Some((slot, generation)) = self.locate(&key, &place) {
            let entry = &self.entries[slot];
            // The flow, or another name of it; that slot may have been given away since it was found.
            let led = if entry.is_alias() { entry.leads_to(generation) } else { None };
            let id = led.map_or(FlowId::new(slot, generation), |led| led.flow);
            let flow = match led {
                None => entry.lock(generation),
                Some(_) => self.entry(id).and_then(|entry| entry.lock(id.generation())),
            };
            if let Some(flow) = flow {
                let originator = led.map_or_else(|| flow.originator(), |led| led.originator);
                let direction = Direction::from_ends(sender, originator);
                match self.meet(flow, id, direction, packet, tick) {
                    Met::Admitted(flow) => {
                        let (original, alias) = match (led, direction) {
                            (None, Direction::Original) => (key.tuple(originator), None),
                            (None, Direction::Reply) => (key.tuple(originator), flow.partner()),
                            (Some(led), Direction::Original) => (led.original(&key), Some(Slot(slot as u32))),
                            // What comes back by this name has been translated already.
                            (Some(led), Direction::Reply) => (led.original(&key), None),
                        };
                        let mut known = track::known(&flow, id, original, direction, alias);
                        known.is_called_otherwise =
                            led.is_none() && direction == Direction::Original && flow.is_translated();
                        return Track::Known(known);
                    }
                    Met::Denied(flow) => {
                        let original = led.map_or_else(|| key.tuple(originator), |led| led.original(&key));
                        return Track::Denied(track::known(&flow, id, original, direction, None));
                    }
                    Met::Refused(refusal) => return Track::Refused(refusal),
                    Met::Ended => {}
                }
            }
            if led.is_some() {
                self.end_stale(slot);
            }
        }
        match self.may_open(packet, now) {
            Ok(()) => Track::MayOpen,
            Err(refusal) => Track::Refused(refusal),
        }
    }

    /// The flow takes the packet in, or ends.
    #[allow(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn meet<'a>(
        &self,
        flow: Locked<'a>,
        id: FlowId,
        direction: Direction,
        packet: &Packet,
        tick: u64,
    ) -> Met<'a> {
        if self.has_expired(flow.clock(), tick) {
            drop(flow);
            self.end_if(id, Ending::Expired, |clock| self.has_expired(clock, tick));
            return Met::Ended;
        }
        match track::step(&flow, direction, packet, tick, &self.quotas) {
            Step::Admitted => Met::Admitted(flow),
            Step::Denied => Met::Denied(flow),
            Step::Refused(refusal) => Met::Refused(refusal),
            Step::Reopens => {
                drop(flow);
                self.end_if(id, Ending::Reopened, |clock| {
                    clock.state.is_finished() || clock.assurance == Assurance::Tentative
                });
                Met::Ended
            }
        }
    }

    /// Where the packet's flow would be; begins to fetch its tags.
    ///
    /// A cold flow costs two misses in a row, tags and entry. A caller that has a batch of packets
    /// seeks them all, then fetches them all, and only then tracks the first: so the misses of many
    /// packets pass at the same time.
    #[inline]
    pub fn seek(&self, packet: &Packet) -> Seek {
        let seek = self.seek_silently(packet);
        for bucket in seek.place.buckets {
            self.buckets[bucket].touch();
        }
        seek
    }

    #[inline]
    fn seek_silently(&self, packet: &Packet) -> Seek {
        let (key, sender) = Key::of_packet(packet);
        Seek { key, sender, place: self.place(&key) }
    }

    /// Begins to fetch the flow that is sought, and changes nothing.
    #[inline]
    pub fn fetch(&self, seek: &Seek) {
        let Place { buckets, tag } = seek.place;
        let [first, second] = buckets.map(|bucket| self.buckets[bucket].matching(tag).lowest());
        // Arithmetic, no branches: a wrong guess would end the overlap that this is for.
        let bucket = buckets[usize::from(first >= WAYS)];
        let way = if first >= WAYS { second } else { first };
        self.entries[bucket * WAYS + way % WAYS].touch();
    }
}
