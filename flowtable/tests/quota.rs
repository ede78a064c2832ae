//! Quotas: what counts for an owner, for how long, and that one owner's excess is its own.

mod common;

use std::time::Duration;

use common::*;
use podgate_flowtable::{
    Decision, Exceeded, ExpiryCursor, FlowTable, OpenError, Packet, Quota, TableStats, Time, Track,
    UNLIMITED, Usage,
};

const OWNER: u16 = 7;
const OTHER: u16 = UNLIMITED - 1;

fn limited(flows: u32, half_open: u32) -> FlowTable {
    table(100).with_quota(Quota { flows, half_open })
}

fn of(owner: u16) -> Decision {
    Decision { owner, ..decision(1) }
}

fn usage(flows: u32, half_open: u32) -> Usage {
    Usage { flows, half_open }
}

fn known(table: &FlowTable, packet: &Packet, now: Time) {
    assert!(matches!(table.track(packet, now), Track::Known(_)));
}

fn establish_for(table: &FlowTable, owner: u16, flow: u32, now: Time) {
    table.open(&tcp(flow, SYN), of(owner), now).unwrap();
    known(table, &answer(tcp(flow, SYN_ACK)), now);
    known(table, &tcp(flow, ACK), now);
}

#[test]
fn an_owner_is_held_to_its_half_open_flows() {
    let table = limited(100, 2);
    let now = ticks(0);
    establish_for(&table, OWNER, 1, now);
    table.open(&tcp(2, SYN), of(OWNER), now).unwrap();
    table.open(&udp(3), of(OWNER), now).unwrap();
    assert_eq!(table.usage(OWNER), usage(3, 2));
    let before: Vec<_> = table.views().collect();
    let refused = Err(OpenError::Quota(Exceeded::HalfOpen));
    assert_eq!(table.open(&tcp(4, SYN), of(OWNER), now), refused);
    assert_eq!(table.views().collect::<Vec<_>>(), before);
    assert_eq!((table.len(), table.usage(OWNER)), (3, usage(3, 2)));
    let stats = TableStats { opened: 3, over_half_open_quota: 1, ..TableStats::default() };
    assert_eq!(table.stats(), stats);

    table.open(&tcp(4, SYN), of(OTHER), now).unwrap();
    assert_eq!(table.usage(OTHER), usage(1, 1));

    // Answered, a handshake is still not over.
    known(&table, &answer(tcp(2, SYN_ACK)), now);
    assert_eq!(table.open(&tcp(5, SYN), of(OWNER), now), refused);
    known(&table, &tcp(2, ACK), now);
    known(&table, &answer(udp(3)), now);
    assert_eq!(table.usage(OWNER), usage(3, 0));
    table.open(&tcp(5, SYN), of(OWNER), now).unwrap();
    // A connection that opens again counts as opening again.
    known(&table, &tcp(1, SYN), now);
    let mut again = answer(tcp(1, SYN_ACK));
    if let podgate_flowtable::Transport::Tcp(segment) = &mut again.transport {
        (segment.sequence, segment.acknowledgement) = (0x1000_0000, 0x2000_0000);
    }
    known(&table, &again, now);
    assert_eq!(table.usage(OWNER), usage(4, 2));
}

#[test]
fn an_owner_is_held_to_its_flows() {
    let table = limited(2, 2);
    establish_for(&table, OWNER, 1, ticks(0));
    establish_for(&table, OWNER, 2, ticks(0));
    assert_eq!(table.open(&udp(3), of(OWNER), ticks(0)), Err(OpenError::Quota(Exceeded::Flows)));
    let stats = TableStats { opened: 2, over_flow_quota: 1, ..TableStats::default() };
    assert_eq!(table.stats(), stats);
    table.open(&udp(3), of(OTHER), ticks(0)).unwrap();
}

/// Ends all flows of a table; the time is beyond every timeout.
type End = fn(&FlowTable, Time);

#[test]
fn a_flow_counts_until_it_ends_however_it_ends() {
    let long = in_ticks(Duration::from_secs(1_000_000));
    let ends: [(&str, End); 5] = [
        ("removed", |table, _| {
            table.views().for_each(|view| assert!(table.remove(view.id)));
        }),
        ("swept", |table, later| {
            table.expire(&mut ExpiryCursor::default(), later, usize::MAX);
        }),
        ("expired at its packet", |table, later| {
            table.track(&tcp(1, ACK), later);
            table.track(&udp(2), later);
        }),
        ("expired at an opening", |table, later| {
            table.open(&tcp(1, SYN), of(OTHER), later).unwrap();
            table.open(&udp(2), of(OTHER), later).unwrap();
        }),
        ("closed, then removed and reopened", |table, now| {
            // What is over counts no more, though it is still remembered.
            known(table, &tcp(1, RST_ACK), Time::default());
            assert_eq!((table.usage(OWNER), table.len()), (usage(1, 1), 2));
            assert_eq!(table.track(&tcp(1, SYN), Time::default()), Track::MayOpen);
            table.track(&udp(2), now);
        }),
    ];
    for (name, end) in ends {
        let table = limited(100, 100);
        establish_for(&table, OWNER, 1, ticks(0));
        table.open(&udp(2), of(OWNER), ticks(0)).unwrap();
        assert_eq!(table.usage(OWNER), usage(2, 1), "{name}");
        end(&table, ticks(long));
        assert_eq!(table.usage(OWNER), usage(0, 0), "{name}");
        assert_eq!(table.usage(OTHER).flows as usize, table.len(), "{name}");
    }
}

#[test]
fn what_is_given_up_for_another_counts_no_longer() {
    let table = table(2).with_quota(Quota { flows: 100, half_open: 100 });
    table.open(&tcp(1, SYN), of(OWNER), ticks(0)).unwrap();
    table.open(&tcp(2, SYN), of(OWNER), ticks(0)).unwrap();
    establish_for(&table, OTHER, 3, ticks(0));
    establish_for(&table, OTHER, 4, ticks(0));
    assert_eq!((table.usage(OWNER), table.usage(OTHER)), (usage(0, 0), usage(2, 0)));
    // Nor does what found no room.
    assert_eq!(table.open(&tcp(5, SYN), of(OWNER), ticks(0)), Err(OpenError::Full));
    assert_eq!(table.usage(OWNER), usage(0, 0));
}

#[test]
fn an_expired_flow_whose_place_another_may_not_take_is_gone_all_the_same() {
    let table = limited(1, 1);
    let later = ticks(in_ticks(Duration::from_secs(31)));
    table.open(&udp(1), of(OWNER), ticks(0)).unwrap();
    table.open(&udp(2), of(OTHER), later).unwrap();
    assert_eq!(table.open(&udp(1), of(OTHER), later), Err(OpenError::Quota(Exceeded::Flows)));
    assert_eq!((table.usage(OWNER), table.usage(OTHER), table.len()), (usage(0, 0), usage(1, 1), 1));
    let stats = TableStats { opened: 2, expired: 1, over_flow_quota: 1, ..TableStats::default() };
    assert_eq!(table.stats(), stats);
    assert!(table.find(&udp(1).tuple).is_none());
    // Its slot can be used again: the whole table can be filled.
    for flow in 10..109 {
        table.open(&udp(flow), of(flow as u16), later).unwrap();
    }
    assert_eq!(table.len(), 100);
}

#[test]
fn another_decision_may_name_another_owner() {
    let table = limited(1, 1);
    let id = table.open(&udp(1), of(OWNER), ticks(0)).unwrap();
    assert!(table.redecide(id, of(OTHER)));
    assert_eq!((table.usage(OWNER), table.usage(OTHER)), (usage(0, 0), usage(1, 1)));
    assert!(table.remove(id) && !table.redecide(id, of(OWNER)));
    assert_eq!((table.usage(OWNER), table.usage(OTHER)), (usage(0, 0), usage(0, 0)));
}

#[test]
fn without_a_quota_nothing_is_counted() {
    let table = table(10);
    table.open(&udp(1), of(OWNER), ticks(0)).unwrap();
    assert_eq!(table.usage(OWNER), usage(0, 0));
}

#[test]
fn nobody_limits_an_unlimited_owner() {
    let table = limited(2, 1);
    for flow in 0..50 {
        table.open(&udp(flow), of(OWNER | UNLIMITED), ticks(0)).unwrap();
    }
    assert_eq!(table.usage(OWNER | UNLIMITED), usage(50, 50));
    assert_eq!(table.usage(OWNER), usage(0, 0));
    table.open(&udp(50), of(OWNER), ticks(0)).unwrap();
    assert_eq!(table.open(&udp(51), of(OWNER), ticks(0)), Err(OpenError::Quota(Exceeded::HalfOpen)));
}
