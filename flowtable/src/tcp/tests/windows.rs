//! Tests of what the windows refuse, let through, and make of an RST.

use super::*;

#[test]
fn data_beyond_the_receivers_window_is_refused() {
    let mut c = Connection::established();
    // `b` has acknowledged 1 and offered 1000.
    c.goes(Reply, ACK, (1, 1, 0), TcpState::Established);
    c.refuses(Original, ACK, (1002, 1, 1));
    c.refuses(Original, FIN, (500_000, 1, 0));
    c.goes(Original, ACK, (1, 1, 1000), TcpState::Established);
    // A probe of a closed window begins at its edge (RFC 9293, 3.8.6.1).
    c.goes(Original, ACK, (1001, 1, 1), TcpState::Established);
    // A wider window moves the edge, and a narrower one does not move it back.
    let wide = TcpSegment { window: 5000, ..segment(Reply, ACK, 1, 1001, 0) };
    assert!(matches!(c.take(Reply, &wide), Step::Admit(..)));
    c.goes(Reply, ACK, (1, 1001, 0), TcpState::Established);
    c.goes(Original, ACK, (6001, 1, 100), TcpState::Established);
    c.refuses(Original, ACK, (6002, 1, 100));
}

#[test]
fn what_was_never_sent_is_not_acknowledged() {
    let mut c = Connection::established();
    c.goes(Original, ACK, (1, 1, 100), TcpState::Established);
    c.refuses(Reply, ACK, (1, 70_000, 0));
    c.refuses(Reply, FIN, (1, 0x8000_0000 - 1, 0));
    c.goes(Reply, ACK, (1, 101, 0), TcpState::Established);
    // Of a fragmented datagram only the first fragment was measured; the window moves on all the same.
    c.goes(Reply, ACK, (1, 9_000, 0), TcpState::Established);
    c.goes(Original, ACK, (9_900, 1, 100), TcpState::Established);
}

#[test]
fn what_is_late_passes_and_teaches_nothing() {
    let mut c = Connection::established();
    let mut sent = 1;
    for _ in 0..100 {
        c.goes(Original, ACK, (sent, 1, 1000), TcpState::Established);
        sent += 1000;
        c.goes(Reply, ACK, (1, sent, 0), TcpState::Established);
    }
    let before = c.memory;
    // A retransmission of the first segment, an ACK that was overtaken, a FIN out of nowhere.
    c.goes(Original, ACK, (1, 1, 1000), TcpState::Established);
    c.goes(Reply, ACK, (1, 1001, 0), TcpState::Established);
    c.goes(Original, FIN, (500, 1, 0), TcpState::Established);
    assert_eq!(c.memory, before);
}

#[test]
fn segments_of_one_window_may_come_in_any_order() {
    let mut c = Connection::established();
    c.goes(Reply, ACK, (1, 1, 0), TcpState::Established);
    for first in [801, 201, 601, 1, 401] {
        c.goes(Original, ACK, (first, 1, 200), TcpState::Established);
    }
    for acknowledged in [1001, 401, 601] {
        c.goes(Reply, ACK, (1, acknowledged, 0), TcpState::Established);
    }
    // The FIN overtakes the data before it.
    c.goes(Original, FIN, (1501, 1, 0), TcpState::FinWait);
    c.goes(Original, ACK, (1001, 1, 500), TcpState::FinWait);
    c.goes(Reply, ACK, (1, 1001, 0), TcpState::FinWait);
    c.goes(Reply, ACK, (1, 1502, 0), TcpState::CloseWait);
}

#[test]
fn a_connection_taken_up_in_the_middle_is_not_held_to_its_windows() {
    let mut c = Connection::opened_by(&segment(Original, ACK, 40_000, 90_000, 100));
    c.goes(Reply, ACK, (90_000, 5_000_000, 500), TcpState::Established);
    c.goes(Original, ACK, (0x7000_0000, 90_500, 100), TcpState::Established);
    c.goes(Original, RST, (77, 0, 0), TcpState::Established);
    c.goes(Original, RST, (0x7000_0064, 0, 0), TcpState::Close);
}

#[test]
fn windows_are_scaled_only_if_both_ends_offer_it() {
    for (answer, furthest) in [(Some(3), 1 + (1000 << 3)), (None, 1001)] {
        let syn = TcpSegment { window_scale: Some(7), ..segment(Original, SYN, 0, 0, 0) };
        let mut c = Connection::opened_by(&syn);
        let syn_ack = TcpSegment { window_scale: answer, ..segment(Reply, SYN_ACK, 0, 1, 0) };
        c.take(Reply, &syn_ack);
        c.goes(Original, ACK, (1, 1, 0), TcpState::Established);
        // The window of SYN and ACK itself is never scaled (RFC 7323, 2.2).
        c.refuses(Original, ACK, (1002, 1, 10));
        c.goes(Reply, ACK, (1, 1, 0), TcpState::Established);
        c.refuses(Original, ACK, (furthest + 1, 1, 10));
        c.goes(Original, ACK, (furthest, 1, 10), TcpState::Established);
        c.goes(Original, RST, (furthest + 10, 0, 0), TcpState::Close);
    }
}

#[test]
fn data_on_a_syn_may_be_acknowledged_or_not() {
    for acknowledged in [1, 60, 101] {
        let mut c = Connection::opened_by(&segment(Original, SYN, 0, 0, 100));
        // Sent again without the data (RFC 7413, 4.1.3).
        c.goes(Original, SYN, (0, 0, 0), TcpState::SynSent);
        c.goes(Reply, SYN_ACK, (0, acknowledged, 0), TcpState::SynRecv);
        c.goes(Reply, ACK, (1, acknowledged, 300), TcpState::SynRecv);
        c.goes(Original, ACK, (acknowledged, 1, 100), TcpState::Established);
        c.goes(Reply, ACK, (301, acknowledged + 100, 0), TcpState::Established);
    }
}

#[test]
fn an_answer_with_another_cookie_leaves_it_open_which_one_counts() {
    let mut c = Connection::syn_sent();
    c.refuses(Reply, SYN_ACK, (99_999, 77, 0));
    c.refuses(Reply, SYN_ACK, (99_999, 0, 0));
    c.goes(Reply, SYN_ACK, (99_999, 1, 0), TcpState::SynRecv);
    c.refuses(Reply, SYN_ACK, (0, 77, 0));
    c.goes(Reply, SYN_ACK, (5_000_000, 1, 0), TcpState::SynRecv);
    c.goes(Original, ACK, (1, 100_000, 0), TcpState::Established);
    c.goes(Reply, ACK, (100_000, 1, 500), TcpState::Established);
    c.goes(Original, ACK, (1, 100_500, 0), TcpState::Established);
    c.goes(Reply, RST, (100_500, 0, 0), TcpState::Close);
}

#[test]
fn a_server_that_lost_the_connection_takes_the_clients_next_one() {
    let mut c = Connection::established();
    c.goes(Original, ACK, (1, 1, 100), TcpState::Established);
    c.goes(Original, SYN, (7_000_000, 0, 0), TcpState::Established);
    c.goes(Reply, SYN_ACK, (3_000_000, 7_000_001, 0), TcpState::SynRecv);
    c.goes(Original, ACK, (7_000_001, 3_000_001, 100), TcpState::Established);
    c.goes(Reply, ACK, (3_000_001, 7_000_101, 500), TcpState::Established);
    c.refuses(Reply, ACK, (1, 0x1000_0000, 500));

    // Unless it is only the first one's, come late.
    let mut c = Connection::established();
    c.goes(Original, SYN, (0, 0, 0), TcpState::Established);
    c.goes(Reply, SYN_ACK, (0, 1, 0), TcpState::Established);
}

#[test]
fn an_rst_ends_an_established_connection_only_at_the_expected_byte() {
    let talking = || {
        let mut c = Connection::established();
        c.goes(Original, ACK, (1, 1, 100), TcpState::Established);
        c.goes(Reply, ACK, (1, 51, 30), TcpState::Established);
        c
    };
    // `a` has sent to 101, and `b` has acknowledged 51 with a window of 1000.
    for (sequence, expected) in [
        (51, TcpState::Close),
        (101, TcpState::Close),
        (52, TcpState::Established),
        (1051, TcpState::Established),
    ] {
        talking().goes(Original, RST, (sequence, 0, 0), expected);
    }
    for sequence in [50, 1052, 0u32.wrapping_sub(5), 0x8000_0000] {
        talking().refuses(Original, RST, (sequence, 0, 0));
    }
    talking().goes(Reply, RST_ACK, (31, 101, 0), TcpState::Close);
    talking().goes(Reply, RST_ACK, (1, 101, 0), TcpState::Close);
    talking().goes(Reply, RST_ACK, (900, 101, 0), TcpState::Established);
}

/// A SYN that comes once more after its connection was reset opens another one, and the reset that
/// was sent meanwhile ends that: found in a capture of a line that repeats and overtakes.
#[test]
fn the_answer_to_a_syn_passes_after_the_reset_that_overtook_it() {
    let mut c = Connection::syn_sent();
    c.goes(Original, RST, (1, 0, 0), TcpState::Close);
    c.goes(Reply, SYN_ACK, (0, 1, 0), TcpState::Close);
    c.goes(Original, RST, (1, 0, 0), TcpState::Close);
    c.refuses(Reply, SYN_ACK, (0, 77, 0));
    c.refuses(Original, SYN_ACK, (0, 1, 0));
}

#[test]
fn while_closing_an_rst_anywhere_in_the_window_will_do() {
    for (sequence, expected) in
        [(2, TcpState::Close), (1001, TcpState::Close), (1003, TcpState::CloseWait), (0, TcpState::CloseWait)]
    {
        let mut c = Connection::established();
        c.goes(Reply, FIN, (1, 1, 0), TcpState::FinWait);
        c.goes(Original, ACK, (1, 2, 0), TcpState::CloseWait);
        c.goes(Reply, RST, (sequence, 0, 0), expected);
    }
}
