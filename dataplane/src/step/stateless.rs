//! What opens no flow: packets to groups, ICMP errors, and fragments after the first.

use podgate_flowtable::{First, FlowState, Follow, FragmentKey, IpProtocol, Known, Packet, Time, Tuple};

use super::flow::allowed;
use super::service::of_error;
use super::{Gate, Place, Refusal};
use crate::onward::Onward;
use crate::parse::{Fragment, Ip};
use crate::policy::{Endpoint, EndpointKind};
use crate::tag::{Passage, Tag};
use crate::verdict::DropReason;

impl Gate<'_> {
    /// Multicast and broadcast. Each packet is judged where it leaves its pod, as going to an
    /// address outside, and again at each pod it comes to: with a flow, the first of these
    /// verdicts would stand for all receivers. An answer comes from another address and is no
    /// reply.
    pub(super) fn judge_group(&self, place: &Place<'_>, packet: &Packet, now: Time) -> Result<Tag, Refusal> {
        let tag = place.header.tag;
        let ends = match tag.passage {
            Passage::FromPod => place.ends(&packet.tuple, true)?,
            Passage::ToPod => {
                let source = place.snapshot.resolve(packet.tuple.source);
                self.check_vouched(&source, now)?;
                let receiver = place.snapshot.pod(tag.port, packet.tuple.source);
                // The source's egress side was asked about the group when the packet left.
                (without_egress(source), receiver.ok_or(DropReason::UnknownEndpoint)?)
            }
        };
        let causes = place.decide(&ends, &packet.tuple);
        match allowed(causes) {
            Ok(()) => Ok(tag),
            Err(reason) => Err(Refusal { causes: Some(causes), ..reason.into() }),
        }
    }

    /// An ICMP error belongs to the flow of the packet it quotes, and goes to that packet's source.
    /// From a pod, it is about a packet that came to that pod: pods are no routers, and a forged
    /// error about the flow of others lowers their MTU or ends it (RFC 5927).
    pub(super) fn judge_icmp_error(
        &self,
        place: &Place<'_>,
        ip: &Ip,
        quoted: Option<Tuple>,
        now: Time,
    ) -> Result<Onward, Refusal> {
        let unrelated = Err(DropReason::IcmpUnrelated.into());
        let Some(quoted) = quoted.filter(|quoted| quoted.source == ip.destination) else {
            return unrelated;
        };
        if place.header.tag.passage == Passage::FromPod && !place.binding.owns(quoted.destination) {
            return unrelated;
        }
        match self.flows.find(&quoted) {
            Some((flow, direction)) if now < flow.expires_at && flow.state != FlowState::Denied => {
                let known = Known::new(flow.id, direction.opposite(), flow.original, flow.decision);
                if place.is_a_formers(&known) {
                    return unrelated;
                }
                let tuple = ip.tuple();
                self.check_known(place, &tuple, &known, now)?;
                match of_error(&flow, &quoted, direction) {
                    None => Ok(Onward::unchanged(place.way_out(tuple.destination, known.decision.way))),
                    // About what it has sent to itself through a Service: both ends would have to change.
                    Some(_)
                        if place.binding.owns(known.original.source)
                            && place.binding.owns(known.original.destination) =>
                    {
                        unrelated
                    }
                    Some(rewrite) => Ok(place.translate(&tuple, known.decision.way, rewrite)),
                }
            }
            _ => unrelated,
        }
    }

    /// Remembers what became of a datagram's first fragment, for the later ones.
    #[cold]
    pub(super) fn record_first(
        &self,
        place: &Place<'_>,
        ip: &Ip,
        fragment: &Fragment,
        onward: Onward,
        now: Time,
    ) -> Result<(), DropReason> {
        let key = key(place, ip, fragment);
        match self.fragments.first(key, fragment.end_bytes.into(), onward, now) {
            First::Recorded => Ok(()),
            First::Overlap => Err(DropReason::BadFragment),
            First::OverQuota => Err(DropReason::FragmentQuota),
        }
    }

    /// Where the first fragment went, the others go.
    #[cold]
    pub(super) fn follow_first(&self, place: &Place<'_>, ip: &Ip, now: Time) -> Result<Onward, DropReason> {
        let Some(fragment) = &ip.fragment else {
            return Err(DropReason::BadFragment);
        };
        let key = key(place, ip, fragment);
        let (start, end) = (fragment.start_bytes.into(), fragment.end_bytes.into());
        let follow = if fragment.more {
            self.fragments.follow(key, start, end, now)
        } else {
            self.fragments.follow_last(key, start, end, now)
        };
        match follow {
            Follow::Allowed(onward) => Ok(onward),
            Follow::Unknown => Err(DropReason::FragmentWithoutFirst),
            Follow::Overlap => Err(DropReason::BadFragment),
        }
    }
}

/// Names a datagram at one passage of one port: what is routed between two local pods passes both
/// their ports, and goes somewhere else from each.
fn key(place: &Place<'_>, ip: &Ip, fragment: &Fragment) -> FragmentKey {
    /// Of the IPv6 fragment header. What follows it may be named differently in each fragment, and
    /// is no part of a datagram's name (RFC 8200, 4.5).
    const IPV6_FRAGMENT: IpProtocol = IpProtocol(44);
    FragmentKey {
        owner: place.header.tag.owner(),
        source: ip.source,
        destination: ip.destination,
        protocol: if ip.source.is_v4() { ip.protocol } else { IPV6_FRAGMENT },
        identification: fragment.identification,
    }
}

fn without_egress(source: Endpoint) -> Endpoint {
    match source.kind {
        EndpointKind::LocalPod { .. } => Endpoint { kind: EndpointKind::RemotePod, ..source },
        _ => source,
    }
}
