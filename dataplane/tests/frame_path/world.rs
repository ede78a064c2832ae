//! A gate in memory, and every effect that a frame has on it.

use podgate_dataplane::counters::{Counters, PortCounts};
use podgate_dataplane::departures::Departures;
use podgate_dataplane::events::{Event, EventKind, EventRing};
use podgate_dataplane::mac::Mac;
use podgate_dataplane::onward::Onward;
use podgate_dataplane::policy::Cause;
use podgate_dataplane::service::Affinities;
use podgate_dataplane::snapshot::{Snapshot, Switches};
use podgate_dataplane::step::Gate;
use podgate_dataplane::tag::{Passage, PortId, Tag};
use podgate_dataplane::verdict::{Causes, DropReason, Verdict};
use podgate_flowtable::{Config, FlowTable, FragmentTable, HashSecret, Quota, Time, Timeouts};

pub use crate::cluster::*;

pub struct World {
    pub snapshot: Option<Snapshot>,
    pub flows: FlowTable,
    pub fragments: FragmentTable<Onward>,
    pub affinities: Affinities,
    pub departures: Departures,
    pub counters: Counters,
    pub events: EventRing,
}

/// Every counter that moved: port (0: none), name, by how much.
pub type Moved = Vec<(u16, String, u64)>;

/// What one frame did.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
    pub counted: Moved,
    pub events: Vec<Event>,
    /// Flows in the table before and after.
    pub flows: [usize; 2],
    taken_up: Option<Tag>,
}

impl World {
    pub fn new() -> Self {
        Self::with_capacity(1024)
    }

    pub fn with_capacity(capacity: usize) -> Self {
        Self::with_flows(capacity, Time::default())
    }

    /// One in which no port may have more flows than that.
    pub fn with_quota(flows: u32, half_open: u32) -> Self {
        let world = Self::new();
        Self { flows: world.flows.with_quota(Quota { flows, half_open }), ..world }
    }

    /// One that takes up connections in the middle until then.
    pub fn picking_up(pickup_until: Time) -> Self {
        Self::with_flows(1024, pickup_until)
    }

    fn with_flows(capacity: usize, pickup_until: Time) -> Self {
        let flows = FlowTable::new(Config {
            capacity,
            secret: HashSecret([1, 2]),
            timeouts: Timeouts::default(),
            pickup_until,
        });
        Self {
            snapshot: Some(snapshot(1, policy(false), Switches::default())),
            flows: flows.unwrap(),
            fragments: FragmentTable::new(64, HashSecret([3, 4])).unwrap(),
            affinities: Affinities::new(64, 7),
            departures: Departures::new(),
            counters: Counters::new(),
            events: EventRing::new(16),
        }
    }

    pub fn gate(&self) -> Gate<'_> {
        Gate {
            snapshot: self.snapshot.as_ref(),
            flows: &self.flows,
            fragments: &self.fragments,
            affinities: &self.affinities,
            departures: &self.departures,
            counters: &self.counters,
            events: &self.events,
        }
    }

    pub fn send_at(&self, frame: &[u8], now: Time) -> Outcome {
        let flows_before = self.flows.len();
        assert!(self.events.is_empty());
        let mut after = frame.to_vec();
        let (verdict, counted) = self.counting(|| self.gate().step(&mut after, now));
        let taken_up = match frame.get(12..16) {
            Some(&[0x81, 0x00, high, low]) => Tag::from_tci(u16::from_be_bytes([high, low])),
            _ => None,
        };
        Outcome {
            verdict,
            before: frame.to_vec(),
            after,
            counted,
            events: std::iter::from_fn(|| self.events.pop()).collect(),
            flows: [flows_before, self.flows.len()],
            taken_up,
        }
    }

    pub fn send(&self, frame: &[u8]) -> Outcome {
        self.send_at(frame, secs(10))
    }

    /// Does it, and says which counters moved.
    pub fn counting<T>(&self, act: impl FnOnce() -> T) -> (T, Moved) {
        let counts = self.counts();
        let done = act();
        let pairs = counts.iter().zip(self.counts());
        (done, pairs.flat_map(|((port, before), (_, after))| moved(*port, before, &after)).collect())
    }

    fn counts(&self) -> Vec<(u16, PortCounts)> {
        let ports = [None].into_iter().chain((1..2048).map(PortId::new));
        ports.map(|port| (port.map_or(0, PortId::number), self.counters.port(port))).collect()
    }
}

fn moved(port: u16, before: &PortCounts, after: &PortCounts) -> Moved {
    let fields = |counts: &PortCounts| {
        let mut fields = vec![
            ("from-pod packets".to_owned(), counts.from_pod.packets),
            ("from-pod bytes".to_owned(), counts.from_pod.bytes),
            ("to-pod packets".to_owned(), counts.to_pod.packets),
            ("to-pod bytes".to_owned(), counts.to_pod.bytes),
            ("opened".to_owned(), counts.flows_opened),
            ("redecided".to_owned(), counts.flows_redecided),
            ("cut".to_owned(), counts.flows_cut),
        ];
        fields
            .extend(DropReason::ALL.iter().map(|&reason| (reason.name().to_owned(), counts.dropped(reason))));
        fields
    };
    let pairs = fields(before).into_iter().zip(fields(after));
    pairs.filter(|(b, a)| b.1 != a.1).map(|(b, a)| (port, a.0, a.1 - b.1)).collect()
}

impl Outcome {
    fn port(&self) -> u16 {
        self.taken_up.map_or(0, |tag| tag.port.number())
    }

    fn counted_forward(&self) -> Moved {
        let way = match self.taken_up.unwrap().passage {
            Passage::FromPod => "from-pod",
            Passage::ToPod => "to-pod",
        };
        let bytes = self.before.len() as u64 - 4;
        vec![(self.port(), format!("{way} packets"), 1), (self.port(), format!("{way} bytes"), bytes)]
    }

    #[track_caller]
    fn assert_bytes(&self, tag: Tag, destination: Option<Mac>) {
        let mut expected = self.before.clone();
        expected[14..16].copy_from_slice(&tag.tci().to_be_bytes());
        if let Some(mac) = destination {
            expected[..6].copy_from_slice(&mac.0);
        }
        assert_eq!(self.after, expected);
    }

    /// It went on to `tag`; nothing else happened.
    #[track_caller]
    pub fn forwarded(&self, tag: Tag) {
        assert_eq!(self.verdict, Verdict::Forward(tag));
        self.assert_bytes(tag, None);
        assert_eq!(self.counted, self.counted_forward());
        assert_eq!(self.events, []);
        assert_eq!(self.flows[1], self.flows[0]);
    }

    /// It went on to `tag` with another destination MAC address; nothing else happened.
    #[track_caller]
    pub fn readdressed(&self, tag: Tag, destination: Mac) {
        assert_eq!(self.verdict, Verdict::Forward(tag));
        self.assert_bytes(tag, Some(destination));
        assert_eq!(self.counted, self.counted_forward());
        assert_eq!(self.events, []);
        assert_eq!(self.flows[1], self.flows[0]);
    }

    /// It opened a flow and went on to `tag`.
    #[track_caller]
    pub fn opened(&self, tag: Tag, egress: Cause, ingress: Cause) {
        assert_eq!(self.verdict, Verdict::Forward(tag));
        self.assert_bytes(tag, None);
        let mut counted = self.counted_forward();
        counted.push((self.port(), "opened".to_owned(), 1));
        assert_eq!(self.counted, counted);
        assert_eq!(self.flows[1], self.flows[0] + 1);
        let [event] = &self.events[..] else { panic!("{:?}", self.events) };
        assert_eq!(event.kind, EventKind::FlowOpened);
        assert_eq!(event.causes, Some(Causes { egress, ingress }));
        self.assert_event(event);
    }

    /// It was dropped; nothing else happened.
    #[track_caller]
    pub fn dropped(&self, reason: DropReason) -> &Event {
        self.counted_as(reason);
        let [event] = &self.events[..] else { panic!("{:?}", self.events) };
        assert_eq!(event.kind, EventKind::Dropped);
        self.assert_event(event);
        event
    }

    /// It was dropped as what the bridge floods: counted, and nobody's news.
    #[track_caller]
    pub fn not_for_this_pod(&self) {
        self.counted_as(DropReason::NotForThisPod);
        assert_eq!(self.events, []);
    }

    #[track_caller]
    fn counted_as(&self, reason: DropReason) {
        assert_eq!(self.verdict, Verdict::Drop(reason));
        assert_eq!(self.after, self.before);
        assert_eq!(self.counted, [(self.port(), reason.name().to_owned(), 1)]);
        assert_eq!(self.flows[1], self.flows[0]);
    }

    /// It was dropped by policy; nothing else happened.
    #[track_caller]
    pub fn denied(&self, reason: DropReason, egress: Cause, ingress: Cause) {
        assert_eq!(self.dropped(reason).causes, Some(Causes { egress, ingress }));
    }

    #[track_caller]
    pub fn assert_event(&self, event: &Event) {
        assert_eq!(event.verdict, self.verdict);
        assert_eq!(event.tag, self.taken_up);
        assert_eq!(event.len_bytes as usize, self.before.len().saturating_sub(4));
    }
}
