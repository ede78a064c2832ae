//! UDP: nothing to check, only whether both ends speak and for how long.

use crate::Direction;
use crate::state::{Assurance, UdpState};

/// A question and its answer do not make a stream; packets both ways after this long do
/// (`nf_conntrack_proto_udp.c`, `stream_ts`: two seconds), in ticks.
const STREAM_AFTER: u64 = (2_000_000_000_u64).div_ceil(1 << crate::timeout::TICK_BITS);

/// The state after a packet in `direction`, on a flow that is `age` ticks old.
#[inline]
pub(crate) fn step(state: UdpState, direction: Direction, age: u64) -> (UdpState, Assurance) {
    let next = match (state, direction) {
        (UdpState::Unreplied, Direction::Original) => UdpState::Unreplied,
        (UdpState::Stream, _) => UdpState::Stream,
        (UdpState::Unreplied, Direction::Reply) | (UdpState::Replied, _) if age >= STREAM_AFTER => {
            UdpState::Stream
        }
        (UdpState::Unreplied, Direction::Reply) | (UdpState::Replied, _) => UdpState::Replied,
    };
    let assurance = match next {
        UdpState::Stream => Assurance::Assured,
        UdpState::Unreplied | UdpState::Replied => Assurance::Tentative,
    };
    (next, assurance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};

    #[test]
    fn a_flow_is_a_stream_once_both_ends_still_speak_after_two_seconds() {
        let mut state = UdpState::Unreplied;
        for (direction, age, expected) in [
            (Original, 0, UdpState::Unreplied),
            (Original, STREAM_AFTER + 1, UdpState::Unreplied),
            (Reply, 1, UdpState::Replied),
            (Original, STREAM_AFTER - 1, UdpState::Replied),
            (Original, STREAM_AFTER, UdpState::Stream),
            (Reply, 0, UdpState::Stream),
        ] {
            let (next, assurance) = step(state, direction, age);
            assert_eq!(next, expected);
            assert_eq!(assurance == Assurance::Assured, next == UdpState::Stream);
            state = next;
        }
    }
}
