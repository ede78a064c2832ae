//! ICMP queries, and protocols that have no tracker: only whether the other end answered.
//!
//! An ICMP *error* is no flow of its own: it belongs to the flow whose packet it quotes (RFC 5508,
//! section 4), which [`FlowTable::find`](crate::FlowTable::find) gives.

use crate::Direction;
use crate::state::ReplyState;

/// The state after a packet in `direction`.
#[inline]
pub(crate) fn step(state: ReplyState, direction: Direction) -> ReplyState {
    match (state, direction) {
        (ReplyState::Unreplied, Direction::Original) => ReplyState::Unreplied,
        (ReplyState::Replied, _) | (ReplyState::Unreplied, Direction::Reply) => ReplyState::Replied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_other_end_answers() {
        use {Direction::*, ReplyState::*};
        assert_eq!(step(Unreplied, Original), Unreplied);
        assert_eq!(step(Unreplied, Reply), Replied);
        assert_eq!(step(Replied, Original), Replied);
        assert_eq!(step(Replied, Reply), Replied);
    }
}
