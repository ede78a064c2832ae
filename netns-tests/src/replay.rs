//! Captured TCP segments, run through the flow table as if a gateway met them.

mod gate;
mod seen;

use std::fmt::Write as _;

use podgate_dataplane::parse::{Body, Parsed, Payload};
use podgate_dataplane::tag::{PortId, Tag};
use podgate_flowtable::{
    Config, Decision, Epoch, ExpiryCursor, ExportedFlow, FlowTable, FlowView, HashSecret, Packet, Refusal,
    TcpFlags, TcpSegment, Time, Timeouts, Track, Transport, Tuple, Way,
};

use crate::capture::Captured;
use crate::gate::tagged;
use crate::rough::Draw;

pub use gate::assert_forwarded;
pub use seen::Seen;

/// Segments in the order in which they passed.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// When, and what.
    pub segments: Vec<(Time, Packet)>,
}

/// How the table meets the segments. Numbers are seeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// One after the other.
    Once,
    /// Each twice in a row, as one that passes two ports.
    Twice,
    /// Some overtaken by the next one of the same sender.
    Overtaken(u64),
    /// Flows handed from table to table now and then, as over a restart.
    CarriedOver(u64),
    /// From somewhere in the middle, by a table that takes up what is there.
    TakenUp(u64),
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Segments that were admitted.
    pub admitted: usize,
    /// Positions of those that were not, and why.
    pub refused: Vec<(usize, Refusal)>,
    /// The flows at the end.
    pub flows: Vec<FlowView>,
}

impl Trace {
    /// Parses every frame; panics if one is no TCP segment, or is dropped for its form.
    #[track_caller]
    pub fn of(frames: &[Captured]) -> Self {
        let tag = Tag::from_pod(PortId::new(1).expect("a port"));
        let parsed = frames.iter().map(|captured| {
            let parsed = Parsed::from_frame(&tagged(tag, &captured.frame()));
            match parsed.map(|parsed| parsed.body) {
                Ok(Body::Ip(ip)) => match ip.payload {
                    Payload::Packet { packet, .. } if matches!(packet.transport, Transport::Tcp(_)) => {
                        (captured.time, packet)
                    }
                    other => panic!("no TCP segment: {other:?}"),
                },
                other => panic!("{other:?}: {captured:?}"),
            }
        });
        Self { segments: parsed.collect() }
    }

    /// Runs all of it through a table.
    #[track_caller]
    pub fn run(&self, manner: Manner) -> Outcome {
        let (mut first, mut pickup_until) = (0, Time::default());
        let mut draw = Draw(0);
        match manner {
            Manner::Once | Manner::Twice => {}
            Manner::Overtaken(seed) | Manner::CarriedOver(seed) => draw = Draw(seed),
            Manner::TakenUp(seed) => {
                draw = Draw(seed);
                first = draw.below(self.segments.len() as u64) as usize;
                pickup_until = Time::from_nanos(u64::MAX);
            }
        }
        let mut segments: Vec<(usize, Time, Packet)> =
            self.segments.iter().enumerate().map(|(at, (time, packet))| (at, *time, *packet)).collect();
        if let Manner::Overtaken(_) = manner {
            overtake(&mut segments, &mut draw);
        }
        let mut flows = table(pickup_until);
        let mut cursor = ExpiryCursor::default();
        let mut outcome = Outcome { admitted: 0, refused: Vec::new(), flows: Vec::new() };
        for (at, now, packet) in segments.into_iter().skip(first) {
            flows.expire(&mut cursor, now, 8);
            for _ in 0..if manner == Manner::Twice { 2 } else { 1 } {
                match meet(&flows, &packet, now) {
                    Ok(()) => outcome.admitted += 1,
                    Err(refusal) => outcome.refused.push((at, refusal)),
                }
            }
            if matches!(manner, Manner::CarriedOver(_)) && draw.below(100) == 0 {
                flows = carried_over(&flows, now);
            }
        }
        outcome.flows = flows.views().collect();
        outcome
    }

    /// The last segments of the connection of segment `at`, up to that one, for people.
    pub fn story(&self, at: usize) -> String {
        const LINES: usize = 16;
        let (_, last) = &self.segments[at];
        let of_it = |tuple: &Tuple| *tuple == last.tuple || *tuple == last.tuple.reversed();
        let before = self.segments[..=at].iter().enumerate().rev().filter(|(_, (_, it))| of_it(&it.tuple));
        let mut story = String::new();
        for (number, (time, packet)) in before.take(LINES).collect::<Vec<_>>().into_iter().rev() {
            let Tuple { source_port, destination_port, .. } = packet.tuple;
            let _ = writeln!(
                story,
                "{number} {:.6} {source_port} > {destination_port} {:?}",
                time.nanos() as f64 / 1e9,
                packet.transport
            );
        }
        story
    }

    /// Asserts that the table, whatever the manner, admits every segment. Returns the flows at the
    /// end of the plain one.
    #[track_caller]
    pub fn assert_admitted(&self, seed: u64) -> Vec<FlowView> {
        let mut flows = Vec::new();
        for manner in [
            Manner::Once,
            Manner::Twice,
            Manner::Overtaken(seed),
            Manner::Overtaken(seed + 1),
            Manner::CarriedOver(seed),
            Manner::TakenUp(seed),
            Manner::TakenUp(seed + 1),
            Manner::TakenUp(seed + 2),
        ] {
            let outcome = self.run(manner);
            // Nothing is known of a connection whose end was all that was seen.
            let taken_up = matches!(manner, Manner::TakenUp(_));
            let wrong = outcome.refused.iter().find(|(_, refusal)| !taken_up || *refusal != Refusal::NoFlow);
            if let Some((at, refusal)) = wrong {
                let count = outcome.refused.len();
                panic!("{manner:?}: {count} refused, the first as {refusal:?}:\n{}", self.story(*at));
            }
            if manner == Manner::Once {
                flows = outcome.flows;
            }
        }
        flows
    }
}

/// The segment of a packet of a trace.
pub fn segment_of(packet: &Packet) -> &TcpSegment {
    match &packet.transport {
        Transport::Tcp(segment) => segment,
        other => panic!("no TCP: {other:?}"),
    }
}

fn table(pickup_until: Time) -> FlowTable {
    let secret = HashSecret([0x51d7_0a63_fe21_90bc, 0x2b84_77c1_e50f_a3d9]);
    let config = Config { capacity: 4096, secret, timeouts: Timeouts::default(), pickup_until };
    FlowTable::new(config).expect("a capacity that a table can have")
}

fn meet(flows: &FlowTable, packet: &Packet, now: Time) -> Result<(), Refusal> {
    match flows.track(packet, now) {
        Track::Known(_) => Ok(()),
        Track::Denied(known) => panic!("nothing was cut: {known:?}"),
        Track::Refused(refusal) => Err(refusal),
        Track::MayOpen => {
            let decision = Decision { epoch: Epoch(1), egress: 0, ingress: 0, way: Way::Shortcut, owner: 1 };
            flows.open(packet, decision, now).expect("there is room");
            Ok(())
        }
    }
}

/// Lets one segment in eight be overtaken by the next, if both are of one sender and connection. None
/// is moved past a SYN: it would be a straggler of another connection, and may be refused.
fn overtake(segments: &mut [(usize, Time, Packet)], draw: &mut Draw) {
    for at in 1..segments.len() {
        let [(first, _, one), (second, _, other)] = &mut segments[at - 1..=at] else { continue };
        let is_syn = |packet: &Packet| segment_of(packet).flags.contains(TcpFlags::SYN);
        if one.tuple == other.tuple && !is_syn(one) && !is_syn(other) && draw.below(8) == 0 {
            std::mem::swap(first, second);
            std::mem::swap(one, other);
        }
    }
}

/// A table with the same flows, which were bytes in between.
fn carried_over(flows: &FlowTable, now: Time) -> FlowTable {
    let next = table(Time::default());
    for flow in flows.export() {
        let flow = ExportedFlow::from_bytes(&flow.to_bytes()).expect("as it was written");
        // One that has expired meanwhile stays behind.
        let _ = next.import(&flow, now);
    }
    next
}
