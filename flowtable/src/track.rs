//! What a packet does to its flow, or may do without one.

use crate::entry::{Clock, Locked, Memory, Slot};
use crate::quota::Quotas;
use crate::state::{Assurance, FlowState, ReplyState, SctpState, UdpState};
use crate::{Decision, Direction, FlowId, IcmpRole, Packet, Time, Transport, Tuple};
use crate::{icmp, sctp, tcp, udp};

/// What the table says about a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Track {
    /// It belongs to a flow, which has taken it in.
    Known(Known),
    /// It belongs to a flow that policy has cut, or would open another one on the same ports; the flow is
    /// as it was.
    Denied(Known),
    /// It has no flow, and may open one.
    MayOpen,
    /// It has no flow that would take it, and may not open one.
    Refused(Refusal),
}

/// The flow of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The flow.
    pub id: FlowId,
    /// Which way the packet goes on it.
    pub direction: Direction,
    /// The tuple of the packets that go as the opening one did, once they are translated.
    pub original: Tuple,
    /// The verdict the flow has.
    pub decision: Decision,
    /// The packet goes as the opening one did once it was translated. The originator calls the flow by another
    /// name: where it sends from, such a packet is another connection's, on ports that are taken.
    pub is_called_otherwise: bool,
    /// Where it says what becomes of the packet's addresses, see [`FlowTable::rewrite`](crate::FlowTable::rewrite).
    pub(crate) alias: Option<Slot>,
}

impl Known {
    /// Of a packet whose addresses stay as they are.
    pub const fn new(id: FlowId, direction: Direction, original: Tuple, decision: Decision) -> Self {
        Self { id, direction, original, decision, is_called_otherwise: false, alias: None }
    }
}

/// Why a packet is neither part of a flow nor the start of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// There is no such flow, and this is no opening packet: a TCP segment other than SYN, an
    /// ICMP answer, an SCTP packet other than INIT. Or its verification tag is not the association's.
    NoFlow,
    /// The TCP flow is there but such a segment cannot come now: by the flow's state, or beyond the
    /// receiver's window. Or no TCP sends such flags.
    TcpInvalid,
}

/// What a packet did to its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Admitted,
    /// Not in the flow: it starts another one on the same ports.
    Reopens,
    Denied,
    Refused(Refusal),
}

/// Whether a packet without a flow may open one.
#[inline]
pub(crate) fn may_open(packet: &Packet, pickup: Pickup) -> Result<(), Refusal> {
    match packet.transport {
        Transport::Tcp(segment) => match (tcp::Class::of(segment.flags), pickup) {
            (tcp::Class::Malformed, _) => Err(Refusal::TcpInvalid),
            (tcp::Class::Syn, _) => Ok(()),
            (tcp::Class::Rst, _) | (_, Pickup::Over) => Err(Refusal::NoFlow),
            (_, Pickup::Open) => Ok(()),
        },
        Transport::Sctp { verification_tag, first_chunk } if !sctp::opens(verification_tag, first_chunk) => {
            Err(Refusal::NoFlow)
        }
        Transport::Icmp(IcmpRole::Reply) => Err(Refusal::NoFlow),
        Transport::Udp | Transport::Icmp(IcmpRole::Request) | Transport::Sctp { .. } | Transport::Other => {
            Ok(())
        }
    }
}

/// Whether connections that opened before the table was made are still taken up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pickup {
    Open,
    Over,
}

impl Pickup {
    #[inline]
    pub(crate) fn at(now: Time, until: Time) -> Self {
        if now < until { Self::Open } else { Self::Over }
    }
}

/// The state and memory of the flow that `packet` opens.
pub(crate) fn opening(packet: &Packet) -> (FlowState, Memory) {
    let without_memory = |state| (state, Memory::default());
    match packet.transport {
        Transport::Tcp(segment) => {
            let (state, memory) = tcp::open(&segment);
            (FlowState::Tcp(state), memory)
        }
        Transport::Udp => without_memory(FlowState::Udp(UdpState::Unreplied)),
        Transport::Sctp { .. } => without_memory(FlowState::Sctp(SctpState::CookieWait)),
        Transport::Icmp(_) => without_memory(FlowState::Icmp(ReplyState::Unreplied)),
        Transport::Other => without_memory(FlowState::Other(ReplyState::Unreplied)),
    }
}

/// Takes `packet` into its locked flow, and counts it if it is admitted. `tick` is the time.
#[inline]
pub(crate) fn step(
    flow: &Locked<'_>,
    direction: Direction,
    packet: &Packet,
    tick: u64,
    quotas: &Quotas,
) -> Step {
    let clock = flow.clock();
    let (state, assurance) = match (clock.state, &packet.transport) {
        (FlowState::Tcp(state), Transport::Tcp(segment)) => {
            let before = flow.memory();
            let mut memory = before;
            let (state, assurance) = match tcp::step(state, &mut memory, direction, segment) {
                tcp::Step::Admit(state, assurance) => (state, assurance),
                tcp::Step::Reopen => return Step::Reopens,
                tcp::Step::Invalid => return Step::Refused(Refusal::TcpInvalid),
            };
            flow.set_memory(&before, &memory);
            (FlowState::Tcp(state), assurance)
        }
        (FlowState::Udp(state), Transport::Udp) => {
            let (state, assurance) = udp::step(state, direction, tick.saturating_sub(flow.opened()));
            (FlowState::Udp(state), assurance)
        }
        (FlowState::Icmp(state), Transport::Icmp(_)) => {
            (FlowState::Icmp(icmp::step(state, direction)), Assurance::Tentative)
        }
        (FlowState::Sctp(state), &Transport::Sctp { verification_tag, first_chunk }) => {
            let before = flow.memory();
            let mut memory = before;
            match sctp::step(state, &mut memory, direction, verification_tag, first_chunk) {
                sctp::Step::Admit(state, assurance) => {
                    flow.set_memory(&before, &memory);
                    (FlowState::Sctp(state), assurance)
                }
                sctp::Step::Reopen => return Step::Reopens,
                sctp::Step::Refuse => return Step::Refused(Refusal::NoFlow),
            }
        }
        (FlowState::Other(state), Transport::Other) => {
            (FlowState::Other(icmp::step(state, direction)), Assurance::Tentative)
        }
        (FlowState::Denied, _) => return Step::Denied,
        // The parser gives every protocol number one transport; another one is not of this flow.
        _ => return Step::Refused(Refusal::NoFlow),
    };
    // Workers read the clock apart from each other: time on a flow does not go back.
    let renewed = Clock { last_seen: clock.last_seen.max(tick), state, assurance };
    if renewed != clock {
        if state != clock.state {
            quotas.follow(flow.owner(), clock.state, state);
        }
        flow.set_clock(renewed);
    }
    flow.count(direction, packet.len_bytes);
    Step::Admitted
}

/// What the packet's flow is to its sender.
#[inline]
pub(crate) fn known(
    flow: &Locked<'_>,
    id: FlowId,
    original: Tuple,
    direction: Direction,
    alias: Option<Slot>,
) -> Known {
    Known { alias, ..Known::new(id, direction, original, flow.decision()) }
}
