//! The behaviours that netfilter states for its own tracker, as scripts for packetdrill
//! (`tools/testing/selftests/net/netfilter/packetdrill/` of the kernel's tree), each under its name there.

use super::*;

/// Numbers may be far from both ends' initial ones: those of an older connection.
const OLDER: (u32, u32) = (0x08b1_0000, 0x2655_0000);

#[test]
fn conntrack_ack_loss_stall() {
    // Data that was acknowledged long ago comes again because the ACK was lost: it has to reach the
    // receiver, or the connection stalls.
    let mut c = Connection::established();
    for round in 0..46 {
        c.goes(Original, ACK, (1 + round * 1460, 1, 1460), TcpState::Established);
        c.goes(Reply, ACK, (1, 1 + (round + 1) * 1460, 0), TcpState::Established);
    }
    c.goes(Original, ACK, (1, 1, 1460), TcpState::Established);
    c.goes(Reply, ACK, (1, 1 + 46 * 1460, 0), TcpState::Established);
}

#[test]
fn conntrack_inexact_rst() {
    // After the server's FIN the client resets, because it has not read everything. That closes, and
    // a second reset, whose number is old, is no reason to complain.
    let mut c = Connection::established();
    for first in [1, 1001, 2001] {
        c.goes(Reply, ACK, (first, 1, 1000), TcpState::Established);
        c.goes(Original, ACK, (1, first + 1000, 0), TcpState::Established);
    }
    c.goes(Original, ACK, (1, 3001, 1000), TcpState::Established);
    c.goes(Reply, FIN, (3001, 1001, 0), TcpState::FinWait);
    c.goes(Original, ACK, (1001, 3002, 0), TcpState::CloseWait);
    c.goes(Original, RST_ACK, (1001, 3002, 0), TcpState::Close);
    c.goes(Reply, RST, (2001, 0, 0), TcpState::Close);
}

#[test]
fn conntrack_rst_invalid() {
    // Behind what was acknowledged or beyond the window, a reset is refused and changes nothing; at
    // the very next byte it closes.
    let mut c = Connection::established();
    for first in [1, 1001, 2001] {
        c.goes(Reply, ACK, (first, 1, 1000), TcpState::Established);
        c.goes(Original, ACK, (1, first + 1000, 0), TcpState::Established);
    }
    c.refuses(Reply, RST, (0, 0, 0));
    c.refuses(Reply, RST, (1_000_000, 0, 0));
    c.refuses(Reply, RST, (42, 0, 0));
    c.goes(Original, ACK, (1, 3001, 1000), TcpState::Established);
    c.goes(Reply, ACK, (3001, 1001, 0), TcpState::Established);
    c.refuses(Reply, RST_ACK, (3000, 1001, 0));
    c.goes(Reply, RST_ACK, (3001, 1001, 0), TcpState::Close);
}

#[test]
fn conntrack_syn_challenge_ack() {
    // The server still has an older connection: its challenge passes, so does the client's reset, and
    // the SYN that follows opens as if nothing had been.
    let mut c = Connection::syn_sent();
    c.goes(Reply, ACK, (OLDER.0, OLDER.1, 0), TcpState::SynSent);
    c.goes(Original, RST, (OLDER.1, 0, 0), TcpState::SynSent);
    c.goes(Original, SYN, (0, 0, 0), TcpState::SynSent);
    c.goes(Reply, SYN_ACK, (0, 1, 0), TcpState::SynRecv);
    assert!(matches!(
        c.take(Original, &segment(Original, ACK, 1, 1, 0)),
        Step::Admit(TcpState::Established, Assurance::Assured)
    ));
}

#[test]
fn conntrack_synack_old() {
    // The answer to an older SYN is refused and teaches nothing; the right one opens.
    let mut c = Connection::syn_sent();
    c.refuses(Reply, SYN_ACK, (OLDER.0, OLDER.1, 0));
    c.goes(Original, SYN, (0, 0, 0), TcpState::SynSent);
    c.goes(Reply, SYN_ACK, (OLDER.0 - 65_535, 1, 0), TcpState::SynRecv);
    assert!(matches!(
        c.take(Original, &segment(Original, ACK, 1, OLDER.0 - 65_534, 1)),
        Step::Admit(TcpState::Established, Assurance::Assured)
    ));
}

#[test]
fn conntrack_synack_reuse() {
    // A SYN on an established connection is challenged, the client resets the old one, and its next
    // SYN opens anew.
    let mut c = Connection::established();
    c.goes(Original, ACK, (1, 1, 100), TcpState::Established);
    c.goes(Reply, ACK, (1, 101, 0), TcpState::Established);
    c.goes(Original, SYN, (2000, 0, 0), TcpState::Established);
    c.goes(Reply, ACK, (1, 101, 0), TcpState::Established);
    c.goes(Original, RST_ACK, (101, 1, 0), TcpState::Close);
    let again = segment(Original, SYN, 2000, 0, 0);
    assert_eq!(c.take(Original, &again), Step::Reopen);
    let mut c = Connection::opened_by(&again);
    c.goes(Reply, SYN_ACK, (9_000, 2001, 0), TcpState::SynRecv);
}
