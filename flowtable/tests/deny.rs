//! Flows that policy cuts, while connections are taken up in the middle and after.

mod common;

use std::time::Duration;

use common::*;
use podgate_flowtable::{
    Assurance, Config, Decision, Direction, Exceeded, ExpiryCursor, FlowState, FlowTable, OpenError, Packet,
    Quota, Refusal, TableStats, Timeouts, Track, Usage,
};

const PICKUP_TICKS: u64 = 1000;
const OWNER: u16 = 7;

fn picking_up(capacity: usize) -> FlowTable {
    let config = Config { pickup_until: ticks(PICKUP_TICKS), ..config(capacity) };
    FlowTable::new(config).unwrap().with_quota(Quota { flows: 4, half_open: 2 })
}

fn of_owner(number: u32) -> Decision {
    Decision { owner: OWNER, ..decision(number) }
}

fn open_and_cut(table: &FlowTable, flow: u32) {
    let id = table.open(&tcp(flow, SYN), of_owner(1), ticks(5)).unwrap();
    table.track(&answer(tcp(flow, SYN_ACK)), ticks(5));
    table.track(&tcp(flow, ACK), ticks(5));
    assert!(table.cut(id, of_owner(2), ticks(10)));
    assert!(!table.cut(id, of_owner(3), ticks(10)), "a flow is cut once");
}

#[track_caller]
fn denied(track: Track) -> Direction {
    match track {
        Track::Denied(known) => {
            assert_eq!((known.original, known.decision), (tcp(1, ACK).tuple, of_owner(2)));
            known.direction
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_cut_is_nobodys_opening() {
    let table = picking_up(10);
    open_and_cut(&table, 1);
    let before: Vec<_> = table.views().collect();
    let [view] = before[..] else { panic!("{before:?}") };
    assert_eq!((view.state, view.assurance), (FlowState::Denied, Assurance::Tentative));
    assert_eq!((view.state.name(), view.decision, view.packets), ("DENIED", of_owner(2), [2, 1]));
    for flags in [ACK, SYN_ACK, RST_ACK, SYN] {
        assert_eq!(denied(table.track(&tcp(1, flags), ticks(20))), Direction::Original);
        assert_eq!(denied(table.track(&answer(tcp(1, flags)), ticks(20))), Direction::Reply);
    }
    assert_eq!(table.views().collect::<Vec<_>>(), before, "none of them renews or counts");
    assert_eq!(table.stats(), TableStats { opened: 1, ..TableStats::default() });
}

#[test]
fn it_is_remembered_until_nothing_is_taken_up_any_more() {
    let table = picking_up(10);
    open_and_cut(&table, 1);
    let timeout = in_ticks(Timeouts::default().denied);
    assert!(timeout > PICKUP_TICKS, "the default is longer");
    denied(table.track(&answer(tcp(1, ACK)), ticks(10 + timeout)));
    assert_eq!(table.track(&answer(tcp(1, ACK)), ticks(11 + timeout)), Track::Refused(Refusal::NoFlow));
    assert_eq!(table.stats(), TableStats { opened: 1, expired: 1, ..TableStats::default() });

    let timeouts = Timeouts { denied: Duration::ZERO, ..Timeouts::default() };
    let config = Config { pickup_until: ticks(PICKUP_TICKS), timeouts, ..config(10) };
    let table = FlowTable::new(config).unwrap();
    open_and_cut(&table, 1);
    table.expire(&mut ExpiryCursor::default(), ticks(PICKUP_TICKS), usize::MAX);
    denied(table.track(&answer(tcp(1, ACK)), ticks(PICKUP_TICKS)));
    table.expire(&mut ExpiryCursor::default(), ticks(PICKUP_TICKS + 1), usize::MAX);
    assert!(table.is_empty());
}

#[test]
fn afterwards_and_without_pickup_it_is_forgotten() {
    for (packet, now) in [(tcp(1, SYN), PICKUP_TICKS), (udp(1), 10)] {
        let table = picking_up(10);
        let id = table.open(&packet, of_owner(1), ticks(now)).unwrap();
        assert!(table.cut(id, of_owner(2), ticks(now)) && !table.cut(id, of_owner(2), ticks(now)));
        assert!(table.is_empty());
        assert_eq!(table.stats(), TableStats { opened: 1, removed: 1, ..TableStats::default() });
        assert_eq!(table.usage(OWNER), Usage::default());
    }
    // Denied before, it is not cut again when pickup is over.
    let table = picking_up(10);
    open_and_cut(&table, 1);
    let id = table.views().next().unwrap().id;
    assert!(!table.cut(id, of_owner(3), ticks(PICKUP_TICKS)));
    assert!(table.remove(id), "but can be forgotten");
}

#[test]
fn another_connection_takes_its_place() {
    let openings: [fn(Packet) -> Packet; 2] = [|packet| packet, answer];
    for opening in openings {
        for flags in [SYN, ACK] {
            let table = picking_up(10);
            open_and_cut(&table, 1);
            let packet = opening(tcp(1, flags));
            let id = table.open(&packet, of_owner(3), ticks(20)).unwrap();
            let Track::Known(known) = table.track(&packet, ticks(20)) else { panic!("not there") };
            assert_eq!((known.id, known.original, known.decision), (id, packet.tuple, of_owner(3)));
            assert_eq!((table.len(), table.usage(OWNER).flows), (1, 1));
            assert_eq!(table.stats(), TableStats { opened: 2, reopened: 1, ..TableStats::default() });
        }
    }
}

#[test]
fn what_may_not_open_leaves_it_denied() {
    let table = picking_up(10);
    open_and_cut(&table, 1);
    for flow in [2, 3] {
        table.open(&tcp(flow, SYN), of_owner(1), ticks(20)).unwrap();
    }
    let refused = Err(OpenError::Quota(Exceeded::HalfOpen));
    assert_eq!(table.open(&tcp(1, SYN), of_owner(1), ticks(20)), refused);
    let refused = Err(OpenError::NotAnOpener(Refusal::NoFlow));
    assert_eq!(table.open(&tcp(1, RST_ACK), of_owner(1), ticks(20)), refused);
    denied(table.track(&tcp(1, ACK), ticks(20)));
    let stats = TableStats { opened: 3, over_half_open_quota: 1, ..TableStats::default() };
    assert_eq!((table.stats(), table.usage(OWNER)), (stats, Usage { flows: 2, half_open: 2 }));
}

#[test]
fn it_counts_for_nobody_and_makes_way_first() {
    let table = picking_up(3);
    let usage = |flows, half_open| assert_eq!(table.usage(OWNER), Usage { flows, half_open });
    let half_open = table.open(&tcp(2, SYN), of_owner(1), ticks(5)).unwrap();
    usage(1, 1);
    assert!(table.cut(half_open, of_owner(2), ticks(5)));
    usage(0, 0);
    open_and_cut(&table, 1);
    usage(0, 0);
    assert!(table.redecide(half_open, Decision { owner: OWNER + 1, ..decision(3) }));
    assert_eq!((table.usage(OWNER), table.usage(OWNER + 1)), (Usage::default(), Usage::default()));

    establish(&table, 3, ticks(5));
    for flow in [4, 5] {
        establish(&table, flow, ticks(6));
    }
    assert_eq!(table.stats(), TableStats { opened: 5, evicted: 2, ..TableStats::default() });
    assert!(table.views().all(|view| view.state != FlowState::Denied));
    usage(0, 0);
}

#[test]
fn it_does_not_live_on_over_a_restart() {
    let table = picking_up(10);
    open_and_cut(&table, 1);
    establish(&table, 2, ticks(5));
    assert_eq!((table.len(), table.export().count()), (2, 1));
}
