//! What decides frames.

use std::sync::Arc;
use std::time::Duration;

use podgate_flowtable::{ExpiryCursor, FlowTable, FragmentTable, Time};

use crate::counters::Counters;
use crate::departures::Departures;
use crate::events::EventRing;
use crate::raw::{Fate, Published, Ring, Turn};
use crate::snapshot::Snapshot;
use crate::step::Gate;
use crate::verdict::Verdict;

/// Decides the frames of one worker. Lives on the worker's thread.
pub trait Judge {
    /// Receives one batch from `ring` and decides every frame of it; `now` is the batch's time.
    fn turn(&mut self, ring: &mut Ring, now: Time) -> Turn;

    /// Called between batches: work that is due by the clock, in bounded slices.
    fn housekeeping(&mut self, now: Time) {
        let _ = now;
    }
}

/// What all workers share, and the control thread with them.
pub struct Shared {
    /// The policy in force.
    pub published: Published<Arc<Snapshot>>,
    /// Flows.
    pub flows: FlowTable,
    /// Fragmented datagrams.
    pub fragments: FragmentTable,
    /// Which pods put frames into the bridge, and when.
    pub departures: Departures,
    /// What happened, for those who ask.
    pub events: EventRing,
}

/// How often the flow table is swept.
const SWEEP_EVERY: Duration = Duration::from_millis(2);
/// Slots looked at in one sweep: with the default table, all of it about twice a second.
const SWEEP_SLOTS: usize = 512;

/// The gateway's judge: the step, against the snapshot in force.
pub struct GateJudge {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    /// Present in the one worker that sweeps the flow table.
    sweep: Option<(ExpiryCursor, Time)>,
}

impl GateJudge {
    /// Counts in `counters`, which no other worker may use. One worker sweeps the flow table.
    pub fn new(shared: Arc<Shared>, counters: Arc<Counters>, sweeps: bool) -> Self {
        Self { shared, counters, sweep: sweeps.then(Default::default) }
    }
}

impl Judge for GateJudge {
    fn turn(&mut self, ring: &mut Ring, now: Time) -> Turn {
        let Self { shared, counters, .. } = self;
        // One snapshot for the batch; nothing of it is kept when the batch is done.
        shared.published.read(|snapshot| {
            let gate = Gate {
                snapshot: snapshot.map(Arc::as_ref),
                flows: &shared.flows,
                fragments: &shared.fragments,
                departures: &shared.departures,
                counters,
                events: &shared.events,
            };
            let decide = |frame: &mut [u8]| match gate.step(frame, now) {
                Verdict::Forward(_) => Fate::Send,
                Verdict::Drop(_) => Fate::Release,
            };
            ring.turn(decide, |frame| {
                gate.drop_unsent(frame, now);
            })
        })
    }

    fn housekeeping(&mut self, now: Time) {
        if let Some((cursor, swept)) = &mut self.sweep
            && now.since(*swept) >= SWEEP_EVERY
        {
            *swept = now;
            self.shared.flows.expire(cursor, now, SWEEP_SLOTS);
        }
    }
}
