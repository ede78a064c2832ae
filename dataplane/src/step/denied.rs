//! Segments of connections that policy has cut, while others are taken up in the middle.

use podgate_flowtable::{Direction, Known, Packet, Time};

use super::flow::{allowed, is_picked_up};
use super::{Gate, Place, Refusal, Subject};
use crate::events::EventKind;
use crate::onward::Onward;
use crate::verdict::DropReason;

impl Gate<'_> {
    /// A SYN asks for another connection, and is judged as any. What its initiator sends on the one that
    /// was cut is judged anew once policy has changed again: it is taken up in the middle, as if it were
    /// older than the gateway. All else is refused in the initiator's direction, as when it was cut; the
    /// far end's segments would open nothing by themselves.
    #[cold]
    pub(super) fn judge_denied(
        &self,
        place: &Place<'_>,
        packet: &Packet,
        known: &Known,
        subject: &Subject<'_>,
        now: Time,
    ) -> Result<Onward, Refusal> {
        let has_policy_changed = place.snapshot.epoch > known.decision.epoch;
        let is_initiators = known.direction == Direction::Original;
        if !is_picked_up(packet) || (is_initiators && has_policy_changed) {
            return self.open(place, packet, subject, now);
        }
        let ends = place.ends(&known.original, place.is_initiator(known.direction))?;
        let causes = place.decide(&ends, &known.original);
        let judged = Some(known.original);
        match allowed(causes) {
            Err(reason) => {
                let called = self.flows.called(known);
                Err(Refusal { reason, causes: Some(causes), kind: EventKind::Dropped, judged, called })
            }
            Ok(()) => Err(DropReason::NoFlow.into()),
        }
    }
}
