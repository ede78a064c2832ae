//! Tests of the TCP states. `a` opens the connection, `b` answers; sequence numbers begin where
//! they soon wrap.

mod netfilter;
mod repetition;
mod windows;

use super::*;
use Direction::{Original, Reply};

const A: u32 = 0xffff_fff0;
const B: u32 = 0x7fff_fff8;

const SYN: TcpFlags = TcpFlags::SYN;
const SYN_ACK: TcpFlags = TcpFlags::SYN.with(TcpFlags::ACK);
const ACK: TcpFlags = TcpFlags::ACK;
const FIN: TcpFlags = TcpFlags::FIN.with(TcpFlags::ACK);
const RST: TcpFlags = TcpFlags::RST;
const RST_ACK: TcpFlags = TcpFlags::RST.with(TcpFlags::ACK);

/// A segment of `a` or `b`, by offsets from their initial sequence numbers.
fn segment(
    direction: Direction,
    flags: TcpFlags,
    sequence: u32,
    acknowledgement: u32,
    len: u16,
) -> TcpSegment {
    let (own, other) = match direction {
        Original => (A, B),
        Reply => (B, A),
    };
    TcpSegment {
        flags,
        sequence: own.wrapping_add(sequence),
        acknowledgement: other.wrapping_add(acknowledgement),
        window: 1000,
        payload_len_bytes: len,
        window_scale: None,
        sack_permitted: false,
    }
}

struct Connection {
    state: TcpState,
    memory: Memory,
}

impl Connection {
    fn opened_by(segment: &TcpSegment) -> Self {
        let (state, memory) = open(segment);
        Self { state, memory }
    }

    fn syn_sent() -> Self {
        Self::opened_by(&segment(Original, SYN, 0, 0, 0))
    }

    fn established() -> Self {
        let mut connection = Self::syn_sent();
        connection.goes(Reply, SYN_ACK, (0, 1, 0), TcpState::SynRecv);
        connection.goes(Original, ACK, (1, 1, 0), TcpState::Established);
        connection
    }

    fn take(&mut self, direction: Direction, segment: &TcpSegment) -> Step {
        let step = step(self.state, &mut self.memory, direction, segment);
        if let Step::Admit(state, _) = step {
            self.state = state;
        }
        step
    }

    /// The segment (sequence, acknowledgement, length) and then its repetition lead to `expected`.
    #[track_caller]
    fn goes(&mut self, direction: Direction, flags: TcpFlags, numbers: (u32, u32, u16), expected: TcpState) {
        let segment = segment(direction, flags, numbers.0, numbers.1, numbers.2);
        for pass in ["first", "second"] {
            let step = self.take(direction, &segment);
            assert!(matches!(step, Step::Admit(..)), "{pass}: {step:?}");
            assert_eq!(self.state, expected, "{pass} pass");
        }
    }

    #[track_caller]
    fn refuses(&mut self, direction: Direction, flags: TcpFlags, numbers: (u32, u32, u16)) {
        let segment = segment(direction, flags, numbers.0, numbers.1, numbers.2);
        let before = (self.state, self.memory);
        assert_eq!(self.take(direction, &segment), Step::Invalid);
        assert_eq!((self.state, self.memory), before);
    }
}

#[test]
fn a_connection_opens_and_closes_from_either_end() {
    let mut c = Connection::established();
    c.goes(Original, ACK, (1, 1, 100), TcpState::Established);
    c.goes(Reply, ACK, (1, 101, 200), TcpState::Established);
    c.goes(Original, FIN, (101, 201, 0), TcpState::FinWait);
    c.goes(Reply, ACK, (201, 102, 0), TcpState::CloseWait);
    c.goes(Reply, ACK, (201, 102, 50), TcpState::CloseWait);
    c.goes(Original, ACK, (102, 251, 0), TcpState::CloseWait);
    c.goes(Reply, FIN, (251, 102, 0), TcpState::LastAck);
    c.goes(Original, ACK, (102, 252, 0), TcpState::TimeWait);

    let mut c = Connection::established();
    c.goes(Reply, FIN, (1, 1, 10), TcpState::FinWait);
    c.goes(Original, FIN, (1, 12, 0), TcpState::LastAck);
    c.goes(Reply, ACK, (12, 2, 0), TcpState::TimeWait);
}

#[test]
fn a_repeated_fin_is_no_second_fin() {
    let mut c = Connection::established();
    for _ in 0..3 {
        c.goes(Original, FIN, (1, 1, 0), TcpState::FinWait);
    }
}

#[test]
fn both_ends_may_close_at_the_same_time() {
    let mut c = Connection::established();
    c.goes(Original, FIN, (1, 1, 0), TcpState::FinWait);
    c.goes(Reply, FIN, (1, 1, 0), TcpState::LastAck);
    c.goes(Original, ACK, (2, 2, 0), TcpState::LastAck);
    c.goes(Reply, ACK, (2, 2, 0), TcpState::TimeWait);
}

#[test]
fn both_ends_may_open_at_the_same_time() {
    let mut c = Connection::syn_sent();
    c.goes(Reply, SYN, (0, 0, 0), TcpState::SynSent2);
    c.goes(Original, SYN, (0, 0, 0), TcpState::SynSent2);
    c.goes(Original, SYN_ACK, (0, 1, 0), TcpState::SynRecv);
    c.goes(Reply, SYN, (0, 0, 0), TcpState::SynRecv);
    c.goes(Reply, SYN_ACK, (0, 1, 0), TcpState::SynRecv);
    c.goes(Original, ACK, (1, 1, 0), TcpState::Established);
    c.goes(Original, SYN_ACK, (0, 1, 0), TcpState::Established);
    c.goes(Reply, SYN, (0, 0, 0), TcpState::Established);
}

/// A table that is made meanwhile may have missed one SYN, or both.
#[test]
fn a_simultaneous_open_may_be_taken_up_in_the_middle() {
    let mut c = Connection::syn_sent();
    c.goes(Reply, SYN_ACK, (0, 1, 0), TcpState::SynRecv);
    c.refuses(Original, SYN_ACK, (0, 500, 0));
    c.goes(Original, SYN_ACK, (0, 1, 0), TcpState::SynRecv);
    c.goes(Original, ACK, (1, 1, 0), TcpState::Established);
    c.refuses(Original, SYN_ACK, (0, 1, 0));

    let mut c = Connection::opened_by(&segment(Original, SYN_ACK, 0, 1, 0));
    c.goes(Reply, SYN_ACK, (0, 1, 0), TcpState::Established);
    c.goes(Reply, ACK, (1, 1, 100), TcpState::Established);
}

/// The last that the server of an old connection sends must not close the client's port for minutes.
#[test]
fn a_connection_of_which_one_end_was_heard_gives_way_to_a_syn_of_the_other() {
    let mut c = Connection::opened_by(&segment(Original, ACK, 900, 700, 0));
    assert_eq!(c.take(Reply, &segment(Reply, SYN, 5000, 0, 0)), Step::Reopen);
    // Not once both were.
    c.goes(Reply, ACK, (700, 900, 0), TcpState::Established);
    c.refuses(Reply, SYN, (5000, 0, 0));
}

#[test]
fn the_other_end_cannot_open_a_connection_under_an_established_one() {
    let mut c = Connection::established();
    c.refuses(Reply, SYN, (0, 0, 0));
    c.refuses(Original, SYN_ACK, (0, 1, 0));
    c.goes(Original, SYN, (0, 0, 0), TcpState::Established);
    c.goes(Reply, SYN_ACK, (0, 1, 0), TcpState::Established);
}

#[test]
fn only_an_answer_leads_out_of_syn_sent() {
    let mut c = Connection::syn_sent();
    c.goes(Original, SYN, (0, 0, 0), TcpState::SynSent);
    c.refuses(Original, ACK, (1, 1, 0));
    c.refuses(Original, SYN_ACK, (0, 1, 0));
    c.refuses(Original, FIN, (1, 1, 0));
    c.refuses(Reply, FIN, (1, 1, 0));
    // A stale connection's challenge, and the reset that it provokes.
    c.goes(Reply, ACK, (5000, 5000, 0), TcpState::SynSent);
    c.goes(Original, RST, (5000, 0, 0), TcpState::SynSent);
}

#[test]
fn no_tcp_sends_such_flags() {
    let malformed = [
        TcpFlags(0),
        TcpFlags::FIN,
        TcpFlags::PSH,
        SYN.with(TcpFlags::FIN),
        SYN.with(RST),
        FIN.with(RST),
        SYN_ACK.with(TcpFlags::FIN),
    ];
    for flags in malformed {
        assert_eq!(Class::of(flags), Class::Malformed);
        Connection::established().refuses(Original, flags, (1, 1, 0));
    }
    // ECE, CWR, URG and PSH do not count.
    assert_eq!(Class::of(SYN.with(TcpFlags(0xc0))), Class::Syn);
    assert_eq!(Class::of(FIN.with(TcpFlags(0x28))), Class::Fin);
}

#[test]
fn a_refused_connection_closes_only_if_its_syn_is_acknowledged() {
    let mut c = Connection::syn_sent();
    c.goes(Reply, RST, (0, 1, 0), TcpState::SynSent);
    c.goes(Reply, RST_ACK, (0, 2, 0), TcpState::SynSent);
    c.goes(Reply, RST_ACK, (0, 1, 0), TcpState::Close);
}

#[test]
fn a_finished_connection_reopens_with_a_syn_of_either_end() {
    let mut closed = Connection::syn_sent();
    closed.goes(Reply, RST_ACK, (0, 1, 0), TcpState::Close);
    let mut waiting = Connection::established();
    waiting.goes(Reply, FIN, (1, 1, 0), TcpState::FinWait);
    waiting.goes(Original, FIN, (1, 2, 0), TcpState::LastAck);
    waiting.goes(Reply, ACK, (2, 2, 0), TcpState::TimeWait);
    for mut c in [closed, waiting] {
        for direction in [Original, Reply] {
            assert_eq!(c.take(direction, &segment(direction, SYN, 9000, 0, 0)), Step::Reopen);
        }
        let before = c.state;
        c.goes(Original, ACK, (2, 2, 0), before);
        c.goes(Reply, FIN, (1, 1, 0), before);
    }
}

#[test]
fn a_connection_is_assured_once_both_ends_speak_on_it() {
    let assured = |step| matches!(step, Step::Admit(_, Assurance::Assured));
    let mut c = Connection::syn_sent();
    assert!(!assured(c.take(Reply, &segment(Reply, SYN_ACK, 0, 1, 0))));
    assert!(assured(c.take(Original, &segment(Original, ACK, 1, 1, 0))));
    assert!(!assured(c.take(Reply, &segment(Reply, RST, 1, 0, 0))));

    let mut picked_up = Connection::opened_by(&segment(Original, ACK, 1, 1, 10));
    assert_eq!(picked_up.state, TcpState::Established);
    assert!(!assured(picked_up.take(Original, &segment(Original, ACK, 11, 1, 10))));
    assert!(assured(picked_up.take(Reply, &segment(Reply, ACK, 1, 21, 0))));
}

#[test]
fn a_connection_is_picked_up_by_any_of_its_segments() {
    let mut c = Connection::opened_by(&segment(Original, ACK, 40_000, 90_000, 100));
    c.goes(Reply, ACK, (90_000, 40_100, 500), TcpState::Established);
    c.goes(Original, RST, (39_000, 0, 0), TcpState::Established);
    c.goes(Original, RST, (40_100, 0, 0), TcpState::Close);

    let mut c = Connection::opened_by(&segment(Original, FIN, 40_000, 90_000, 0));
    assert_eq!(c.state, TcpState::FinWait);
    c.goes(Reply, ACK, (90_000, 40_001, 0), TcpState::CloseWait);

    // By the server's answer: the client may still repeat its SYN.
    let mut c = Connection::opened_by(&segment(Original, SYN_ACK, 0, 1, 0));
    c.goes(Reply, SYN, (0, 0, 0), TcpState::Established);
    c.goes(Original, SYN_ACK, (0, 1, 0), TcpState::Established);
    c.goes(Reply, ACK, (1, 1, 0), TcpState::Established);
}
