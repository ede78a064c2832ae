//! What becomes of a frame. Pure: no I/O, no clock, no allocation, and no panic on any input.
//!
//! ```text
//! mod        the order of the checks, and the one function in which every drop ends
//! flow       packets that are part of a flow or open one
//! service    connections to Services
//! denied     segments of connections that policy has cut
//! recheck    flows decided again without a packet of theirs
//! stateless  packets to groups, ICMP errors, later fragments
//! tunnel     tunnels from pods to nodes
//! ```

mod denied;
mod flow;
mod recheck;
mod service;
mod stateless;
mod tunnel;

pub use recheck::{Recheck, recheck};

use podgate_flowtable::{FlowTable, FragmentTable, IpProtocol, Seek, Target, Time, Tuple};

use crate::antispoof;
use crate::counters::Counters;
use crate::departures::Departures;
use crate::events::{Event, EventKind, EventRing};
use crate::neighbour;
use crate::onward::Onward;
use crate::parse::{Body, Ip, Payload, TrunkHeader};
use crate::service::Affinities;
use crate::snapshot::{PortBinding, Snapshot};
use crate::tag::{Passage, Tag};
use crate::verdict::{Causes, DropReason, Verdict};

/// Everything a frame is judged by and everything that is kept of it.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    /// What is in force; loaded once per batch.
    pub snapshot: Option<&'a Snapshot>,
    /// The flows of all workers.
    pub flows: &'a FlowTable,
    /// The fragmented datagrams of all workers.
    pub fragments: &'a FragmentTable<Onward>,
    /// Clients of Services that keep their backend.
    pub affinities: &'a Affinities,
    /// Departures of all workers.
    pub departures: &'a Departures,
    /// This worker's counters.
    pub counters: &'a Counters,
    /// Where events go.
    pub events: &'a EventRing,
}

/// The tag that the trunk adds; what is counted is the frame without it.
const TAG_LEN_BYTES: usize = 4;

/// A frame at its port: the three things that everything after parsing needs.
#[derive(Clone, Copy)]
struct Place<'a> {
    snapshot: &'a Snapshot,
    /// The pod behind the port.
    binding: &'a PortBinding,
    header: &'a TrunkHeader,
}

/// What a frame says, and where its flow would be.
pub struct Reading {
    parts: Result<(TrunkHeader, Result<Body, DropReason>), DropReason>,
    seek: Option<Seek>,
}

/// Why a frame is dropped, with what only the one who decided it knows.
#[derive(Clone, Copy)]
struct Refusal {
    reason: DropReason,
    causes: Option<Causes>,
    kind: EventKind,
    /// What was judged, if not the frame's own tuple: its flow, in the initiator's direction.
    judged: Option<Tuple>,
    /// What the initiator asked for, if it is a Service.
    called: Option<Target>,
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, causes: None, kind: EventKind::Dropped, judged: None, called: None }
    }
}

/// What is known of a frame when it is counted and told about.
#[derive(Clone, Copy)]
struct Subject<'a> {
    tag: Option<Tag>,
    body: Option<&'a Body>,
    frame_len_bytes: usize,
}

impl Gate<'_> {
    /// Judges `frame`, as it came from the trunk. If it is forwarded, [`Onward`] has been written into it: its
    /// tag, its destination MAC address if it asks for a pod of this node, its ends if it is of a Service; if it
    /// is dropped, nothing in it has changed.
    #[inline]
    pub fn step(&self, frame: &mut [u8], now: Time) -> Verdict {
        self.decide(&self.read(frame), frame, now)
    }

    /// What `frame` says. Nothing is decided or changed by it; the flow that it may belong to is on
    /// its way into the cache.
    #[inline]
    pub fn read(&self, frame: &[u8]) -> Reading {
        let parts = TrunkHeader::split(frame).map(|(header, rest)| (header, Body::parse(&header, rest)));
        let seek = match &parts {
            Ok((_, Ok(Body::Ip(Ip { payload: Payload::Packet { packet, .. }, .. })))) => {
                Some(self.flows.seek(packet))
            }
            _ => None,
        };
        Reading { parts, seek }
    }

    /// The second half of the way into the cache. Worth it in a batch: first every frame is read,
    /// then every flow fetched, then the first frame decided.
    #[inline]
    pub fn fetch(&self, reading: &Reading) {
        if let Some(seek) = &reading.seek {
            self.flows.fetch(seek);
        }
    }

    /// [`Gate::step`] for a frame that has been read.
    #[inline]
    pub fn decide(&self, reading: &Reading, frame: &mut [u8], now: Time) -> Verdict {
        let frame_len_bytes = frame.len();
        let (header, body) = match &reading.parts {
            Ok(parts) => parts,
            Err(reason) => {
                return self.drop_frame(
                    &Subject { tag: None, body: None, frame_len_bytes },
                    (*reason).into(),
                    now,
                );
            }
        };
        match self.judge(header, body, reading.seek.as_ref(), frame_len_bytes, now) {
            Ok(onward) => {
                onward.write(frame, body.as_ref().ok());
                self.counters.count_forwarded(header.tag, untagged(frame_len_bytes) as u64);
                Verdict::Forward(onward.tag)
            }
            Err(refusal) => {
                let subject = Subject { tag: Some(header.tag), body: body.as_ref().ok(), frame_len_bytes };
                self.drop_frame(&subject, refusal, now)
            }
        }
    }

    /// For a frame that [`Gate::step`] forwarded and the transmit ring did not take. It is counted
    /// at the port it was going to, on top of having been forwarded.
    pub fn drop_unsent(&self, frame: &[u8], now: Time) -> Verdict {
        let header = TrunkHeader::split(frame).ok();
        let body = header.and_then(|(header, rest)| Body::parse(&header, rest).ok());
        let tag = header.map(|(header, _)| header.tag);
        let subject = Subject { tag, body: body.as_ref(), frame_len_bytes: frame.len() };
        self.drop_frame(&subject, DropReason::TxFull.into(), now)
    }

    #[inline]
    fn judge(
        &self,
        header: &TrunkHeader,
        body: &Result<Body, DropReason>,
        seek: Option<&Seek>,
        frame_len_bytes: usize,
        now: Time,
    ) -> Result<Onward, Refusal> {
        let Some(snapshot) = self.snapshot else {
            return Err(DropReason::NoSnapshot.into());
        };
        let Some(binding) = snapshot.binding(header.tag.port) else {
            return Err(DropReason::UnknownEndpoint.into());
        };
        let body = match body {
            Ok(body) => body,
            Err(reason) => return Err((*reason).into()),
        };
        if header.tag.passage == Passage::FromPod {
            antispoof::check(header, body, binding)?;
        }
        let place = Place { snapshot, binding, header };
        match body {
            Body::Ip(ip) => {
                let subject = Subject { tag: Some(header.tag), body: Some(body), frame_len_bytes };
                self.judge_ip(&place, ip, seek, &subject, now)
            }
            Body::Arp(arp) => Ok(neighbour::arp(snapshot, binding, header, arp)?),
        }
    }

    #[inline]
    fn judge_ip(
        &self,
        place: &Place<'_>,
        ip: &Ip,
        seek: Option<&Seek>,
        subject: &Subject<'_>,
        now: Time,
    ) -> Result<Onward, Refusal> {
        let Place { snapshot, binding, header } = *place;
        match header.tag.passage {
            Passage::ToPod => check_arrival(ip, binding)?,
            Passage::FromPod => tunnel::check(place, ip)?,
        }
        let onward = match &ip.payload {
            Payload::Packet { packet, .. } if ip.is_to_group() => {
                Onward::unchanged(self.judge_group(place, packet, now)?)
            }
            Payload::Packet { packet, .. } => self.judge_flow(place, packet, seek, subject, now)?,
            Payload::LaterFragment => return Ok(self.follow_first(place, ip, now)?),
            Payload::IcmpError { quoted, .. } => self.judge_icmp_error(place, ip, *quoted, now)?,
            Payload::IcmpOther { .. } => return Err(DropReason::IcmpUnrelated.into()),
            Payload::Neighbour(message) => {
                return Ok(neighbour::neighbour(snapshot, binding, header, ip, message)?);
            }
            Payload::Mld(_) => return Ok(neighbour::mld(snapshot, header, ip)?),
        };
        if let Some(fragment) = &ip.fragment {
            // Its sum is a CRC over all of the datagram.
            if ip.protocol == IpProtocol::SCTP && onward.rewriting.is_some() {
                return Err(DropReason::BadFragment.into());
            }
            self.record_first(place, ip, fragment, onward, now)?;
        }
        if onward.tag.passage == Passage::FromPod {
            self.departures.note(onward.tag.port, now);
        }
        Ok(onward)
    }

    /// The end of every frame that is dropped.
    #[cold]
    #[inline(never)]
    fn drop_frame(&self, subject: &Subject<'_>, refusal: Refusal, now: Time) -> Verdict {
        let Refusal { reason, causes, kind, judged, called } = refusal;
        let verdict = if reason.is_answered() { Verdict::Reject(reason) } else { Verdict::Drop(reason) };
        self.counters.count_drop(subject.tag, reason);
        // What the bridge floods to ports that it does not concern is counted, but nobody's news.
        if reason == DropReason::NotForThisPod {
            return verdict;
        }
        self.tell(kind, subject, (judged, called), verdict, causes, now);
        verdict
    }

    /// Makes an event, if there is room for it. `tuple` if it is not the frame's own, and what the initiator
    /// calls its destination, if something else.
    fn tell(
        &self,
        kind: EventKind,
        subject: &Subject<'_>,
        (tuple, called): (Option<Tuple>, Option<Target>),
        verdict: Verdict,
        causes: Option<Causes>,
        now: Time,
    ) {
        self.events.push_with(|| {
            let ip = match subject.body {
                Some(Body::Ip(ip)) => Some(ip),
                Some(Body::Arp(_)) | None => None,
            };
            let tuple = tuple.or(ip.map(Ip::tuple));
            let name = |addr| self.snapshot.and_then(|snapshot| snapshot.resolve(addr).id);
            Event {
                kind,
                time: now,
                tag: subject.tag,
                tuple,
                called,
                len_bytes: untagged(subject.frame_len_bytes) as u32,
                verdict,
                causes,
                source: tuple.and_then(|tuple| name(tuple.source)),
                destination: tuple.and_then(|tuple| name(tuple.destination)),
                epoch: self.snapshot.map(|snapshot| snapshot.epoch),
                tcp_flags: ip.and_then(Ip::tcp_flags),
                icmp_type: ip.and_then(Ip::icmp_type),
            }
        });
    }
}

/// What may not come to a pod whatever sent it.
#[inline]
fn check_arrival(ip: &Ip, binding: &PortBinding) -> Result<(), DropReason> {
    const ANY_V4: podgate_flowtable::Addr = podgate_flowtable::Addr::from_v4([0; 4]);
    if ip.source == ANY_V4 {
        return Err(DropReason::Martian);
    }
    if binding.owns(ip.destination) || ip.is_to_group() { Ok(()) } else { Err(DropReason::NotForThisPod) }
}

const fn untagged(frame_len_bytes: usize) -> usize {
    frame_len_bytes.saturating_sub(TAG_LEN_BYTES)
}
