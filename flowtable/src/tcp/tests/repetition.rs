//! Tests with segments in any order: what was admitted is admitted again, and nothing fails.

use proptest::prelude::*;

use super::*;

fn any_segment() -> impl Strategy<Value = (Direction, TcpSegment)> {
    let direction = prop_oneof![Just(Original), Just(Reply)];
    let flags = prop_oneof![Just(SYN), Just(SYN_ACK), Just(ACK), Just(FIN), Just(RST), Just(RST_ACK)];
    (direction, flags, 0u32..6, 0u32..6, 0u16..3, prop::option::of(0u8..16)).prop_map(
        |(direction, flags, sequence, acknowledgement, len, window_scale)| {
            let plain = segment(direction, flags, sequence, acknowledgement, len);
            (direction, TcpSegment { window_scale, ..plain })
        },
    )
}

proptest! {
    /// A segment may pass the table twice, at once or a little later.
    #[test]
    fn a_segment_that_was_admitted_is_admitted_again(
        opener in any_segment(),
        segments in prop::collection::vec(any_segment(), 0..40),
    ) {
        prop_assume!(!opener.1.flags.contains(RST));
        let mut c = Connection::opened_by(&opener.1);
        for (direction, segment) in segments {
            if matches!(c.take(direction, &segment), Step::Admit(..)) {
                let (state, memory) = (c.state, c.memory);
                let again = c.take(direction, &segment);
                prop_assert!(matches!(again, Step::Admit(..)) && c.state == state && c.memory == memory,
                    "{segment:?} in {state:?}: {again:?} to {:?}", c.state);
            }
        }
    }

    /// Neither the numbers nor the order of what a peer sends can make the tracker fail.
    #[test]
    fn any_numbers_are_taken(
        numbers in prop::collection::vec(
            (any::<bool>(), any::<u8>(), any::<u32>(), any::<u32>(), any::<u16>(), any::<u16>(), any::<Option<u8>>()), 1..40),
    ) {
        let mut connection: Option<Connection> = None;
        for (reply, flags, sequence, acknowledgement, window, payload_len_bytes, window_scale) in numbers {
            let direction = if reply { Reply } else { Original };
            let segment = TcpSegment {
                flags: TcpFlags(flags), sequence, acknowledgement, window, payload_len_bytes, window_scale,
                sack_permitted: false,
            };
            match &mut connection {
                None if !matches!(Class::of(segment.flags), Class::Rst | Class::Malformed) => {
                    connection = Some(Connection::opened_by(&segment));
                }
                None => {}
                Some(connection) => {
                    connection.take(direction, &segment);
                }
            }
        }
    }
}
