//! What decides frames.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use podgate_flowtable::{ExpiryCursor, FlowTable, FragmentTable, Time};

use crate::answer::{Answer, answer};
use crate::counters::Counters;
use crate::departures::Departures;
use crate::events::EventRing;
use crate::onward::Onward;
use crate::raw::{BATCH, Decide, Fate, Published, Ring, Turn};
use crate::service::Affinities;
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
    pub fragments: FragmentTable<Onward>,
    /// Clients of Services that keep their backend.
    pub affinities: Affinities,
    /// Which pods put frames into the bridge, and when.
    pub departures: Departures,
    /// What happened, for those who ask.
    pub events: EventRing,
}

/// How often the flow table is swept.
const SWEEP_EVERY: Duration = Duration::from_millis(1);
/// Sweeps that look at the whole table, if that is not too large: ten seconds. A flow's timeout does not
/// wait for them.
const SWEEPS: usize = 10_000;
/// Slots looked at in one sweep: 512 take about 17 us if all of them expire.
const SWEEP_SLOTS: RangeInclusive<usize> = 32..=512;
/// Buckets of fragmented datagrams looked at in one sweep: all of 4,096 datagrams in half a second.
const SWEEP_BUCKETS: usize = 1;

/// The gateway's judge: the step, against the snapshot in force.
pub struct GateJudge {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    /// Present in the one worker that sweeps the flow table.
    sweep: Option<(ExpiryCursor, Time)>,
    /// Of the batch at hand; here so that nothing is allocated for it.
    readings: Box<ArrayVec<Reading, BATCH>>,
    /// To the frame at hand, if it is rejected.
    answer: Box<Answer>,
}

impl GateJudge {
    /// Counts in `counters`, which no other worker may use. One worker sweeps the flow table.
    pub fn new(shared: Arc<Shared>, counters: Arc<Counters>, sweeps: bool) -> Self {
        Self {
            shared,
            counters,
            sweep: sweeps.then(Default::default),
            readings: Box::default(),
            answer: Box::default(),
        }
    }
}

/// From so many flows on they are not all in the cache, and reading a batch before it is decided pays.
const FETCH_FROM: usize = 4096;

/// The batch at hand, before the gate.
struct Batch<'a, 'b> {
    gate: &'a Gate<'b>,
    now: Time,
    fetches: bool,
    readings: &'a mut ArrayVec<Reading, BATCH>,
    answer: &'a mut Answer,
}

impl Decide for Batch<'_, '_> {
    fn look(&mut self, frame: &[u8]) {
        if self.fetches {
            self.readings.push(self.gate.read(frame));
        }
    }

    fn all_seen(&mut self) {
        for reading in &*self.readings {
            self.gate.fetch(reading);
        }
    }

    fn decide(&mut self, at: usize, frame: &mut [u8]) -> Fate {
        let verdict = match self.readings.get(at) {
            Some(reading) => self.gate.decide(reading, frame, self.now),
            None => self.gate.step(frame, self.now),
        };
        match verdict {
            Verdict::Forward(_) => Fate::Send,
            Verdict::Drop(_) => Fate::Release,
            Verdict::Reject(_) => match answer(frame) {
                Some(answer) => {
                    *self.answer = answer;
                    Fate::Answer
                }
                None => Fate::Release,
            },
        }
    }

    fn answer(&self) -> &[u8] {
        self.answer
    }

    fn unsent(&mut self, frame: &[u8]) {
        self.gate.drop_unsent(frame, self.now);
    }
}

impl Judge for GateJudge {
    fn turn(&mut self, ring: &mut Ring, now: Time) -> Turn {
        let Self { shared, counters, readings, answer, .. } = self;
        readings.clear();
        // One snapshot for the batch; nothing of it is kept when the batch is done.
        shared.published.read(|snapshot| {
            let gate = Gate {
                snapshot: snapshot.map(Arc::as_ref),
                flows: &shared.flows,
                fragments: &shared.fragments,
                affinities: &shared.affinities,
                departures: &shared.departures,
                counters,
                events: &shared.events,
            };
            let fetches = shared.flows.len() >= FETCH_FROM;
            ring.turn(&mut Batch { gate: &gate, now, fetches, readings, answer })
        })
    }

    fn housekeeping(&mut self, now: Time) {
        if let Some((cursor, swept)) = &mut self.sweep
            && now.since(*swept) >= SWEEP_EVERY
        {
            *swept = now;
            let slots = self.shared.flows.slots().div_ceil(SWEEPS);
            self.shared.flows.expire(cursor, now, slots.clamp(*SWEEP_SLOTS.start(), *SWEEP_SLOTS.end()));
            self.shared.fragments.expire(now, SWEEP_BUCKETS);
        }
    }
}
