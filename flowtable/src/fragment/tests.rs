//! Tests of following fragments.

use super::*;

fn table(capacity: usize) -> FragmentTable {
    FragmentTable::new(capacity, HashSecret([5, 6])).unwrap()
}

fn key(identification: u32) -> FragmentKey {
    of(7, identification)
}

fn of(owner: u16, identification: u32) -> FragmentKey {
    FragmentKey {
        owner,
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
        FragmentKey { owner: 8, ..key(1) },
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
    // Each of another owner: nobody has one of its own to give up.
    let of_its_own = |identification| of(identification as u16, identification);
    for identification in 0..WAYS as u32 {
        table.first(of_its_own(identification), 800, 1, at(u64::from(identification)));
    }
    table.follow_last(of_its_own(5), 800, 900, at(8));
    table.first(of_its_own(100), 800, 1, at(8));
    assert_eq!(table.stats().evicted, 0);
    assert_eq!(table.follow(of_its_own(5), 800, 900, at(8)), Follow::Unknown);
    table.first(of_its_own(101), 800, 1, at(8));
    assert_eq!(table.stats().evicted, 1);
    assert_eq!(table.follow(of_its_own(0), 800, 1600, at(8)), Follow::Unknown);
    for identification in [1, 2, 3, 4, 6, 7, 100, 101] {
        assert_eq!(table.follow(of_its_own(identification), 800, 1600, at(8)), Follow::Allowed(1));
    }
    // What has expired makes way without being counted as given up.
    for identification in 200..208 {
        table.first(of_its_own(identification), 800, 1, at(60));
    }
    let stats = FragmentStats { recorded: 18, completed: 1, evicted: 1, ..FragmentStats::default() };
    assert_eq!(table.stats(), stats);
}

#[test]
fn in_a_full_bucket_its_owners_oldest_makes_way_and_no_other() {
    let table = table(WAYS);
    for identification in 0..7 {
        table.first(of(1, identification), 800, 1, at(0));
    }
    table.first(of(2, 100), 800, 1, at(1));
    table.first(of(2, 101), 800, 1, at(2));
    assert_eq!(table.follow(of(2, 100), 800, 1600, at(2)), Follow::Unknown);
    assert_eq!(table.follow(of(2, 101), 800, 1600, at(2)), Follow::Allowed(1));
    for identification in 0..7 {
        assert_eq!(table.follow(of(1, identification), 800, 1600, at(2)), Follow::Allowed(1));
    }
    assert_eq!((table.owners.under_way(1), table.owners.under_way(2)), (7, 1));
}

#[test]
fn an_owner_has_its_share_under_way_and_no_more() {
    // A sixteenth is 32 datagrams; in 64 buckets, half of them have none of the owner's.
    let table = table(512);
    let outcomes: Vec<First> = (0..1000).map(|number| table.first(of(1, number), 800, 1, at(0))).collect();
    assert!(outcomes[..32].iter().all(|outcome| *outcome == First::Recorded));
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count() as u64;
    let (recorded, refused) = (count(First::Recorded), count(First::OverQuota));
    assert!(recorded > 32 && refused > 0 && recorded + refused == 1000, "{recorded} {refused}");
    assert_eq!(table.owners.under_way(1), 32);
    let stats =
        FragmentStats { recorded, over_quota: refused, evicted: recorded - 32, ..FragmentStats::default() };
    assert_eq!(table.stats(), stats);
    // Another one is not concerned.
    for number in 0..32 {
        assert_eq!(table.first(of(2, number), 800, 1, at(0)), First::Recorded);
    }
    assert_eq!((table.owners.under_way(1), table.owners.under_way(2)), (32, 32));
    assert_eq!(table.stats(), FragmentStats { recorded: recorded + 32, ..stats });
}

#[test]
fn a_datagram_counts_until_it_is_complete_or_forgotten() {
    let table = table(WAYS);
    let under_way = |expected| assert_eq!(table.owners.under_way(7), expected);
    for number in 0..8 {
        table.first(key(number), 800, 1, at(0));
    }
    table.first(key(0), 800, 1, at(0));
    under_way(8);
    // What is refused for an overlap still counts: it is remembered.
    table.follow(key(1), 8, 16, at(0));
    under_way(8);
    table.follow_last(key(2), 800, 900, at(0));
    table.follow_last(key(2), 800, 900, at(0));
    under_way(7);
    // The number again, of a complete one and of one that has expired.
    table.first(key(2), 800, 1, at(1));
    under_way(8);
    table.first(key(3), 800, 1, at(31));
    under_way(2);
    for number in 100..200 {
        table.first(key(number), 800, 1, at(90));
    }
    under_way(8);
    table.first(of(8, 1), 800, 1, at(200));
    under_way(0);
    assert_eq!(table.stats().over_quota, 0, "its own made way");
}

#[test]
fn what_overlaps_a_complete_datagram_makes_it_count_again() {
    let table = table(WAYS);
    table.first(key(1), 800, 1, at(0));
    table.follow_last(key(1), 800, 900, at(0));
    assert_eq!(table.owners.under_way(7), 0);
    assert_eq!(table.follow(key(1), 8, 16, at(1)), Follow::Overlap);
    assert_eq!(table.owners.under_way(7), 1);
    table.first(of(8, 1), 800, 1, at(40));
    table.forget_expired(&mut table.buckets[0].lock().unwrap(), at(80));
    assert_eq!((table.owners.under_way(7), table.owners.under_way(8)), (0, 0));
}

/// At 10,000 datagrams a second, losses would fill a share within seconds and keep it for 30.
#[test]
fn lost_fragments_do_not_lock_their_owner_out() {
    let table = table(512);
    let mut refused = 0;
    for number in 0..20_000 {
        let now = Time::from_nanos(u64::from(number) * 100_000);
        match table.first(key(number), 800, 1, now) {
            First::Recorded if number % 100 == 0 => {}
            First::Recorded => _ = table.follow_last(key(number), 800, 900, now),
            First::OverQuota => refused += 1,
            First::Overlap => panic!("{number}"),
        }
    }
    // 200 were lost; each costs a few others, and not all that follow.
    assert!(refused < 600, "{refused}");
}

#[test]
fn what_was_never_finished_holds_no_share_once_it_has_expired() {
    let table = table(512);
    for number in 0..32 {
        assert_eq!(table.first(key(number), 800, 1, at(0)), First::Recorded);
    }
    // In slices, as between batches; 64 buckets.
    (0..4).for_each(|_| table.expire(at(30), 16));
    assert_eq!(table.owners.under_way(7), 32, "not yet");
    (0..3).for_each(|_| table.expire(at(31), 16));
    assert!(table.owners.under_way(7) > 0);
    table.expire(at(31), 16);
    assert_eq!(table.owners.under_way(7), 0);
    for number in 100..132 {
        assert_eq!(table.first(key(number), 800, 1, at(31)), First::Recorded, "{number}");
    }
}

#[test]
fn capacity_is_checked() {
    assert!(matches!(
        FragmentTable::<u64>::new(0, HashSecret([0, 0])),
        Err(ConfigError::Capacity { capacity: 0 })
    ));
}
