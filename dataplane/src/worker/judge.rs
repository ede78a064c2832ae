//! What decides frames.

use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use podgate_flowtable::{ExpiryCursor, FlowTable, FragmentTable, Time};

use crate::counters::Counters;
use crate::departures::Departures;
use crate::events::EventRing;
use crate::raw::{BATCH, Decide, Fate, Published, Ring, Turn};
use crate::snapshot::Snapshot;
use crate::step::{Gate, Reading};
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
const SWEEP_EVERY: Duration = Duration::from_millis(1);
/// Slots looked at in one sweep, which takes 5 us if all of them expire: a table of a million flows in
/// ten seconds. A flow's timeout does not wait for it.
const SWEEP_SLOTS: usize = 128;

/// The gateway's judge: the step, against the snapshot in force.
pub struct GateJudge {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    /// Present in the one worker that sweeps the flow table.
    sweep: Option<(ExpiryCursor, Time)>,
    /// Of the batch at hand; here so that nothing is allocated for it.
    readings: Box<ArrayVec<Reading, BATCH>>,
}

impl GateJudge {
    /// Counts in `counters`, which no other worker may use. One worker sweeps the flow table.
    pub fn new(shared: Arc<Shared>, counters: Arc<Counters>, sweeps: bool) -> Self {
        Self { shared, counters, sweep: sweeps.then(Default::default), readings: Box::default() }
    }
}

/// The batch at hand, before the gate.
struct Batch<'a, 'b> {
    gate: &'a Gate<'b>,
    now: Time,
    readings: &'a mut ArrayVec<Reading, BATCH>,
}

impl Decide for Batch<'_, '_> {
    fn look(&mut self, frame: &[u8]) {
        self.readings.push(self.gate.read(frame));
    }

    fn all_seen(&mut self) {
        for reading in &*self.readings {
            self.gate.fetch(reading);
        }
    }

    fn decide(&mut self, at: usize, frame: &mut [u8]) -> Fate {
        match self.gate.decide(&self.readings[at], frame, self.now) {
            Verdict::Forward(_) => Fate::Send,
            Verdict::Drop(_) => Fate::Release,
        }
    }

    fn unsent(&mut self, frame: &[u8]) {
        self.gate.drop_unsent(frame, self.now);
    }
}

impl Judge for GateJudge {
    fn turn(&mut self, ring: &mut Ring, now: Time) -> Turn {
        let Self { shared, counters, readings, .. } = self;
        readings.clear();
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
            ring.turn(&mut Batch { gate: &gate, now, readings })
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
