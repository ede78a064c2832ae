//! Tests of following fragments.

use super::*;

fn table(capacity: usize) -> FragmentTable {
    FragmentTable::new(capacity, HashSecret([5, 6])).unwrap()
}

fn key(identification: u32) -> FragmentKey {
    FragmentKey {
        source: Addr::from_v4([10, 0, 0, 1]),
        destination: Addr::from_v4([10, 0, 0, 2]),
        protocol: IpProtocol::UDP,
        identification,
    }
}

fn at(secs: u64) -> Time {
    Time::from_nanos(secs * 1_000_000_000)
}

#[test]
fn later_fragments_go_where_the_first_went_on_every_pass() {
    let table = table(8);
    assert_eq!(table.follow(key(1), 1480, 2960, at(0)), Follow::Unknown);
    for _ in 0..2 {
        assert_eq!(table.first(key(1), 1480, 77, at(0)), First::Recorded);
        assert_eq!(table.follow(key(1), 1480, 2960, at(1)), Follow::Allowed(77));
    }
    for _ in 0..2 {
        assert_eq!(table.follow_last(key(1), 2960, 3000, at(1)), Follow::Allowed(77));
    }
    let others = [
        FragmentKey { identification: 2, ..key(1) },
        FragmentKey { protocol: IpProtocol::TCP, ..key(1) },
        FragmentKey { source: key(1).destination, destination: key(1).source, ..key(1) },
    ];
    for other in others {
        assert_eq!(table.follow(other, 2960, 3000, at(1)), Follow::Unknown);
    }
    assert_eq!(table.stats(), FragmentStats { recorded: 1, completed: 1, ..FragmentStats::default() });
}

#[test]
fn an_overlap_refuses_the_whole_datagram() {
    for (start, end) in [(8, 1488), (1472, 2000), (0, 8), (1480, 1480), (1480, 70_000)] {
        let table = table(8);
        table.first(key(1), 1480, 77, at(0));
        assert_eq!(table.follow(key(1), start, end, at(0)), Follow::Overlap, "{start}..{end}");
        assert_eq!(table.follow(key(1), 1480, 2960, at(0)), Follow::Overlap);
        assert_eq!(table.follow_last(key(1), 2960, 2970, at(0)), Follow::Overlap);
        assert_eq!(table.first(key(1), 1480, 77, at(0)), First::Overlap);
        assert_eq!(table.stats(), FragmentStats { recorded: 1, overlapping: 1, ..FragmentStats::default() });
    }
}

#[test]
fn another_first_fragment_overlaps_the_first() {
    let table = table(8);
    table.first(key(1), 1480, 77, at(0));
    assert_eq!(table.first(key(1), 8, 78, at(0)), First::Overlap);
    assert_eq!(table.follow(key(1), 1480, 2960, at(0)), Follow::Overlap);
}

#[test]
fn nothing_lies_beyond_the_last_fragment() {
    let table = table(8);
    table.first(key(1), 800, 1, at(0));
    assert_eq!(table.follow_last(key(1), 1600, 2000, at(0)), Follow::Allowed(1));
    assert_eq!(table.follow(key(1), 2000, 2800, at(0)), Follow::Overlap);

    table.first(key(2), 800, 1, at(0));
    assert_eq!(table.follow(key(2), 1600, 2400, at(0)), Follow::Allowed(1));
    assert_eq!(table.follow_last(key(2), 800, 1600, at(0)), Follow::Overlap);
}

#[test]
fn a_number_is_free_again_once_its_datagram_is_complete() {
    let table = table(8);
    table.first(key(1), 1480, 1, at(0));
    table.follow_last(key(1), 1480, 2000, at(0));
    assert_eq!(table.first(key(1), 800, 2, at(1)), First::Recorded);
    assert_eq!(table.follow_last(key(1), 800, 900, at(1)), Follow::Allowed(2));
    assert_eq!(table.stats(), FragmentStats { recorded: 2, completed: 2, ..FragmentStats::default() });
}

#[test]
fn a_datagram_is_forgotten_after_thirty_seconds_even_if_refused() {
    let table = table(8);
    table.first(key(1), 800, 1, at(0));
    table.first(key(2), 800, 1, at(0));
    table.follow(key(2), 8, 16, at(0));
    assert_eq!(table.follow(key(1), 800, 1600, at(30)), Follow::Allowed(1));
    assert_eq!(table.follow(key(1), 1600, 2400, at(31)), Follow::Unknown);
    assert_eq!(table.follow(key(2), 800, 1600, at(30)), Follow::Overlap);
    assert_eq!(table.follow(key(2), 800, 1600, at(31)), Follow::Unknown);
    assert_eq!(table.first(key(2), 80, 9, at(31)), First::Recorded);
    assert_eq!(table.follow(key(2), 80, 160, at(31)), Follow::Allowed(9));
}

#[test]
fn a_full_bucket_gives_up_the_complete_then_the_oldest() {
    let table = table(WAYS);
    for identification in 0..WAYS as u32 {
        table.first(key(identification), 800, 1, at(u64::from(identification)));
    }
    table.follow_last(key(5), 800, 900, at(8));
    table.first(key(100), 800, 1, at(8));
    assert_eq!(table.stats().evicted, 0);
    assert_eq!(table.follow(key(5), 800, 900, at(8)), Follow::Unknown);
    table.first(key(101), 800, 1, at(8));
    assert_eq!(table.stats().evicted, 1);
    assert_eq!(table.follow(key(0), 800, 1600, at(8)), Follow::Unknown);
    for identification in [1, 2, 3, 4, 6, 7, 100, 101] {
        assert_eq!(table.follow(key(identification), 800, 1600, at(8)), Follow::Allowed(1));
    }
    // What has expired makes way without being counted as given up.
    for identification in 200..208 {
        table.first(key(identification), 800, 1, at(60));
    }
    assert_eq!(table.stats(), FragmentStats { recorded: 18, completed: 1, overlapping: 0, evicted: 1 });
}

#[test]
fn capacity_is_checked() {
    assert!(matches!(FragmentTable::new(0, HashSecret([0, 0])), Err(ConfigError::Capacity { capacity: 0 })));
}
