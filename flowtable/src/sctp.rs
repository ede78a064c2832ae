//! SCTP: the association's states by the first chunk of each packet (RFC 9260, section 4).
//!
//! Only the first chunk is known, so bundled control chunks that matter come first by the RFC's
//! own rules (6.10: INIT, INIT ACK and SHUTDOWN COMPLETE travel alone; COOKIE ECHO and COOKIE ACK
//! come before DATA).

use crate::Direction;
use crate::entry::Memory;
use crate::state::{Assurance, SctpState};

mod chunk {
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const ABORT: u8 = 6;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The verification tag of each direction, once a packet other than INIT has shown it.
#[derive(Clone, Copy)]
struct Tags {
    /// Indexed by direction; 0, which no association uses (RFC 9260, 5.3.1), is "not yet known".
    seen: [u32; 2],
}

impl Tags {
    fn load(memory: &Memory) -> Self {
        Self { seen: [memory.words[0] as u32, (memory.words[0] >> 32) as u32] }
    }

    fn store(self, memory: &mut Memory) {
        memory.words[0] = u64::from(self.seen[0]) | u64::from(self.seen[1]) << 32;
    }

    /// Whether a packet that ends the association carries one of its tags. A sender that has lost
    /// the association reflects the tag it was sent (RFC 9260, 8.5.1, the T bit).
    fn know(self, tag: u32) -> bool {
        tag != 0 && self.seen.contains(&tag)
    }
}

/// Whether a packet may open an association: an INIT, whose tag must be 0 (RFC 9260, 8.5.1).
#[inline]
pub(crate) fn opens(verification_tag: u32, first_chunk: u8) -> bool {
    first_chunk == chunk::INIT && verification_tag == 0
}

/// What a packet does to an association.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// It belongs to it, which is now here.
    Admit(SctpState, Assurance),
    /// It starts another association on the same ports: to be decided anew.
    Reopen,
}

/// Takes one packet in `direction`.
#[allow(clippy::match_same_arms, reason = "one arm a rule, in the order of the association's life")]
pub(crate) fn step(
    state: SctpState,
    memory: &mut Memory,
    direction: Direction,
    verification_tag: u32,
    first_chunk: u8,
) -> Step {
    use SctpState::{
        Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownReceived, ShutdownSent,
    };
    let mut tags = Tags::load(memory);
    if state == Closed && first_chunk == chunk::INIT {
        return Step::Reopen;
    }
    let ends = first_chunk == chunk::ABORT || first_chunk == chunk::SHUTDOWN_COMPLETE;
    let next = match (first_chunk, state, direction) {
        // A forged end must know a tag (RFC 9260, 8.5); otherwise the receiver drops it, and so
        // the association goes on. An INIT that is refused is answered with the tag it proposed,
        // which was not read: then there is nothing to lose.
        (chunk::ABORT, CookieWait, Direction::Reply) => Closed,
        (chunk::ABORT, ..) if tags.know(verification_tag) => Closed,
        (chunk::SHUTDOWN_COMPLETE, ShutdownAckSent, _) if tags.know(verification_tag) => Closed,
        (chunk::COOKIE_ECHO, CookieWait, Direction::Original) => CookieEchoed,
        (chunk::COOKIE_ACK, CookieEchoed, Direction::Reply) => Established,
        (chunk::SHUTDOWN, Established, Direction::Original) => ShutdownSent,
        (chunk::SHUTDOWN, Established, Direction::Reply) => ShutdownReceived,
        (chunk::SHUTDOWN_ACK, Established | ShutdownSent | ShutdownReceived, _) => ShutdownAckSent,
        _ => state,
    };
    let seen = &mut tags.seen[direction.index()];
    // INIT travels with tag 0; an end of the association may carry the other direction's tag. A
    // restart (RFC 9260, 5.2) brings new tags with its COOKIE ECHO and COOKIE ACK.
    let brings_tag = matches!(first_chunk, chunk::INIT_ACK | chunk::COOKIE_ECHO | chunk::COOKIE_ACK);
    if !ends && first_chunk != chunk::INIT && (*seen == 0 || brings_tag) {
        *seen = verification_tag;
    }
    tags.store(memory);
    let assurance = match next {
        CookieWait | CookieEchoed | Closed => Assurance::Tentative,
        Established | ShutdownSent | ShutdownReceived | ShutdownAckSent => Assurance::Assured,
    };
    Step::Admit(next, assurance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};

    /// Tags: the responder's, carried by the originator, and the other way round.
    const TO_RESPONDER: u32 = 0xaaaa;
    const TO_ORIGINATOR: u32 = 0xbbbb;

    fn run(packets: &[(Direction, u32, u8, SctpState)]) -> (SctpState, Memory) {
        let (mut state, mut memory) = (SctpState::CookieWait, Memory::default());
        for &(direction, tag, chunk, expected) in packets {
            let Step::Admit(next, _) = step(state, &mut memory, direction, tag, chunk) else {
                panic!("{chunk} reopened in {state:?}")
            };
            assert_eq!(next, expected, "chunk {chunk} in {state:?}");
            state = next;
        }
        (state, memory)
    }

    const HANDSHAKE: [(Direction, u32, u8, SctpState); 5] = [
        (Original, 0, chunk::INIT, SctpState::CookieWait),
        (Reply, TO_ORIGINATOR, chunk::INIT_ACK, SctpState::CookieWait),
        (Original, TO_RESPONDER, chunk::COOKIE_ECHO, SctpState::CookieEchoed),
        (Reply, TO_ORIGINATOR, chunk::COOKIE_ACK, SctpState::Established),
        (Original, TO_RESPONDER, 0, SctpState::Established),
    ];

    #[test]
    fn an_association_lives_and_shuts_down() {
        let (state, mut memory) = run(&HANDSHAKE);
        let (next, _) = run(&[
            &HANDSHAKE[..],
            &[
                (Reply, TO_ORIGINATOR, chunk::SHUTDOWN, SctpState::ShutdownReceived),
                (Reply, TO_ORIGINATOR, chunk::SHUTDOWN, SctpState::ShutdownReceived),
                (Original, TO_RESPONDER, chunk::SHUTDOWN_ACK, SctpState::ShutdownAckSent),
                (Reply, TO_ORIGINATOR, chunk::SHUTDOWN_COMPLETE, SctpState::Closed),
            ],
        ]
        .concat());
        assert_eq!(step(next, &mut memory, Original, 0, chunk::INIT), Step::Reopen);
        assert_eq!(
            step(state, &mut memory, Original, TO_RESPONDER, 0),
            Step::Admit(SctpState::Established, Assurance::Assured)
        );
    }

    #[test]
    fn only_a_known_tag_ends_an_association() {
        let (state, mut memory) = run(&HANDSHAKE);
        for (direction, tag, expected) in [
            (Original, 1, SctpState::Established),
            (Reply, 0, SctpState::Established),
            (Reply, TO_ORIGINATOR, SctpState::Closed),
            (Reply, TO_RESPONDER, SctpState::Closed),
        ] {
            let Step::Admit(next, _) = step(state, &mut memory, direction, tag, chunk::ABORT) else {
                panic!()
            };
            assert_eq!(next, expected);
        }
    }

    #[test]
    fn a_refused_init_closes_at_once() {
        let mut memory = Memory::default();
        assert_eq!(
            step(SctpState::CookieWait, &mut memory, Reply, 77, chunk::ABORT),
            Step::Admit(SctpState::Closed, Assurance::Tentative)
        );
    }
}
