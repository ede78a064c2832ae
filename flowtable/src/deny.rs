//! Flows that policy has cut.
//!
//! While connections are taken up in the middle, forgetting one that was cut would not end it: a segment
//! from its far end would be taken for the opening of another one, the other way round, and policy may
//! allow that. So it stays in its slot, denied, and knows who opened it. It makes way for any other
//! flow, and for one on the same ports that policy allows.

use crate::entry::Clock;
use crate::state::Assurance;
use crate::table::Ending;
use crate::timeout::tick;
use crate::track::Pickup;
use crate::{Decision, FlowId, FlowState, FlowTable, Time};

impl FlowTable {
    /// Ends a flow that `decision` no longer allows; false if it is gone or has been cut already.
    ///
    /// While connections are taken up in the middle, a TCP flow is remembered as [`FlowState::Denied`],
    /// at least until that is over. It counts for nobody's quota.
    pub fn cut(&self, id: FlowId, decision: Decision, now: Time) -> bool {
        match Pickup::at(now, self.pickup_until) {
            Pickup::Open => self.deny(id, decision, now),
            Pickup::Over => self.forget(id),
        }
    }

    fn forget(&self, id: FlowId) -> bool {
        self.end_if(id, Ending::Removed, |clock| clock.state != FlowState::Denied)
    }

    fn deny(&self, id: FlowId, decision: Decision, now: Time) -> bool {
        let Some(flow) = self.entry(id).and_then(|entry| entry.lock(id.generation())) else { return false };
        let clock = flow.clock();
        if !matches!(clock.state, FlowState::Tcp(_)) {
            drop(flow);
            return self.forget(id);
        }
        self.quotas.follow(flow.owner(), clock.state, FlowState::Denied);
        flow.set_decision(&decision);
        let denied =
            Clock { last_seen: tick(now), state: FlowState::Denied, assurance: Assurance::Tentative };
        let timeout = self.timeouts.of(denied.state, denied.assurance);
        let last_seen = denied.last_seen.max(tick(self.pickup_until).saturating_sub(timeout));
        flow.set_clock(Clock { last_seen, ..denied });
        true
    }
}
