//! TCP: the states by direction and class of segment.
//!
//! The states and what leads from one to the next follow nf_conntrack
//! (`net/netfilter/nf_conntrack_proto_tcp.c`, the table `tcp_conntracks`), with one difference: the
//! same segment may pass the table twice (once as it leaves a pod, once as it enters another), so
//! a repeated segment must never move a flow on, and must never be refused. Hence the closing
//! states come from what each end has sent and had acknowledged, not from counting FINs.
//!
//! Sequence numbers refuse what its receiver could not have asked for (see `window`), unless the
//! connection was taken up in the middle, and decide what an RST may do.

mod window;

use crate::entry::Memory;
use crate::state::{Assurance, TcpState};
use crate::{Direction, TcpFlags, TcpSegment};

use window::{Acceptance, Fit, Mark, Side};

/// What kind of segment it is, by the flags that move the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    /// Flags that no TCP sends together (`tcp_valid_flags` in the kernel's tracker).
    Malformed,
}

impl Class {
    #[inline]
    pub(crate) fn of(flags: TcpFlags) -> Self {
        const SYN: u8 = TcpFlags::SYN.0;
        const FIN: u8 = TcpFlags::FIN.0;
        const RST: u8 = TcpFlags::RST.0;
        const ACK: u8 = TcpFlags::ACK.0;
        const SYN_ACK: u8 = SYN | ACK;
        const FIN_ACK: u8 = FIN | ACK;
        const RST_ACK: u8 = RST | ACK;
        match flags.0 & (SYN | FIN | RST | ACK) {
            SYN => Self::Syn,
            SYN_ACK => Self::SynAck,
            FIN_ACK => Self::Fin,
            ACK => Self::Ack,
            RST | RST_ACK => Self::Rst,
            _ => Self::Malformed,
        }
    }
}

/// What a segment does to a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// It belongs to it, which is now here.
    Admit(TcpState, Assurance),
    /// A SYN on a connection that is over, or of which only the other end was heard: a new connection,
    /// to be decided anew.
    Reopen,
    /// No such segment can come now.
    Invalid,
}

/// The state and memory of a flow that `segment` opens.
pub(crate) fn open(segment: &TcpSegment) -> (TcpState, Memory) {
    let mut sides = [Side::default(); 2];
    let state = match Class::of(segment.flags) {
        Class::Syn => {
            sides[0].begin(segment);
            TcpState::SynSent
        }
        class => {
            // Picked up in the middle: a SYN that this end has answered may be sent again.
            let [own, other] = &mut sides;
            own.be_liberal();
            other.be_liberal();
            if class == Class::SynAck {
                own.mark(Mark::AnsweredSyn);
                other.mark(Mark::SentSyn);
            }
            window::observe(own, other, segment);
            if class == Class::Fin {
                own.mark(Mark::SentFin);
            }
            closing(&sides)
        }
    };
    let mut memory = Memory::default();
    window::store(&sides, &mut memory);
    (state, memory)
}

/// Takes one segment in `direction`.
#[inline]
pub(crate) fn step(state: TcpState, memory: &mut Memory, direction: Direction, segment: &TcpSegment) -> Step {
    let mut sides = window::load(memory);
    let class = Class::of(segment.flags);
    let next = match class {
        Class::Malformed => return Step::Invalid,
        Class::Rst => match reset(state, &sides, direction, segment) {
            Some(next) => next,
            None => return Step::Invalid,
        },
        Class::Syn | Class::SynAck | Class::Fin | Class::Ack => {
            match advance(state, &mut sides, direction, class, segment) {
                Ok(next) => next,
                Err(step) => return step,
            }
        }
    };
    window::store(&sides, memory);
    Step::Admit(next, assurance(next, &sides))
}

/// The state after a segment that is no RST, or why it does not belong to the flow.
#[allow(clippy::match_same_arms, reason = "one arm a rule, in the order of the handshake")]
#[inline]
fn advance(
    state: TcpState,
    sides: &mut [Side; 2],
    direction: Direction,
    class: Class,
    segment: &TcpSegment,
) -> Result<TcpState, Step> {
    use Direction::{Original, Reply};
    use TcpState::{Close, SynRecv, SynSent, SynSent2, TimeWait};

    let (own, other) = pair(sides, direction);
    let next = match (class, state, direction) {
        (Class::Syn, Close | TimeWait, _) => return Err(Step::Reopen),
        (Class::Syn, SynSent, Original) => {
            own.begin(segment);
            SynSent
        }
        (Class::Syn, SynSent | SynSent2, _) => {
            own.begin(segment);
            window::agree_on_scale(own, other);
            SynSent2
        }
        // The originator may ask for the connection again: the answer tells it where it stands
        // (RFC 5961, 4.2). From the other end only the SYN that it once sent may come back.
        (Class::Syn, _, Original) => {
            own.mark(Mark::AskedAgain);
            state
        }
        (Class::Syn, _, Reply) if own.has(Mark::SentSyn) => state,
        // Taken up in the middle by what the other end sent, perhaps the last of it.
        (Class::Syn, _, Reply) if own.has(Mark::Liberal) && !own.has(Mark::Heard) => {
            return Err(Step::Reopen);
        }

        (Class::SynAck, SynSent, Reply) | (Class::SynAck, SynSent2, _) => {
            // An older connection's answer is of no use to anybody.
            if !other.is_answered_by(segment.acknowledgement) {
                return Err(Step::Invalid);
            }
            answer(own, other, segment);
            SynRecv
        }
        // The other end has lost the connection, and takes the SYN that was let through as a new one.
        (Class::SynAck, _, _) if other.has(Mark::AskedAgain) && !is_repeated_answer(own, other, segment) => {
            other.begin_unseen(segment.acknowledgement, segment.window_scale.is_some());
            answer(own, other, segment);
            SynRecv
        }
        (Class::SynAck, SynRecv, _) if other.has(Mark::SentSyn) => {
            answer_again(own, other, segment)?;
            SynRecv
        }
        // Of a simultaneous open of which only a part was seen.
        (Class::SynAck, SynRecv, _) if own.has(Mark::SentSyn) && is_repeated_answer(own, other, segment) => {
            SynRecv
        }
        (Class::SynAck, _, _) if own.has(Mark::AnsweredSyn) || own.has(Mark::Liberal) => state,
        // The RST was faster than the answer, whose receiver will reset it: otherwise the other end
        // would wait for long, and answer again and again.
        (Class::SynAck, Close, _) if other.is_answered_by(segment.acknowledgement) => Close,

        // A host that still has an older connection answers the SYN with where that one stands
        // (RFC 9293, 3.5.1); the originator then resets it.
        (Class::Ack, SynSent, Reply) | (Class::Ack, SynSent2, _) => state,
        (Class::Ack | Class::Fin, Close, _) => Close,
        (Class::Ack | Class::Fin, SynSent | SynSent2, _) => return Err(Step::Invalid),
        (Class::Ack | Class::Fin, _, _) => match (window::observe(own, other, segment), class) {
            (Fit::Outside, _) => return Err(Step::Invalid),
            (Fit::Inside, Class::Fin) => {
                own.mark(Mark::SentFin);
                closing(sides)
            }
            // Data of a server that does not wait for the last ACK (RFC 7413).
            _ if state == SynRecv && direction == Reply => SynRecv,
            (Fit::Inside, _) => closing(sides),
            (Fit::Old, _) => state,
        },
        _ => return Err(Step::Invalid),
    };
    Ok(next)
}

/// Whether `own` sends the SYN and ACK of the connection as it is once more.
fn is_repeated_answer(own: &Side, other: &Side, segment: &TcpSegment) -> bool {
    own.has_sent(window::end(segment)) && other.has_sent(segment.acknowledgement)
}

/// Takes another SYN and ACK of `own` before there is an answer to the first: the same one, that of
/// the second end of a simultaneous open, or one with another cookie (RFC 4987, 3.6).
fn answer_again(own: &mut Side, other: &mut Side, segment: &TcpSegment) -> Result<(), Step> {
    if !other.has_sent(segment.acknowledgement) {
        return Err(Step::Invalid);
    }
    if !own.has(Mark::AnsweredSyn) {
        answer(own, other, segment);
    } else if !own.has_sent(window::end(segment)) {
        // Nobody knows yet which of the two the originator takes.
        answer(own, other, segment);
        own.be_liberal();
        other.be_liberal();
    }
    Ok(())
}

/// Learns from the SYN and ACK of `own`.
fn answer(own: &mut Side, other: &mut Side, segment: &TcpSegment) {
    own.begin(segment);
    window::agree_on_scale(own, other);
    window::acknowledge(own, other, segment);
}

/// The state of an established or closing connection, by how far each end has closed it.
#[inline]
fn closing(sides: &[Side; 2]) -> TcpState {
    let count = |mark| u8::from(sides[0].has(mark)) + u8::from(sides[1].has(mark));
    match (count(Mark::SentFin), count(Mark::FinAcknowledged)) {
        (0, _) => TcpState::Established,
        (1, 0) => TcpState::FinWait,
        (1, _) => TcpState::CloseWait,
        (_, 0 | 1) => TcpState::LastAck,
        _ => TcpState::TimeWait,
    }
}

/// The state after an RST; `None` for one that its receiver would ignore (RFC 5961, 3.2). Before and
/// after the connection is established it is let through in any case: the end it is for knows better.
#[inline]
fn reset(state: TcpState, sides: &[Side; 2], direction: Direction, segment: &TcpSegment) -> Option<TcpState> {
    let own = &sides[direction.index()];
    let other = &sides[direction.opposite().index()];
    let acceptance = window::judge_reset(own, other, segment);
    let ends_it = match state {
        TcpState::Close => true,
        // Acceptable if it acknowledges the SYN (RFC 9293, 3.10.7.3).
        TcpState::SynSent if direction == Direction::Reply => {
            segment.flags.contains(TcpFlags::ACK) && other.is_answered_by(segment.acknowledgement)
        }
        TcpState::Established if acceptance == Acceptance::Outside && !own.has(Mark::Liberal) => return None,
        // Elsewhere in the window the receiver answers with a challenge, and lives on.
        TcpState::Established | TcpState::SynSent => acceptance == Acceptance::Exact,
        TcpState::SynSent2
        | TcpState::SynRecv
        | TcpState::FinWait
        | TcpState::CloseWait
        | TcpState::LastAck
        | TcpState::TimeWait => acceptance != Acceptance::Outside,
    };
    Some(if ends_it { TcpState::Close } else { state })
}

#[inline]
fn assurance(state: TcpState, sides: &[Side; 2]) -> Assurance {
    use TcpState::{CloseWait, Established, FinWait, LastAck, TimeWait};
    let both_heard = sides[0].has(Mark::Heard) && sides[1].has(Mark::Heard);
    match state {
        Established | FinWait | CloseWait | LastAck | TimeWait if both_heard => Assurance::Assured,
        _ => Assurance::Tentative,
    }
}

#[inline]
fn pair(sides: &mut [Side; 2], direction: Direction) -> (&mut Side, &mut Side) {
    let [original, reply] = sides;
    match direction {
        Direction::Original => (original, reply),
        Direction::Reply => (reply, original),
    }
}

#[cfg(test)]
mod tests;
