//! Packets that are part of a flow or open one.

use podgate_flowtable::{
    Addr, Decision, Direction, Exceeded, IpProtocol, Known, OpenError, Packet, Refusal as TrackRefusal,
    SPARED, Seek, TcpFlags, Time, Track, Transport, Tuple, Way,
};

use super::recheck::NOBODYS;
use super::service::{Choice, PORTS_TRIED};
use super::{Gate, Place, Refusal, Subject, tunnel};
use crate::events::EventKind;
use crate::onward::Onward;
use crate::policy::{Cause, Endpoint, EndpointKind, PolicyVerdict};
use crate::service::Found;
use crate::snapshot::Snapshot;
use crate::tag::{Passage, PortId, Tag};
use crate::verdict::{Causes, DropReason, Verdict};

/// What came of opening a flow.
enum Opening<'c, 's> {
    Opened(Onward),
    /// The client has these very ports in use with the backend chosen for it.
    Clash(&'c Choice<'s>),
}

impl Gate<'_> {
    /// Where `packet` goes on to.
    #[inline]
    pub(super) fn judge_flow(
        &self,
        place: &Place<'_>,
        packet: &Packet,
        seek: Option<&Seek>,
        subject: &Subject<'_>,
        now: Time,
    ) -> Result<Onward, Refusal> {
        let track = match seek {
            Some(seek) => self.flows.track_at(seek, packet, now),
            None => self.flows.track(packet, now),
        };
        let track = match track {
            Track::Known(known) | Track::Denied(known) if place.is_a_formers(&known) => {
                self.forget_formers(place, packet, &known, subject, now)
            }
            track => track,
        };
        match track {
            Track::Known(known) if self.has_no_backend(place, &known) => {
                self.flows.remove(known.id);
                match self.flows.track(packet, now) {
                    Track::MayOpen => self.open(place, packet, subject, now),
                    _ => Err(DropReason::NoFlow.into()),
                }
            }
            // By the backend's own address, from a port that is in use for it by the Service's.
            Track::Known(known)
                if known.is_called_otherwise && place.header.tag.passage == Passage::FromPod =>
            {
                let called = self.flows.find(&known.original).and_then(|(flow, _)| flow.called);
                Err(Refusal { called, ..DropReason::ServiceClash.into() })
            }
            Track::Known(known) => self.judge_known(place, &packet.tuple, &known, now),
            Track::Denied(known) => self.judge_denied(place, packet, &known, subject, now),
            Track::MayOpen => self.judge_unknown(place, packet, None, subject, now),
            Track::Refused(refusal) => self.judge_unknown(place, packet, Some(refusal), subject, now),
        }
    }

    /// A packet that is part of no flow by its own tuple, and may open one unless that was `refused`.
    #[inline]
    fn judge_unknown(
        &self,
        place: &Place<'_>,
        packet: &Packet,
        refused: Option<TrackRefusal>,
        subject: &Subject<'_>,
        now: Time,
    ) -> Result<Onward, Refusal> {
        let asked = place.asked(&packet.tuple);
        if let Some((tuple, known)) = self.find_hairpin(place, asked, packet, now) {
            return self.judge_known(place, &tuple, &known, now);
        }
        match refused {
            None => self.open_asked(place, packet, asked, subject, now),
            Some(refusal) => Err(reason(refusal).into()),
        }
    }

    /// A pod that had one of its addresses before has left this flow behind; the packet is judged as if
    /// it were not there.
    #[cold]
    fn forget_formers(
        &self,
        place: &Place<'_>,
        packet: &Packet,
        known: &Known,
        subject: &Subject<'_>,
        now: Time,
    ) -> Track {
        if self.flows.remove(known.id) {
            self.counters.count_flow_cut(place.header.tag.port);
            let gone = Verdict::Drop(DropReason::UnknownEndpoint);
            let what = (Some(known.original), self.flows.called(known));
            self.tell(EventKind::FlowCut, subject, what, gone, Some(NOBODYS), now);
        }
        match self.flows.track(packet, now) {
            // Another worker, in the midst of a batch by an older snapshot, has opened it anew.
            Track::Known(known) | Track::Denied(known) if place.is_a_formers(&known) => {
                Track::Refused(TrackRefusal::NoFlow)
            }
            track => track,
        }
    }

    /// `tuple` is of the packet at hand.
    #[inline]
    pub(super) fn judge_known(
        &self,
        place: &Place<'_>,
        tuple: &Tuple,
        known: &Known,
        now: Time,
    ) -> Result<Onward, Refusal> {
        self.check_known(place, tuple, known, now)?;
        Ok(self.onward(place, tuple, known))
    }

    /// Whether a packet of a known flow may go on. `tuple` is of the packet at hand, which may be an ICMP error
    /// about the flow.
    #[inline]
    pub(super) fn check_known(
        &self,
        place: &Place<'_>,
        tuple: &Tuple,
        known: &Known,
        now: Time,
    ) -> Result<(), Refusal> {
        let decision = &known.decision;
        // Older, not other: another worker may already decide by a newer snapshot than this one.
        let is_stale = place.snapshot.switches.recheck_live_flows && decision.epoch < place.snapshot.epoch;
        let is_undecided = is_stale || !place.has_judged_pod(known, known.direction);
        // What a local pod sends on a shortcut never comes from the bridge.
        if place.header.tag.passage == Passage::ToPod
            && (is_undecided || place.has_judged_pod(known, known.direction.opposite()))
        {
            self.check_vouched(&place.snapshot.resolve(tuple.source), now)?;
        }
        if is_undecided {
            self.decide_again(place, known, now)?;
        }
        Ok(())
    }

    /// In the initiator's direction, whichever way the packet at hand goes.
    #[cold]
    fn decide_again(&self, place: &Place<'_>, known: &Known, now: Time) -> Result<(), Refusal> {
        let port = place.header.tag.port;
        let original = &known.original;
        let ends = place.known_ends(original, place.is_initiator(known.direction))?;
        let causes = place.decide(&ends, original);
        let decision = Decision {
            // By an older snapshot than the flow's own, it has to be judged by the newer one after this.
            epoch: place.snapshot.epoch,
            egress: causes.egress.code(),
            ingress: causes.ingress.code(),
            ..known.decision
        };
        let Err(reason) = allowed(causes) else {
            if self.flows.redecide(known.id, decision) {
                self.counters.count_flow_redecided(port);
            }
            return Ok(());
        };
        // Another worker may have been faster; the flow is cut once.
        let mut kind = EventKind::Dropped;
        if self.flows.cut(known.id, decision, now) {
            self.counters.count_flow_cut(port);
            kind = EventKind::FlowCut;
        }
        let called = self.flows.called(known);
        Err(Refusal { reason, causes: Some(causes), kind, judged: Some(*original), called })
    }

    pub(super) fn open(
        &self,
        place: &Place<'_>,
        packet: &Packet,
        subject: &Subject<'_>,
        now: Time,
    ) -> Result<Onward, Refusal> {
        self.open_asked(place, packet, place.asked(&packet.tuple), subject, now)
    }

    /// Opens the flow of a packet that asks for `asked`.
    fn open_asked(
        &self,
        place: &Place<'_>,
        packet: &Packet,
        asked: Found<'_>,
        subject: &Subject<'_>,
        now: Time,
    ) -> Result<Onward, Refusal> {
        let mut choice = self.choose(asked, place, packet, now)?;
        for _ in 0..PORTS_TRIED {
            let opening = self.open_chosen(place, packet, choice.as_ref(), subject, now);
            let opening = opening.map_err(|refusal| refusal.about(packet, choice.as_ref()))?;
            let again = match opening {
                Opening::Opened(onward) => return Ok(onward),
                Opening::Clash(choice) => self.choose_again(packet, choice),
            };
            let Some(again) = again else { break };
            choice = Some(again);
        }
        Err(Refusal::from(DropReason::ServiceClash).about(packet, choice.as_ref()))
    }

    #[inline]
    fn open_chosen<'c, 's>(
        &self,
        place: &Place<'s>,
        packet: &Packet,
        choice: Option<&'c Choice<'s>>,
        subject: &Subject<'_>,
        now: Time,
    ) -> Result<Opening<'c, 's>, Refusal> {
        let tag = place.header.tag;
        let really = choice.map_or(*packet, |choice| choice.translated(packet));
        let called = choice.map(|_| packet.tuple.destination());
        let tuple = &really.tuple;
        if choice.is_some() {
            tunnel::check_packet(place, &really)?;
        }
        let ends = place.known_ends(tuple, tag.passage == Passage::FromPod)?;
        if tag.passage == Passage::ToPod {
            self.check_vouched(&ends.0, now)?;
        }
        let causes = place.decide(&ends, tuple);
        if let Err(reason) = allowed(causes) {
            return Err(Refusal { causes: Some(causes), ..reason.into() });
        }
        let way = match choice {
            // The gateway readdresses it, wherever the client has sent it.
            Some(choice) if place.local(choice.becomes.addr).is_some() => Way::Shortcut,
            Some(_) => Way::Bridge,
            None => place.opening_way(packet),
        };
        let decision = Decision {
            epoch: place.snapshot.epoch,
            egress: causes.egress.code(),
            ingress: causes.ingress.code(),
            way,
            owner: owner(tag, &ends.0),
        };
        let opened = match choice {
            None => self.flows.open(packet, decision, now),
            Some(choice) => self.open_to_backend(packet, choice, decision, now),
        };
        match opened {
            Ok(_) => {}
            Err(OpenError::Full) => return Err(DropReason::FlowTableFull.into()),
            Err(OpenError::Quota(Exceeded::Flows)) => return Err(DropReason::FlowQuota.into()),
            Err(OpenError::Quota(Exceeded::HalfOpen)) => return Err(DropReason::HalfOpenQuota.into()),
            Err(OpenError::NotAnOpener(refusal)) => return Err(reason(refusal).into()),
            Err(OpenError::Exists(_)) => {
                // Another worker opened it since `track`: it is that flow's packet now.
                return match (self.flows.track(packet, now), choice) {
                    (Track::Known(known), _) => {
                        Ok(Opening::Opened(self.judge_known(place, &packet.tuple, &known, now)?))
                    }
                    (Track::MayOpen, Some(choice)) => Ok(Opening::Clash(choice)),
                    (Track::Denied(_) | Track::MayOpen, _) => Err(DropReason::NoFlow.into()),
                    (Track::Refused(refusal), _) => Err(reason(refusal).into()),
                };
            }
        }
        self.counters.count_flow_opened(tag.port);
        self.keep_backend(packet, choice, now);
        let onward = match choice {
            None => Onward::unchanged(place.way_out(tuple.destination, way)),
            Some(choice) => place.translate(&packet.tuple, way, choice.rewrite()),
        };
        let judged = choice.map(|_| *tuple);
        let verdict = Verdict::Forward(onward.tag);
        self.tell(EventKind::FlowOpened, subject, (judged, called), verdict, Some(causes), now);
        Ok(Opening::Opened(onward))
    }

    /// From the bridge, a local pod's address is believed only if that pod has just put a packet
    /// into it.
    pub(super) fn check_vouched(&self, source: &Endpoint, now: Time) -> Result<(), DropReason> {
        match source.kind {
            EndpointKind::LocalPod { port: Some(port) } if self.departures.is_recent(port, now) => Ok(()),
            EndpointKind::LocalPod { .. } => Err(DropReason::SpoofedLocal),
            _ => Ok(()),
        }
    }
}

impl Place<'_> {
    /// Whether the pod of this port opened the flow that a packet in `direction` belongs to.
    #[inline]
    pub(super) fn is_initiator(&self, direction: Direction) -> bool {
        (self.header.tag.passage == Passage::FromPod) == (direction == Direction::Original)
    }

    /// Whether this port's pod had its say when the flow was decided; the other end's, if `direction` is
    /// not the packet's but the opposite. It had none if it was not known as a local pod then; nothing
    /// passes its port on the other end's word alone.
    #[inline]
    fn has_judged_pod(&self, known: &Known, direction: Direction) -> bool {
        const NOT_LOCAL: u32 = Cause::NotLocal.code();
        let Decision { egress, ingress, .. } = known.decision;
        (if self.is_initiator(direction) { egress } else { ingress }) != NOT_LOCAL
    }

    /// Whether the flow was decided for another pod, that had one of its addresses before.
    #[inline]
    pub(super) fn is_a_formers(&self, known: &Known) -> bool {
        self.snapshot.handovers.outdate(&known.original, known.decision.epoch)
    }

    /// Source and destination. The one at this port is its pod, whatever address of its own it uses.
    pub(super) fn ends(
        &self,
        tuple: &Tuple,
        pod_is_source: bool,
    ) -> Result<(Endpoint, Endpoint), DropReason> {
        let pod = |addr| self.snapshot.pod(self.header.tag.port, addr).ok_or(DropReason::UnknownEndpoint);
        Ok(if pod_is_source {
            (pod(tuple.source)?, self.snapshot.resolve(tuple.destination))
        } else {
            (self.snapshot.resolve(tuple.source), pod(tuple.destination)?)
        })
    }

    /// Likewise, if both are known: an address of this node's pods that no pod has is as closed as a
    /// port that no pod is behind. Its pod may have come a moment ago, and nobody knows its policy yet.
    fn known_ends(&self, tuple: &Tuple, pod_is_source: bool) -> Result<(Endpoint, Endpoint), DropReason> {
        let ends = self.ends(tuple, pod_is_source)?;
        let (other, addr) = if pod_is_source { (ends.1, tuple.destination) } else { (ends.0, tuple.source) };
        if other.kind == EndpointKind::Outside && self.snapshot.is_for_pods(addr) {
            return Err(DropReason::UnknownEndpoint);
        }
        Ok(ends)
    }

    pub(super) fn decide(&self, ends: &(Endpoint, Endpoint), tuple: &Tuple) -> Causes {
        decide(self.snapshot, ends, tuple)
    }

    /// Straight to the other pod only if the frame was on its way there: what goes to the gateway's
    /// MAC address wants the host's routing and translation. A connection picked up in the middle
    /// may have been through them, so it goes through them again.
    fn opening_way(&self, packet: &Packet) -> Way {
        let is_shortcut = self.header.tag.passage == Passage::FromPod
            && !is_picked_up(packet)
            && self.receiver(packet.tuple.destination).is_some();
        if is_shortcut { Way::Shortcut } else { Way::Bridge }
    }

    #[inline]
    pub(super) fn way_out(&self, destination: Addr, way: Way) -> Tag {
        let tag = self.header.tag;
        match (tag.passage, way) {
            (Passage::FromPod, Way::Shortcut) => self.receiver(destination).map_or(tag, Tag::to_pod),
            (Passage::FromPod, Way::Bridge) | (Passage::ToPod, _) => tag,
        }
    }

    /// The port of the local pod that has both the frame's destination addresses, IP and MAC.
    #[inline]
    fn receiver(&self, destination: Addr) -> Option<PortId> {
        match self.snapshot.resolve(destination).kind {
            EndpointKind::LocalPod { port: Some(port) } => {
                let pod = self.snapshot.binding(port)?;
                (pod.mac == self.header.destination).then_some(port)
            }
            _ => None,
        }
    }
}

/// Whom a flow from `source` counts for.
const fn owner(tag: Tag, source: &Endpoint) -> u16 {
    match (tag.passage, source.kind) {
        // Through a Service, by the host: the pod that asks pays, not the one that is asked.
        (Passage::ToPod, EndpointKind::LocalPod { port: Some(port) }) => Tag::from_pod(port).owner(),
        // A node reaches its own pods, whatever comes to them from elsewhere: its probes are not to be
        // refused for a flood, its own masquerade's included.
        (Passage::ToPod, EndpointKind::OwnNode) => tag.owner() | SPARED,
        _ => tag.owner(),
    }
}

/// What policy says of a flow that opens with `tuple`.
pub(super) fn decide(
    snapshot: &Snapshot,
    (source, destination): &(Endpoint, Endpoint),
    tuple: &Tuple,
) -> Causes {
    // An ICMP identifier is no port.
    let port = match tuple.protocol {
        IpProtocol::TCP | IpProtocol::UDP | IpProtocol::SCTP => tuple.destination_port,
        _ => 0,
    };
    let PolicyVerdict { egress, ingress } = snapshot.decide(source, destination, tuple.protocol, port);
    Causes { egress, ingress }
}

/// Whether both sides allow, or which one does not.
pub(super) const fn allowed(causes: Causes) -> Result<(), DropReason> {
    if !causes.egress.allows() {
        Err(DropReason::PolicyEgress)
    } else if !causes.ingress.allows() {
        Err(DropReason::PolicyIngress)
    } else {
        Ok(())
    }
}

pub(super) const fn is_picked_up(packet: &Packet) -> bool {
    match packet.transport {
        Transport::Tcp(segment) => {
            !segment.flags.contains(TcpFlags::SYN) || segment.flags.contains(TcpFlags::ACK)
        }
        _ => false,
    }
}

const fn reason(refusal: TrackRefusal) -> DropReason {
    match refusal {
        TrackRefusal::NoFlow => DropReason::NoFlow,
        TrackRefusal::TcpInvalid => DropReason::TcpInvalid,
    }
}
