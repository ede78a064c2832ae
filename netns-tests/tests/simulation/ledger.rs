//! What must hold of every frame, and of the sums at the end.
//!
//! * A frame that opens a flow is one that the evaluator allows under the snapshot in force.
//! * Any other that is forwarded belongs to a flow that was opened so, and which the evaluator
//!   still allows, in its initiator's direction, where live flows are decided again.
//! * What is allowed passes: first packets, answers, and segments of a connection that stands.
//! * A drop by policy is by the side that the evaluator blames.
//! * Every frame and every byte is counted once, and every drop, opening and cut is told.

use std::collections::HashMap;
use std::fmt;

use podgate_control::oracle::{Side, Verdict as Judgement};
use podgate_dataplane::events::{Event, EventKind};
use podgate_dataplane::tag::{Passage, Tag};
use podgate_dataplane::verdict::{DropReason, Verdict};
use podgate_flowtable::{Direction, ExpiryCursor, FlowState, FlowView, TcpFlags, TcpState, Time, Tuple};
use podgate_netns_tests::GateState;

use crate::cast::{Cast, port};
use crate::talk::Content;
use crate::wire::Frame;

pub struct Ledger {
    state: GateState,
    cursor: ExpiryCursor,
    /// Flows that were opened and not cut, by the tuple of their opening packet, with the connection that
    /// alone has used them so far.
    opened: HashMap<Tuple, Option<u64>>,
    sums: Sums,
}

/// What happened, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sums {
    pub forwarded: u64,
    pub forwarded_bytes: u64,
    pub dropped: u64,
    pub denied: u64,
    pub opened: u64,
    pub redecided: u64,
    pub cut: u64,
    /// Frames of flows that would not be allowed to open now.
    pub outlived: u64,
    /// Frames of flows against the direction in which they would be allowed to open now.
    pub answers: u64,
    pub expired: u64,
    pub reopened: u64,
}

impl Sums {
    /// What was found to hold is worth little if one kind of traffic never came up.
    pub fn assert_all_came_up(&self) {
        let Self { forwarded, dropped, denied, opened, answers, expired, reopened, .. } = *self;
        assert!(
            [forwarded, dropped, denied, opened, answers, expired].iter().all(|count| *count > 100)
                && reopened > 0,
            "{self:?}"
        );
    }
}

/// One frame, and everything that there is to say of it if something does not hold.
struct Seen<'a> {
    cast: &'a Cast,
    frame: &'a Frame,
    /// Its flow as it was before.
    flow: Option<FlowView>,
    expected: Expected,
    verdict: Verdict,
    event: Option<Event>,
}

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cast, frame, flow, expected, verdict, event } = self;
        writeln!(f, "{:?} at {:?}: {verdict:?}, expected: {expected:?}", frame.packet, frame.tag)?;
        writeln!(f, "flow: {flow:?}\nevent: {event:?}\nthe evaluator: {:?}", cast.verdict(&frame.tuple))
    }
}

/// What is known beforehand of a frame's fate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Forward,
    Drop,
    Either,
}

impl Ledger {
    pub fn new() -> Self {
        Self {
            state: GateState::new(1 << 15, 4),
            cursor: ExpiryCursor::default(),
            opened: HashMap::new(),
            sums: Sums::default(),
        }
    }

    pub fn offered(&self) -> u64 {
        self.sums.forwarded + self.sums.dropped
    }

    /// Some slots at a time, as a worker does.
    pub fn sweep(&mut self, now: Time) {
        self.state.flows.expire(&mut self.cursor, now, 64);
    }

    /// Has the gate judge `frame`; where it goes on to, if it does.
    pub fn offer(&mut self, cast: &Cast, frame: &Frame, now: Time) -> Option<Tag> {
        let flow = self.flow_of(frame, now);
        let user = flow.as_ref().and_then(|flow| *self.opened.get(&flow.original)?);
        let expected = expect(cast, frame, flow.as_ref(), user);
        let mut bytes = frame.bytes.clone();
        let verdict = self.state.gate(cast.snapshot()).step(&mut bytes, now);
        let event = self.state.events.pop();
        assert!(self.state.events.is_empty(), "one frame, one event");
        let seen = Seen { cast, frame, flow, expected, verdict, event };
        match verdict {
            Verdict::Forward(out) => {
                assert_ne!(expected, Expected::Drop, "{seen}");
                self.forwarded(&seen);
                check_way(frame, out, &seen);
                bytes[14..16].copy_from_slice(&frame.tag.tci().to_be_bytes());
                assert_eq!(bytes, frame.bytes, "only its tag changes: {seen}");
                Some(out)
            }
            Verdict::Drop(reason) | Verdict::Reject(reason) => {
                assert_ne!(expected, Expected::Forward, "{seen}");
                assert_eq!(bytes, frame.bytes, "{seen}");
                self.dropped(&seen, reason);
                None
            }
        }
    }

    /// The flow that the frame would belong to.
    fn flow_of(&self, frame: &Frame, now: Time) -> Option<FlowView> {
        // The flow of an echo's asker: the two ends may ask each other.
        let tuple = if frame.is_answer() { frame.tuple.reversed() } else { frame.tuple };
        let (flow, direction) = self.state.flows.find(&tuple)?;
        let is_icmp = matches!(flow.state, FlowState::Icmp(_));
        (now < flow.expires_at && (!is_icmp || direction == Direction::Original)).then_some(flow)
    }

    fn forwarded(&mut self, seen: &Seen<'_>) {
        let Seen { cast, frame, .. } = seen;
        let sums = &mut self.sums;
        sums.forwarded += 1;
        sums.forwarded_bytes += frame.bytes.len() as u64 - 4;
        if let Some(event) = &seen.event {
            assert_eq!(event.kind, EventKind::FlowOpened, "{seen}");
            assert!(cast.allows(&frame.tuple), "opened though denied: {seen}");
            sums.opened += 1;
            if !matches!(frame.packet.content, Content::Echo(_)) {
                self.opened.remove(&frame.tuple.reversed());
            }
            self.opened.insert(frame.tuple, Some(frame.packet.connection));
            return;
        }
        let Some(flow) = &seen.flow else { panic!("forwarded without a flow: {seen}") };
        let Some(user) = self.opened.get_mut(&flow.original) else { panic!("never opened: {seen}") };
        *user = user.filter(|connection| *connection == frame.packet.connection);
        let is_allowed = cast.allows(&flow.original);
        assert!(is_allowed || !cast.rechecks(), "denied meanwhile: {seen}");
        sums.outlived += u64::from(!is_allowed);
        sums.answers += u64::from(flow.original != frame.tuple && !cast.allows(&frame.tuple));
        sums.redecided += u64::from(cast.rechecks() && flow.decision.epoch < cast.snapshot().epoch);
    }

    fn dropped(&mut self, seen: &Seen<'_>, reason: DropReason) {
        self.sums.dropped += 1;
        assert_eq!(seen.frame.is_spoofed, reason == DropReason::SpoofedIp, "{seen}");
        let Some(Event { kind, tuple: Some(judged), .. }) = seen.event else { panic!("not told: {seen}") };
        let is_cut = kind == EventKind::FlowCut;
        if is_cut {
            assert!(self.opened.remove(&judged).is_some(), "cut, never opened: {seen}");
            self.sums.cut += 1;
        } else {
            assert_eq!((kind, judged), (EventKind::Dropped, seen.frame.tuple), "{seen}");
        }
        let blamed = match seen.cast.verdict(&judged) {
            Judgement { egress: Side::Denied, .. } => Some(DropReason::PolicyEgress),
            Judgement { ingress: Side::Denied, .. } => Some(DropReason::PolicyIngress),
            _ => None,
        };
        if is_cut || matches!(reason, DropReason::PolicyEgress | DropReason::PolicyIngress) {
            assert_eq!(Some(reason), blamed, "{seen}");
            self.sums.denied += 1;
        }
    }

    /// The sums, once the gate's own have been found to agree.
    pub fn close(self) -> Sums {
        let Self { state, sums, .. } = self;
        let total = state.counters.total();
        let packets = [total.from_pod.packets, total.to_pod.packets];
        assert_eq!(packets.iter().sum::<u64>(), sums.forwarded);
        assert_eq!(total.from_pod.bytes + total.to_pod.bytes, sums.forwarded_bytes);
        assert_eq!(total.drops().map(|(_, count)| count).sum::<u64>(), sums.dropped);
        assert_eq!(total.flows_opened, sums.opened);
        assert_eq!(total.flows_redecided, sums.redecided);
        assert_eq!(total.flows_cut, sums.cut);
        assert_eq!(state.events.lost(), 0);
        let flows = state.flows.stats();
        assert_eq!((flows.opened, flows.removed), (sums.opened, sums.cut));
        assert_eq!((flows.evicted, flows.full), (0, 0));
        assert_eq!(flows.opened, state.flows.len() as u64 + flows.expired + flows.removed + flows.reopened);
        Sums { expired: flows.expired, reopened: flows.reopened, ..sums }
    }
}

/// What must become of a frame, as far as it does not hang on TCP's finer points. `user` is the one
/// connection that has used the flow; the segments of another may be out of its windows.
fn expect(cast: &Cast, frame: &Frame, flow: Option<&FlowView>, user: Option<u64>) -> Expected {
    let came_from_bridge = frame.tag.passage == Passage::ToPod && port(frame.packet.from).is_some();
    match judged(cast, frame, flow, user) {
        // Only believed just after the pod has sent it.
        Expected::Forward if came_from_bridge => Expected::Either,
        known => known,
    }
}

/// The same, if nobody could have forged it.
fn judged(cast: &Cast, frame: &Frame, flow: Option<&FlowView>, user: Option<u64>) -> Expected {
    let if_allowed = |tuple| if cast.allows(tuple) { Expected::Forward } else { Expected::Drop };
    if frame.is_spoofed {
        return Expected::Drop;
    }
    let Some(flow) = flow else {
        let may_open = match frame.packet.content {
            Content::Tcp { flags, .. } => flags == TcpFlags::SYN,
            Content::Echo(_) => !frame.is_answer(),
            Content::Udp => true,
        };
        return if may_open { if_allowed(&frame.tuple) } else { Expected::Drop };
    };
    let stands = !cast.rechecks() || cast.allows(&flow.original);
    match frame.packet.content {
        Content::Tcp { flags, .. } => {
            let is_plain = !flags.contains(TcpFlags::SYN)
                && !flags.contains(TcpFlags::FIN)
                && !flags.contains(TcpFlags::RST);
            let is_standing =
                flow.state == FlowState::Tcp(TcpState::Established) && user == Some(frame.packet.connection);
            match (stands, is_plain && is_standing) {
                (true, true) => Expected::Forward,
                // A connection that is over may open again by a SYN, decided anew.
                (false, _) if flags != TcpFlags::SYN => Expected::Drop,
                _ => Expected::Either,
            }
        }
        Content::Udp | Content::Echo(_) if stands => Expected::Forward,
        Content::Udp | Content::Echo(_) => Expected::Drop,
    }
}

/// Out the way it was going, or straight to the pod that it is for.
fn check_way(frame: &Frame, out: Tag, seen: &Seen<'_>) {
    let shortcut = match (frame.tag.passage, port(frame.packet.to)) {
        (Passage::FromPod, Some(receiver)) => Some(Tag::to_pod(receiver)),
        _ => None,
    };
    assert!(out == frame.tag || Some(out) == shortcut, "{seen}");
}
