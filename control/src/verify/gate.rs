//! The step without devices: what a gate keeps from frame to frame, and frames as the trunk
//! carries them.

use podgate_dataplane::counters::Counters;
use podgate_dataplane::departures::Departures;
use podgate_dataplane::events::EventRing;
use podgate_dataplane::onward::Onward;
use podgate_dataplane::service::Affinities;
use podgate_dataplane::snapshot::Snapshot;
use podgate_dataplane::step::Gate;
use podgate_dataplane::tag::Tag;
use podgate_flowtable::{Config, FlowTable, FragmentTable, HashSecret, Time, Timeouts};

/// Everything that a worker and its fellows keep, for one worker.
pub struct GateState {
    /// Flows.
    pub flows: FlowTable,
    /// Fragmented datagrams.
    pub fragments: FragmentTable<Onward>,
    /// Clients of Services that keep their backend.
    pub affinities: Affinities,
    /// Which pods put frames into the bridge, and when.
    pub departures: Departures,
    /// The worker's counters.
    pub counters: Counters,
    /// What happened.
    pub events: EventRing,
}

impl GateState {
    /// Room for `flows` flows and `events` events. Nothing is drawn at random.
    pub fn new(flows: usize, events: usize) -> Self {
        Self::picking_up(flows, events, Time::default())
    }

    /// The same, taking up connections in the middle for some time.
    pub fn picking_up(flows: usize, events: usize, pickup_until: Time) -> Self {
        let config = Config {
            capacity: flows,
            secret: HashSecret([0x6f3c_91d2_0b7e_58a4, 0x1d84_e6a7_c923_5fb0]),
            timeouts: Timeouts::default(),
            pickup_until,
        };
        Self {
            flows: FlowTable::new(config).expect("a capacity that a table can have"),
            fragments: FragmentTable::new(64, config.secret).expect("as above"),
            affinities: Affinities::new(64, config.secret.0[0]),
            departures: Departures::new(),
            counters: Counters::new(),
            events: EventRing::new(events),
        }
    }

    /// The gate that a worker would make for a batch.
    pub fn gate<'a>(&'a self, snapshot: &'a Snapshot) -> Gate<'a> {
        Gate {
            snapshot: Some(snapshot),
            flows: &self.flows,
            fragments: &self.fragments,
            affinities: &self.affinities,
            departures: &self.departures,
            counters: &self.counters,
            events: &self.events,
        }
    }

    /// Takes out all events that wait; returns how many.
    pub fn drain_events(&self) -> usize {
        std::iter::from_fn(|| self.events.pop()).count()
    }
}

/// `frame` as the steering puts it on the trunk.
pub fn tagged(tag: Tag, frame: &[u8]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0x00], &tag.tci().to_be_bytes(), rest].concat()
}
