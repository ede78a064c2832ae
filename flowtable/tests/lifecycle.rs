//! A flow's life in the table: opening, being found, ending, making room.

mod common;

use std::time::Duration;

use common::*;
use podgate_flowtable::{
    Assurance, Config, ConfigError, Direction, ExpiryCursor, FlowId, FlowState, FlowTable, IcmpRole,
    IpProtocol, MAX_CAPACITY, OpenError, Packet, Refusal, ReplyState, SctpState, TableStats, TcpFlags,
    TcpState, Time, Track, Transport, UdpState,
};

#[track_caller]
fn known(track: Track) -> podgate_flowtable::Known {
    match track {
        Track::Known(known) => known,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_directions_are_one_flow() {
    let table = table(10);
    let (request, reply) = (udp(1), answer(udp(1)));
    assert_eq!(table.track(&request, ticks(5)), Track::MayOpen);
    assert_eq!(table.stats(), TableStats::default());
    let id = table.open(&request, decision(7), ticks(5)).unwrap();
    for (packet, direction) in [(request, Direction::Original), (reply, Direction::Reply)] {
        let found = known(table.track(&packet, ticks(6)));
        assert_eq!((found.id, found.direction), (id, direction));
        assert_eq!((found.original, found.decision), (request.tuple, decision(7)));
    }
    let (view, direction) = table.find(&reply.tuple).unwrap();
    assert_eq!(direction, Direction::Reply);
    assert_eq!(view.state, FlowState::Udp(UdpState::Replied));
    assert_eq!((view.packets, view.bytes), ([2, 1], [120, 60]));
    assert_eq!((view.opened, view.last_seen), (ticks(5), ticks(6)));
    assert_eq!(view.assurance, Assurance::Tentative);
    assert_eq!(view.expires_at, ticks(6 + in_ticks(Duration::from_secs(30)) + 1));
    assert_eq!(table.views().collect::<Vec<_>>(), [view]);
    assert_eq!(table.stats(), TableStats { opened: 1, ..TableStats::default() });
    assert_eq!((table.len(), table.capacity(), table.is_empty()), (1, 10, false));
}

#[test]
fn only_an_opening_packet_opens() {
    let table = table(10);
    let sctp = |verification_tag, first_chunk| {
        packet(tuple(1, IpProtocol::SCTP), Transport::Sctp { verification_tag, first_chunk })
    };
    let other = packet(tuple(1, IpProtocol(47)), Transport::Other);
    for opener in [tcp(1, SYN), udp(1), icmp(1, IcmpRole::Request), sctp(0, 1), other] {
        assert_eq!(table.track(&opener, ticks(0)), Track::MayOpen);
    }
    for (packet, refusal) in [
        (tcp(1, ACK), Refusal::NoFlow),
        (tcp(1, SYN_ACK), Refusal::NoFlow),
        (tcp(1, RST_ACK), Refusal::NoFlow),
        (tcp(1, TcpFlags::FIN.with(SYN)), Refusal::TcpInvalid),
        (icmp(1, IcmpRole::Reply), Refusal::NoFlow),
        (sctp(9, 1), Refusal::NoFlow),
        (sctp(9, 0), Refusal::NoFlow),
    ] {
        assert_eq!(table.track(&packet, ticks(0)), Track::Refused(refusal));
        assert_eq!(table.open(&packet, decision(0), ticks(0)), Err(OpenError::NotAnOpener(refusal)));
    }
    assert_eq!((table.len(), table.stats()), (0, TableStats::default()));
}

#[test]
fn connections_are_picked_up_for_a_while() {
    let table = FlowTable::new(Config { pickup_until: ticks(100), ..config(10) }).unwrap();
    assert_eq!(table.track(&tcp(1, ACK), ticks(99)), Track::MayOpen);
    assert_eq!(table.track(&tcp(1, RST_ACK), ticks(99)), Track::Refused(Refusal::NoFlow));
    assert_eq!(table.track(&tcp(1, ACK), ticks(100)), Track::Refused(Refusal::NoFlow));
    table.open(&tcp(1, ACK), decision(1), ticks(99)).unwrap();
    let state = |table: &FlowTable| {
        let view = table.find(&tcp(1, ACK).tuple).unwrap().0;
        (view.state, view.assurance)
    };
    assert_eq!(state(&table), (FlowState::Tcp(TcpState::Established), Assurance::Tentative));
    known(table.track(&answer(tcp(1, ACK)), ticks(200)));
    assert_eq!(state(&table), (FlowState::Tcp(TcpState::Established), Assurance::Assured));
}

#[test]
fn a_second_opening_gives_the_first_ones_id() {
    let table = table(10);
    let id = table.open(&udp(1), decision(1), ticks(0)).unwrap();
    assert_eq!(table.open(&udp(1), decision(2), ticks(0)), Err(OpenError::Exists(id)));
    assert_eq!(table.open(&answer(udp(1)), decision(2), ticks(0)), Err(OpenError::Exists(id)));
    assert_eq!(table.find(&udp(1).tuple).unwrap().0.decision, decision(1));
    assert_eq!(table.stats(), TableStats { opened: 1, ..TableStats::default() });
}

#[test]
fn an_id_names_no_later_flow() {
    let table = table(1);
    let first = table.open(&udp(1), decision(1), ticks(0)).unwrap();
    assert!(table.redecide(first, decision(9)));
    assert_eq!(table.find(&udp(1).tuple).unwrap().0.decision, decision(9));
    assert!(table.remove(first));
    let second = table.open(&udp(2), decision(2), ticks(0)).unwrap();
    assert!(!table.remove(first) && !table.redecide(first, decision(9)));
    assert_eq!(table.find(&udp(2).tuple).unwrap().0.decision, decision(2));
    assert_eq!(FlowId::from_bits(second.to_bits()), second);
    for nonsense in [0, u64::MAX, 1 << 32, 1] {
        assert!(!table.remove(FlowId::from_bits(nonsense)) || nonsense == second.to_bits());
    }
    assert_eq!(table.stats(), TableStats { opened: 2, removed: 1, ..TableStats::default() });
}

#[test]
fn a_silent_flow_is_gone_for_its_next_packet_without_any_sweep() {
    let table = table(10);
    let timeout = in_ticks(Duration::from_secs(30));
    table.open(&udp(1), decision(1), ticks(0)).unwrap();
    known(table.track(&udp(1), ticks(timeout)));
    assert_eq!(table.track(&udp(1), ticks(2 * timeout + 1)), Track::MayOpen);
    assert_eq!((table.len(), table.stats().expired), (0, 1));

    table.open(&udp(1), decision(1), ticks(0)).unwrap();
    let again = table.open(&udp(1), decision(2), ticks(timeout + 1)).unwrap();
    assert_eq!(known(table.track(&answer(udp(1)), ticks(timeout + 2))).id, again);
    assert_eq!(table.len(), 1);
    assert_eq!(table.stats(), TableStats { opened: 3, expired: 2, ..TableStats::default() });
}

#[test]
fn a_sweep_in_slices_finds_every_silent_flow_once() {
    let table = table(1000);
    for flow in 0..1000 {
        table.open(&udp(flow), decision(0), ticks(u64::from(flow % 2) * 10)).unwrap();
    }
    let timeout = in_ticks(Duration::from_secs(30));
    let mut cursor = ExpiryCursor::default();
    assert_eq!(table.expire(&mut cursor, ticks(timeout), usize::MAX), 0);
    let (mut expired, mut looked_at) = (0, 0);
    while looked_at < table.slots() {
        let found = table.expire(&mut cursor, ticks(timeout + 1), 37);
        assert!(found <= 37);
        expired += found;
        looked_at += 37;
    }
    assert_eq!((expired, table.len(), table.stats().expired), (500, 500, 500));
    assert!(table.views().all(|view| view.last_seen == ticks(10)));
    assert_eq!(table.expire(&mut cursor, ticks(timeout + 11), usize::MAX), 500);
    assert!(table.is_empty());
    assert_eq!(table.expire(&mut cursor, ticks(timeout + 11), usize::MAX), 0);
}

#[test]
fn a_finished_connection_goes_through_policy_again() {
    let table = table(10);
    establish(&table, 1, ticks(0));
    known(table.track(&answer(tcp(1, RST_ACK)), ticks(1)));
    known(table.track(&tcp(1, ACK), ticks(1)));
    assert_eq!(table.track(&tcp(1, SYN), ticks(2)), Track::MayOpen);
    assert_eq!(table.track(&tcp(1, ACK), ticks(2)), Track::Refused(Refusal::NoFlow));
    assert_eq!(table.stats(), TableStats { opened: 1, reopened: 1, ..TableStats::default() });
    assert_eq!(table.len(), 0);
}

#[test]
fn a_refused_segment_leaves_the_flow_as_it_was() {
    let table = table(10);
    establish(&table, 1, ticks(0));
    let before = table.find(&tcp(1, ACK).tuple);
    assert_eq!(table.track(&answer(tcp(1, SYN)), ticks(9)), Track::Refused(Refusal::TcpInvalid));
    assert_eq!(table.find(&tcp(1, ACK).tuple), before);
}

#[test]
fn two_ends_that_ping_each_other_have_a_flow_each() {
    let table = table(10);
    let ping = icmp(1, IcmpRole::Request);
    let counter_ping = answer(ping);
    let pong = Packet { transport: Transport::Icmp(IcmpRole::Reply), ..counter_ping };
    let id = table.open(&ping, decision(1), ticks(0)).unwrap();
    // The other end's own request is not allowed by the first one's flow.
    assert_eq!(table.track(&counter_ping, ticks(0)), Track::MayOpen);
    let counter_id = table.open(&counter_ping, decision(2), ticks(0)).unwrap();
    let answered = known(table.track(&pong, ticks(0)));
    assert_eq!((answered.id, answered.direction, answered.decision), (id, Direction::Reply, decision(1)));
    let (view, direction) = table.find(&counter_ping.tuple).unwrap();
    assert_eq!(
        (view.id, direction, view.state),
        (counter_id, Direction::Original, FlowState::Icmp(ReplyState::Unreplied))
    );
    table.remove(counter_id);
    let (view, direction) = table.find(&pong.tuple).unwrap();
    assert_eq!((view.id, direction), (id, Direction::Reply));
    assert_eq!(view.state, FlowState::Icmp(ReplyState::Replied));
}

#[test]
fn sctp_and_other_protocols_have_their_states() {
    let table = table(10);
    let other = packet(tuple(1, IpProtocol(47)), Transport::Other);
    table.open(&other, decision(1), ticks(0)).unwrap();
    known(table.track(&answer(other), ticks(0)));
    assert_eq!(table.find(&other.tuple).unwrap().0.state, FlowState::Other(ReplyState::Replied));

    let sctp = |verification_tag, first_chunk| {
        packet(tuple(1, IpProtocol::SCTP), Transport::Sctp { verification_tag, first_chunk })
    };
    table.open(&sctp(0, 1), decision(1), ticks(0)).unwrap();
    known(table.track(&answer(sctp(5, 2)), ticks(0)));
    known(table.track(&sctp(6, 10), ticks(0)));
    known(table.track(&answer(sctp(5, 11)), ticks(0)));
    let view = table.find(&sctp(6, 0).tuple).unwrap().0;
    assert_eq!((view.state, view.assurance), (FlowState::Sctp(SctpState::Established), Assurance::Assured));
    assert_eq!((view.packets, view.state.name()), ([2, 2], "ESTABLISHED"));
}

#[test]
fn a_full_table_gives_up_half_open_flows_and_never_an_established_one() {
    let table = table(4);
    for flow in 0..3 {
        establish(&table, flow, ticks(0));
    }
    table.open(&tcp(3, SYN), decision(3), ticks(0)).unwrap();
    table.open(&tcp(4, SYN), decision(4), ticks(0)).unwrap();
    assert!(table.find(&tcp(3, SYN).tuple).is_none());
    assert_eq!(table.stats(), TableStats { opened: 5, evicted: 1, ..TableStats::default() });

    known(table.track(&answer(tcp(4, SYN_ACK)), ticks(0)));
    known(table.track(&tcp(4, ACK), ticks(0)));
    let before: Vec<_> = table.views().collect();
    assert_eq!(table.open(&tcp(5, SYN), decision(5), ticks(0)), Err(OpenError::Full));
    assert_eq!(table.views().collect::<Vec<_>>(), before);
    assert_eq!(table.stats(), TableStats { opened: 5, evicted: 1, full: 1, ..TableStats::default() });

    known(table.track(&tcp(0, RST_ACK), ticks(0)));
    table.open(&tcp(5, SYN), decision(5), ticks(0)).unwrap();
    assert!(table.find(&tcp(0, ACK).tuple).is_none());
    assert_eq!(table.len(), 4);
}

#[test]
fn a_table_holds_what_it_was_made_for() {
    for capacity in [1, 2, 22, 23, 24, 100, 30_000] {
        let table = table(capacity);
        for flow in 0..capacity as u32 {
            establish(&table, flow, Time::default());
        }
        assert_eq!(table.len(), capacity);
        let stats = TableStats { opened: capacity as u64, ..TableStats::default() };
        assert_eq!(table.stats(), stats, "capacity {capacity}");
        assert_eq!(table.views().count(), capacity);
        let one_more = table.open(&tcp(capacity as u32, SYN), decision(0), Time::default());
        assert_eq!(one_more, Err(OpenError::Full));
    }
}

#[test]
fn a_table_of_no_or_too_many_flows_is_refused() {
    for capacity in [0, MAX_CAPACITY + 1] {
        let error = FlowTable::new(config(capacity)).err();
        assert_eq!(error, Some(ConfigError::Capacity { capacity }));
    }
}

#[test]
fn seeking_and_fetching_change_nothing() {
    let table = table(10);
    establish(&table, 1, ticks(0));
    let before: Vec<_> = table.views().collect();
    for flow in [1, 2] {
        table.fetch(&table.seek(&tcp(flow, ACK)));
    }
    assert_eq!(table.views().collect::<Vec<_>>(), before);
}
