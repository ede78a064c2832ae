//! SCTP: the association's states by the first chunk of each packet (RFC 9260, section 4), and its
//! verification tags (8.5), after `net/netfilter/nf_conntrack_proto_sctp.c`.
//!
//! Only the first chunk is known, so bundled control chunks that matter come first by the RFC's
//! own rules (6.10: INIT, INIT ACK and SHUTDOWN COMPLETE travel alone; COOKIE ECHO and COOKIE ACK
//! come before DATA). The tags that INIT and INIT ACK propose lie deeper; they are learned from the
//! first packet that carries them, which is part of the handshake.

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

/// The verification tags of each direction, indexed by it; 0, which no association uses (RFC 9260,
/// 5.3.1), is "not yet known".
#[derive(Clone, Copy)]
struct Tags {
    /// Those in force.
    seen: [u32; 2],
    /// Those of a restart under way (RFC 9260, 5.2), and after it those that were in force before: what
    /// the other worker still holds may carry them.
    others: [u32; 2],
    /// An INIT came on an association that lives.
    is_restarting: bool,
}

impl Tags {
    fn load(memory: &Memory) -> Self {
        let pair = |word: u64| [word as u32, (word >> 32) as u32];
        Self {
            seen: pair(memory.words[0]),
            others: pair(memory.words[1]),
            is_restarting: memory.marks[0] & 1 == 1,
        }
    }

    fn store(self, memory: &mut Memory) {
        let word = |pair: [u32; 2]| u64::from(pair[0]) | u64::from(pair[1]) << 32;
        memory.words[0] = word(self.seen);
        memory.words[1] = word(self.others);
        memory.marks[0] = u16::from(self.is_restarting);
    }

    /// Whether a packet that ends the association carries one of its tags. A sender that has lost
    /// the association reflects the tag it was sent (RFC 9260, 8.5.1, the T bit).
    fn know(&self, tag: u32) -> bool {
        self.seen.contains(&tag) || self.is_restarting && self.others.contains(&tag)
    }

    /// Whether a packet in `direction` may carry `tag`; the first one tells it.
    fn take(&mut self, direction: Direction, tag: u32) -> bool {
        let seen = &mut self.seen[direction.index()];
        if *seen == 0 {
            *seen = tag;
        }
        *seen == tag || self.others[direction.index()] == tag
    }

    /// Takes the tags of the restart into force, once both are known.
    fn finish_restart(&mut self) {
        if self.is_restarting && !self.others.contains(&0) {
            std::mem::swap(&mut self.seen, &mut self.others);
            self.is_restarting = false;
        }
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
    /// Its tag is not the association's: its receiver would drop it.
    Refuse,
}

/// Takes one packet in `direction`.
pub(crate) fn step(
    state: SctpState,
    memory: &mut Memory,
    direction: Direction,
    verification_tag: u32,
    first_chunk: u8,
) -> Step {
    use SctpState::{Closed, CookieEchoed, CookieWait};
    let mut tags = Tags::load(memory);
    let next = match advance(state, &mut tags, direction, verification_tag, first_chunk) {
        Ok(next) => next,
        Err(step) => return step,
    };
    tags.store(memory);
    let assurance = match next {
        CookieWait | CookieEchoed | Closed => Assurance::Tentative,
        _ => Assurance::Assured,
    };
    Step::Admit(next, assurance)
}

/// The state after a packet, or why it does not belong to the association.
#[allow(clippy::match_same_arms, reason = "one arm a rule, in the order of the association's life")]
fn advance(
    state: SctpState,
    tags: &mut Tags,
    direction: Direction,
    tag: u32,
    first_chunk: u8,
) -> Result<SctpState, Step> {
    use SctpState::{
        Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownReceived, ShutdownSent,
    };
    match (first_chunk, state) {
        // INIT has tag 0, and nothing else has (RFC 9260, 8.5.1).
        _ if (first_chunk == chunk::INIT) != (tag == 0) => return Err(Step::Refuse),
        (chunk::INIT, Closed) => return Err(Step::Reopen),
        (chunk::INIT, CookieWait) => return Ok(CookieWait),
        (chunk::INIT, _) => {
            tags.is_restarting = true;
            return Ok(state);
        }
        // Until there is a cookie, both ends may still change their minds about the tags.
        (chunk::INIT_ACK, CookieWait) => {
            tags.seen[direction.index()] = tag;
            return Ok(CookieWait);
        }
        (chunk::INIT_ACK | chunk::COOKIE_ECHO | chunk::COOKIE_ACK, _) if tags.is_restarting => {
            tags.others[direction.index()] = tag;
            if first_chunk == chunk::COOKIE_ACK {
                tags.finish_restart();
            }
        }
        // An INIT that is refused is answered with the tag it proposed, which was not read: then
        // there is nothing to lose. It is known from now on: the same packet may come again.
        (chunk::ABORT, CookieWait) if direction == Direction::Reply => {
            tags.seen[direction.index()] = tag;
            return Ok(Closed);
        }
        (chunk::ABORT, CookieWait) => return Ok(CookieWait),
        (chunk::ABORT, _) if tags.know(tag) => return Ok(Closed),
        (chunk::SHUTDOWN_COMPLETE, ShutdownAckSent | Closed) if tags.know(tag) => return Ok(Closed),
        (chunk::SHUTDOWN_COMPLETE, _) if tags.know(tag) => return Ok(state),
        (chunk::ABORT | chunk::SHUTDOWN_COMPLETE, _) => return Err(Step::Refuse),
        _ => {}
    }
    if !tags.take(direction, tag) {
        return Err(Step::Refuse);
    }
    Ok(match (first_chunk, state, direction) {
        (chunk::COOKIE_ECHO, CookieWait, _) => CookieEchoed,
        (chunk::COOKIE_ACK, CookieEchoed, _) => Established,
        (chunk::SHUTDOWN, Established, Direction::Original) => ShutdownSent,
        (chunk::SHUTDOWN, Established, Direction::Reply) => ShutdownReceived,
        (chunk::SHUTDOWN_ACK, Established | ShutdownSent | ShutdownReceived, _) => ShutdownAckSent,
        _ => state,
    })
}

#[cfg(test)]
mod tests;
