//! Every counter: what moves it, by how much, and that no other one moves with it.

mod common;

use std::time::Duration;

use common::*;
use podgate_flowtable::{
    Addr, Config, Decision, ExpiryCursor, FlowId, FlowTable, FragmentKey, FragmentStats, FragmentTable,
    HashSecret, IpProtocol, Quota, TableStats, Time,
};

const NONE: TableStats = TableStats {
    opened: 0,
    expired: 0,
    removed: 0,
    evicted: 0,
    reopened: 0,
    full: 0,
    over_flow_quota: 0,
    over_half_open_quota: 0,
};

const NOW: u64 = 10;
const PICKUP_UNTIL: u64 = 100;

/// What happens, what it moves, and how it is done.
type Case<Table, Stats> = (&'static str, Stats, fn(&Table));

fn minus(after: TableStats, before: TableStats) -> TableStats {
    TableStats {
        opened: after.opened - before.opened,
        expired: after.expired - before.expired,
        removed: after.removed - before.removed,
        evicted: after.evicted - before.evicted,
        reopened: after.reopened - before.reopened,
        full: after.full - before.full,
        over_flow_quota: after.over_flow_quota - before.over_flow_quota,
        over_half_open_quota: after.over_half_open_quota - before.over_half_open_quota,
    }
}

/// Room for 4 flows, of which an owner may have 3, one of them half-open: 1 is established, 2 is over, 3 is
/// half-open.
fn prepared() -> FlowTable {
    let config = Config { pickup_until: ticks(PICKUP_UNTIL), ..config(4) };
    let table = FlowTable::new(config).unwrap().with_quota(Quota { flows: 3, half_open: 1 });
    for flow in [1, 2] {
        establish(&table, flow, ticks(0));
    }
    table.track(&tcp(2, RST_ACK), ticks(0));
    table.open(&tcp(3, SYN), of_owner(3), ticks(0)).unwrap();
    table
}

fn of_owner(owner: u16) -> Decision {
    Decision { owner, ..decision(1) }
}

fn id(table: &FlowTable, flow: u32) -> FlowId {
    table.find(&tcp(flow, SYN).tuple).unwrap().0.id
}

fn open(table: &FlowTable, flow: u32, owner: u16) {
    _ = table.open(&tcp(flow, SYN), of_owner(owner), ticks(NOW));
}

fn later() -> Time {
    ticks(in_ticks(Duration::from_mins(5)))
}

#[test]
fn every_counter_of_flows_moves_alone() {
    let opened = TableStats { opened: 1, ..NONE };
    let expired = TableStats { expired: 1, ..NONE };
    let removed = TableStats { removed: 1, ..NONE };
    let cases: [Case<FlowTable, TableStats>; 22] = [
        ("a flow opens", opened, |table| open(table, 4, 9)),
        ("it is there", NONE, |table| open(table, 1, 9)),
        ("no opener", NONE, |table| _ = table.open(&tcp(9, RST_ACK), of_owner(9), ticks(NOW))),
        ("a packet of it", NONE, |table| _ = table.track(&tcp(1, ACK), ticks(NOW))),
        ("of none", NONE, |table| _ = table.track(&udp(1), ticks(NOW))),
        ("of none, refused", NONE, |table| _ = table.track(&tcp(9, RST_ACK), ticks(NOW))),
        ("one that does not fit", NONE, |table| _ = table.track(&answer(tcp(1, SYN)), ticks(NOW))),
        ("another verdict", NONE, |table| assert!(table.redecide(id(table, 1), of_owner(8)))),
        ("looked at", NONE, |table| assert_eq!(table.export().count() + table.views().count(), 6)),
        ("expired at its packet", expired, |table| _ = table.track(&tcp(3, SYN), later())),
        ("swept", TableStats { expired: 2, ..NONE }, |table| {
            assert_eq!(table.expire(&mut ExpiryCursor::default(), later(), usize::MAX), 2);
        }),
        ("expired, and opened again", TableStats { opened: 1, expired: 1, ..NONE }, |table| {
            table.open(&tcp(3, SYN), of_owner(3), later()).unwrap();
        }),
        ("removed", removed, |table| {
            let id = id(table, 1);
            assert!(table.remove(id) && !table.remove(id));
        }),
        ("cut while connections are taken up", NONE, |table| {
            assert!(table.cut(id(table, 1), of_owner(1), ticks(NOW)));
        }),
        ("cut later", removed, |table| {
            assert!(table.cut(id(table, 1), of_owner(1), ticks(PICKUP_UNTIL)));
        }),
        ("opened in place of one that was cut", TableStats { opened: 1, reopened: 1, ..NONE }, |table| {
            assert!(table.cut(id(table, 1), of_owner(1), ticks(NOW)));
            table.track(&tcp(1, ACK), ticks(NOW));
            open(table, 1, 1);
        }),
        ("over, and asked for again", TableStats { reopened: 1, ..NONE }, |table| {
            table.track(&tcp(2, SYN), ticks(NOW));
        }),
        ("given up for another", TableStats { opened: 2, evicted: 1, ..NONE }, |table| {
            open(table, 4, 4);
            open(table, 5, 5);
        }),
        ("nothing to give up", TableStats { opened: 3, evicted: 2, full: 1, ..NONE }, |table| {
            (4..7).for_each(|flow| establish(table, flow, ticks(NOW)));
            open(table, 7, 7);
        }),
        ("too many half-open", TableStats { over_half_open_quota: 1, ..NONE }, |table| open(table, 4, 3)),
        ("too many", TableStats { opened: 2, evicted: 1, over_flow_quota: 1, ..NONE }, |table| {
            for flow in [4, 5] {
                table.open(&tcp(flow, ACK), of_owner(6), ticks(NOW)).unwrap();
            }
            table.redecide(id(table, 1), of_owner(6));
            _ = table.open(&tcp(6, ACK), of_owner(6), ticks(NOW));
        }),
        ("taken in", opened, |table| {
            let other = common::table(1);
            establish(&other, 9, ticks(NOW));
            table.import(&other.export().next().unwrap(), ticks(NOW)).unwrap();
        }),
    ];
    for (what, expected, act) in cases {
        let table = prepared();
        let before = table.stats();
        act(&table);
        assert_eq!(minus(table.stats(), before), expected, "{what}");
    }
}

fn datagram(owner: u16, identification: u32) -> FragmentKey {
    FragmentKey {
        owner,
        source: Addr::from_v4([10, 0, 0, 1]),
        destination: Addr::from_v4([10, 0, 0, 2]),
        protocol: IpProtocol::UDP,
        identification,
    }
}

#[test]
fn every_counter_of_datagrams_moves_alone() {
    const NONE: FragmentStats =
        FragmentStats { recorded: 0, completed: 0, overlapping: 0, evicted: 0, over_quota: 0 };
    let first = |table: &FragmentTable, owner, number| {
        table.first(datagram(owner, number), 800, 0, ticks(0));
    };
    let recorded = FragmentStats { recorded: 1, ..NONE };
    let cases: [Case<FragmentTable, FragmentStats>; 9] = [
        ("a first fragment", recorded, |table| _ = table.first(datagram(2, 1), 800, 0, ticks(0))),
        ("again", NONE, |table| _ = table.first(datagram(1, 1), 800, 0, ticks(0))),
        ("a later one", NONE, |table| _ = table.follow(datagram(1, 1), 800, 1600, ticks(0))),
        ("of none", NONE, |table| _ = table.follow(datagram(1, 99), 800, 1600, ticks(0))),
        ("the last one", FragmentStats { completed: 1, ..NONE }, |table| {
            for _ in 0..2 {
                table.follow_last(datagram(1, 1), 800, 900, ticks(0));
            }
        }),
        ("one that overlaps", FragmentStats { overlapping: 1, ..NONE }, |table| {
            for _ in 0..2 {
                table.follow(datagram(1, 1), 8, 1600, ticks(0));
            }
        }),
        ("a first one that overlaps", FragmentStats { overlapping: 1, ..NONE }, |table| {
            table.first(datagram(1, 1), 80, 0, ticks(0));
        }),
        ("in place of one that expired", recorded, |table| {
            table.first(datagram(2, 1), 800, 0, later());
        }),
        ("in place of its owner's", FragmentStats { recorded: 1, evicted: 1, ..NONE }, |table| {
            table.first(datagram(1, 9), 800, 0, ticks(0));
        }),
    ];
    for (what, expected, act) in cases {
        // One bucket; its owner's share is all of it.
        let table = FragmentTable::new(8, HashSecret([1, 2])).unwrap();
        let count = if expected.evicted > 0 { 8 } else { 7 };
        (1..=count).for_each(|number| first(&table, 1, number));
        let before = table.stats();
        act(&table);
        let after = table.stats();
        let moved = FragmentStats {
            recorded: after.recorded - before.recorded,
            completed: after.completed - before.completed,
            overlapping: after.overlapping - before.overlapping,
            evicted: after.evicted - before.evicted,
            over_quota: after.over_quota - before.over_quota,
        };
        assert_eq!(moved, expected, "{what}");
    }

    // Beyond its owner's share, in a bucket that has none of the owner's.
    let table = FragmentTable::new(64, HashSecret([1, 2])).unwrap();
    let mut before = table.stats();
    for number in 0.. {
        first(&table, 1, number);
        let after = table.stats();
        if after.over_quota > 0 {
            assert_eq!(after, FragmentStats { over_quota: 1, ..before });
            break;
        }
        before = after;
    }
}
