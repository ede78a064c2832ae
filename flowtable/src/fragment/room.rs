//! Room for a new datagram in its bucket, and whose datagram makes it.

use super::{Bucket, Datagram, FragmentKey, FragmentTable, Progress, WAYS};
use crate::Time;
use crate::stats::bump;

/// What a slot costs whom if a new datagram takes it, the cheapest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// It held the same number's datagram, which is complete.
    Nothing,
    Free,
    Complete(Time),
    Own(Progress, Time),
    Foreign(Progress, Time),
}

impl<P: Copy> FragmentTable<P> {
    /// Makes room of what has expired.
    pub(super) fn forget_expired(&self, datagrams: &mut Bucket<P>, now: Time) {
        for slot in datagrams {
            if let Some(datagram) = slot
                && datagram.has_expired(now)
            {
                if datagram.is_under_way() {
                    self.owners.release(datagram.key.owner);
                }
                *slot = None;
            }
        }
    }

    /// The slot for a new datagram: the one of its number, a free one, or the one that is missed least.
    pub(super) fn room<'a>(
        &self,
        datagrams: &'a mut Bucket<P>,
        key: &FragmentKey,
    ) -> &'a mut Option<Datagram<P>> {
        let cost = |slot: &Option<Datagram<P>>| match slot {
            Some(datagram) if datagram.key == *key => Cost::Nothing,
            None => Cost::Free,
            Some(datagram) if !datagram.is_under_way() => Cost::Complete(datagram.since),
            Some(datagram) if datagram.key.owner == key.owner => Cost::Own(datagram.progress, datagram.since),
            Some(datagram) => Cost::Foreign(datagram.progress, datagram.since),
        };
        let cheapest = (0..WAYS).min_by_key(|&way| cost(&datagrams[way])).unwrap_or(0);
        let slot = &mut datagrams[cheapest];
        if let Some(old) = slot.filter(Datagram::is_under_way) {
            self.owners.release(old.key.owner);
            bump(&self.counters.evicted);
        }
        slot
    }
}

/// The datagram of `owner` that has waited longest for the rest of it; a refused one only if all are.
pub(super) fn oldest_under_way<P>(datagrams: &mut Bucket<P>, owner: u16) -> Option<&mut Option<Datagram<P>>> {
    let own = |slot: &&mut Option<Datagram<P>>| {
        slot.as_ref().is_some_and(|datagram| datagram.key.owner == owner && datagram.is_under_way())
    };
    datagrams
        .iter_mut()
        .filter(own)
        .min_by_key(|slot| slot.as_ref().map(|datagram| (datagram.progress, datagram.since)))
}
