//! Connections to Services: which backend, and what becomes of their packets' ends.
//!
//! Translated at the client's port, both ways. What policy sees, and the flow table records, is the backend.
//!
//! A pod that reaches itself through its Service is the one case in which both ends change: its kernel would
//! not take a packet from its own address. To the pod, the Service's address is its other end then:
//!
//! ```text
//! pod:40000 -> service:80    becomes   service:40000 -> pod:8080
//! pod:8080 -> service:40000  becomes   service:80    -> pod:40000
//! ```
//!
//! The flow of both is that of pod:40000 to pod:8080.
//!
//! Two connections from one port of a client, to two Services or to a Service and a pod, may come to the same port
//! of one backend. The later one gets another source port on its way there.

use podgate_flowtable::{
    Addr, Decision, Direction, FlowId, FlowView, IpProtocol, Known, OpenError, Packet, Rewrite, Target, Time,
    Track, Tuple, Way,
};

use super::{Gate, Place, Refusal};
use crate::mac::Mac;
use crate::onward::Onward;
use crate::parse::Rewriting;
use crate::policy::EndpointKind;
use crate::service::{AffinityKey, Found, ServiceKey, ServicePort};
use crate::tag::{Passage, Tag};
use crate::verdict::DropReason;

/// Source ports tried if the client has a connection from its own to the same port of the backend already.
pub(super) const PORTS_TRIED: u32 = 16;

/// Source ports that are given; those below mean something to some servers.
const FIRST_GIVEN_PORT: u16 = 1024;

/// A Service's port and where it leads.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    port: &'a ServicePort,
    hash: u64,
    /// The backend.
    pub(super) becomes: Target,
    /// Where the backend is told that it comes from.
    source_port: u16,
}

impl Gate<'_> {
    /// What a packet that opens a flow really goes to, if what it `asked` for is a Service.
    #[inline]
    pub(super) fn choose<'s>(
        &self,
        asked: Found<'s>,
        place: &Place<'s>,
        packet: &Packet,
        now: Time,
    ) -> Result<Option<Choice<'s>>, Refusal> {
        let called = Some(packet.tuple.destination());
        match asked {
            Found::Other => Ok(None),
            Found::NoPort => Err(Refusal { called, ..DropReason::ServiceNoPort.into() }),
            Found::Port(port) => match self.choose_backend(port, place, packet, now) {
                None => Err(Refusal { called, ..DropReason::ServiceNoBackend.into() }),
                choice => Ok(choice),
            },
        }
    }

    #[cold]
    fn choose_backend<'s>(
        &self,
        port: &'s ServicePort,
        place: &Place<'s>,
        packet: &Packet,
        now: Time,
    ) -> Option<Choice<'s>> {
        let services = &place.snapshot.services;
        let hash = services.hash(&packet.tuple, false);
        let chosen = match port.affinity {
            None => port.backends.choose(hash)?,
            Some(_) => port.backends.choose(services.hash(&packet.tuple, true))?,
        };
        let kept = port.affinity.and_then(|timeout| {
            self.affinities
                .find(&affinity_key(packet), timeout, now)
                .filter(|target| port.backends.has(*target))
        });
        Some(Choice { port, hash, becomes: kept.unwrap_or(chosen), source_port: packet.tuple.source_port })
    }

    /// Records the flow that goes to the backend of `choice`. It exists if the client has the same ports in use
    /// for another connection to that backend.
    pub(super) fn open_to_backend(
        &self,
        packet: &Packet,
        choice: &Choice<'_>,
        decision: Decision,
        now: Time,
    ) -> Result<FlowId, OpenError> {
        let open = || self.flows.open_translated(packet, choice.becomes, choice.source_port, decision, now);
        match open() {
            // A connection that is over makes way, if it is asked.
            Err(OpenError::Exists(_))
                if self.flows.find(&packet.tuple).is_none()
                    && self.makes_way(&choice.translated(packet), now)
                    && self.flows.track(&choice.translated(packet), now) == Track::MayOpen =>
            {
                open()
            }
            other => other,
        }
    }

    /// Whether the flow of `packet`, which may be another connection's, is over or gone. It stays as it is.
    fn makes_way(&self, packet: &Packet, now: Time) -> bool {
        self.flows
            .find(&packet.tuple)
            .is_none_or(|(flow, _)| flow.state.is_finished() || flow.expires_at <= now)
    }

    /// The same backend, and another source port than those before.
    pub(super) fn choose_again<'s>(&self, packet: &Packet, choice: &Choice<'s>) -> Option<Choice<'s>> {
        if self.flows.find(&packet.tuple).is_some() {
            return None;
        }
        // 2^64 / phi: far from every earlier one.
        let hash = choice.hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let given = u64::from(u16::MAX - FIRST_GIVEN_PORT) + 1;
        let source_port = FIRST_GIVEN_PORT + ((u128::from(hash) * u128::from(given)) >> 64) as u16;
        Some(Choice { hash, source_port, ..*choice })
    }

    /// The client of an opened flow keeps its backend, if the Service wants it. Not before: what policy refuses
    /// takes nobody's place.
    #[inline]
    pub(super) fn keep_backend(&self, packet: &Packet, choice: Option<&Choice<'_>>, now: Time) {
        if let Some(Choice { becomes, port: ServicePort { affinity: Some(timeout), .. }, .. }) = choice {
            self.affinities.keep(affinity_key(packet), *timeout, *becomes, now);
        }
    }

    /// Whether a client's packet belongs to a flow that its Service does not stand behind any more, or not yet:
    /// by UDP to a backend that is gone, or to the Service's own address, opened when nobody knew that it was
    /// one. A connection of TCP or SCTP ends with its backend; what is sent by UDP can go to another one.
    #[inline]
    pub(super) fn has_no_backend(&self, place: &Place<'_>, known: &Known) -> bool {
        known.decision.epoch < place.snapshot.epoch
            && known.direction == Direction::Original
            && place.header.tag.passage == Passage::FromPod
            && lacks_backend(place.snapshot, self.flows.called(known), &known.original)
    }

    /// The answer of a pod to itself through a Service, as the flow knows it.
    #[inline]
    pub(super) fn find_hairpin(
        &self,
        place: &Place<'_>,
        asked: Found<'_>,
        packet: &Packet,
        now: Time,
    ) -> Option<(Tuple, Known)> {
        // Its Service may be gone by now.
        let may_be = !matches!(asked, Found::Other)
            || (place.header.tag.passage == Passage::FromPod && self.flows.has_translated());
        if may_be { self.find_own_flow(packet, now) } else { None }
    }

    #[cold]
    fn find_own_flow(&self, packet: &Packet, now: Time) -> Option<(Tuple, Known)> {
        let service = packet.tuple.destination;
        let tuple = Tuple { destination: packet.tuple.source, ..packet.tuple };
        let (flow, direction) = self.flows.find(&tuple)?;
        if direction != Direction::Reply || flow.called.is_none_or(|called| called.addr != service) {
            return None;
        }
        match self.flows.track(&Packet { tuple, ..*packet }, now) {
            Track::Known(known) => Some((tuple, known)),
            _ => None,
        }
    }

    /// Where a packet of a known flow goes on to.
    #[inline]
    pub(super) fn onward(&self, place: &Place<'_>, tuple: &Tuple, known: &Known) -> Onward {
        let way = known.decision.way;
        match self.flows.rewrite(known) {
            None => Onward::unchanged(place.way_out(tuple.destination, way)),
            Some(rewrite) => place.translate(tuple, way, rewrite),
        }
    }
}

impl Refusal {
    /// With the Service that was asked for, and the backend that was judged.
    pub(super) fn about(self, packet: &Packet, choice: Option<&Choice<'_>>) -> Self {
        let Some(choice) = choice else { return self };
        let judged = self.judged.or(Some(choice.translated(packet).tuple));
        Self { judged, called: Some(packet.tuple.destination()), ..self }
    }
}

impl<'a> Place<'a> {
    /// Which Service's port a packet is for, if it is a pod's.
    #[inline]
    pub(super) fn asked(&self, tuple: &Tuple) -> Found<'a> {
        match self.header.tag.passage {
            Passage::FromPod => self.snapshot.services.find(tuple),
            Passage::ToPod => Found::Other,
        }
    }

    /// Where a packet of a translated flow goes on to. The gateway knows where its frame is to go: its MAC
    /// address is that of a router, which the client took the Service to be behind.
    #[inline]
    pub(super) fn translate(&self, tuple: &Tuple, way: Way, rewrite: Rewrite) -> Onward {
        let tag = self.header.tag;
        match (rewrite, tag.passage) {
            (Rewrite::Destination { target, source_port }, Passage::FromPod) => {
                let source = if self.binding.owns(target.addr) {
                    Some(Target { addr: tuple.destination, port: source_port })
                } else {
                    (source_port != tuple.source_port)
                        .then_some(Target { addr: tuple.source, port: source_port })
                };
                self.straight_to(target.addr, way, Rewriting { source, destination: Some(target) }).unwrap_or(
                    Onward {
                        rewriting: Some(Rewriting { source, destination: Some(target) }),
                        ..Onward::unchanged(tag)
                    },
                )
            }
            (Rewrite::Source { called, destination_port }, Passage::FromPod) => {
                let is_own = self.binding.owns(tuple.destination);
                let own = Target { addr: tuple.destination, port: destination_port };
                let is_other = is_own || destination_port != tuple.destination_port;
                let rewriting = Rewriting { source: Some(called), destination: is_other.then_some(own) };
                // What goes through the host is translated where it comes to the client.
                self.straight_to(tuple.destination, way, rewriting).unwrap_or(Onward::unchanged(tag))
            }
            (Rewrite::Source { called, destination_port }, Passage::ToPod) => {
                let own = Target { addr: tuple.destination, port: destination_port };
                let destination = (destination_port != tuple.destination_port).then_some(own);
                let rewriting = Some(Rewriting { source: Some(called), destination });
                Onward { rewriting, ..Onward::unchanged(tag) }
            }
            // No pod has a Service's address, so nothing that is for one comes in.
            (Rewrite::Destination { .. }, Passage::ToPod) => Onward::unchanged(tag),
        }
    }

    #[inline]
    fn straight_to(&self, addr: Addr, way: Way, rewriting: Rewriting) -> Option<Onward> {
        if way != Way::Shortcut {
            return None;
        }
        let (tag, mac) = self.local(addr)?;
        Some(Onward { tag, readdressed_to: Some(mac), rewriting: Some(rewriting) })
    }

    /// The port of the local pod with this address, and the pod's MAC address.
    #[inline]
    pub(super) fn local(&self, addr: Addr) -> Option<(Tag, Mac)> {
        match self.snapshot.resolve(addr).kind {
            EndpointKind::LocalPod { port: Some(port) } => {
                Some((Tag::to_pod(port), self.snapshot.binding(port)?.mac))
            }
            _ => None,
        }
    }
}

/// What becomes of the ends of an ICMP error about a packet of `flow`, which was `quoted` by the name that the
/// sender of the error knows.
pub(super) fn of_error(flow: &FlowView, quoted: &Tuple, quoted_direction: Direction) -> Option<Rewrite> {
    let called = flow.called?;
    let (target, source_port) = (flow.original.destination(), flow.original.source_port);
    match quoted_direction {
        // To the client, about what it sent.
        Direction::Original => (quoted.destination == target.addr)
            .then_some(Rewrite::Source { called, destination_port: flow.calling_port }),
        // From the client, about what it was sent.
        Direction::Reply => {
            (quoted.source == called.addr).then_some(Rewrite::Destination { target, source_port })
        }
    }
}

/// What a client that keeps its backend is known by.
fn affinity_key(packet: &Packet) -> AffinityKey {
    let Tuple { source, destination: addr, destination_port: port, protocol, .. } = packet.tuple;
    AffinityKey { client: source, service: ServiceKey { addr, port, protocol } }
}

/// Whether a flow of `original` goes by UDP to a backend that is gone from the Service that is `called`, or goes
/// to a Service's own address.
pub(super) fn lacks_backend(
    snapshot: &crate::snapshot::Snapshot,
    called: Option<Target>,
    original: &Tuple,
) -> bool {
    match called {
        Some(called) => original.protocol == IpProtocol::UDP && !is_served(snapshot, called, original),
        None => snapshot.services.has(original.destination),
    }
}

/// Whether the Service that is `called` still has the backend to which the flow of `original` goes.
fn is_served(snapshot: &crate::snapshot::Snapshot, called: Target, original: &Tuple) -> bool {
    let key = ServiceKey { addr: called.addr, port: called.port, protocol: original.protocol };
    let backend = Target { addr: original.destination, port: original.destination_port };
    snapshot.services.port(&key).is_some_and(|port| port.serves(backend))
}

impl Choice<'_> {
    /// `packet` as it comes to the backend.
    pub(super) fn translated(&self, packet: &Packet) -> Packet {
        let Target { addr: destination, port: destination_port } = self.becomes;
        let tuple = Tuple { destination, source_port: self.source_port, destination_port, ..packet.tuple };
        Packet { tuple, ..*packet }
    }

    /// What becomes of the client's packets.
    pub(super) const fn rewrite(&self) -> Rewrite {
        Rewrite::Destination { target: self.becomes, source_port: self.source_port }
    }
}
