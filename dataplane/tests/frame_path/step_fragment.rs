//! Fragmented datagrams.

use podgate_dataplane::policy::Cause;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::{DropReason, Verdict};
use podgate_flowtable::FragmentStats;

use crate::frames::{self, port};
use crate::world::{DB, DB_FROM_WEB, FREE, NODE_MAC, WEB, WEB_TO_DB, World, from_pod, mac, secs, to_pod};

const PAIRS: [(&str, &str); 2] = [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")];

#[test]
fn later_fragments_follow_the_first() {
    for (web, db) in PAIRS {
        let world = World::new();
        let datagram = frames::udp((web, 40000), (db, 53), &[7; 92]);
        let send =
            |start, end| world.send(&from_pod(WEB, mac(DB)).ip(&frames::fragment(&datagram, start, end, 7)));
        send(48, 96).dropped(DropReason::FragmentWithoutFirst);
        send(0, 48).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
        send(96, 100).forwarded(Tag::to_pod(port(DB)));
        send(48, 96).forwarded(Tag::to_pod(port(DB)));
        // Another datagram of the same flow.
        let other = frames::fragment(&datagram, 48, 96, 8);
        world.send(&from_pod(WEB, mac(DB)).ip(&other)).dropped(DropReason::FragmentWithoutFirst);
    }
}

#[test]
fn a_denied_first_fragment_denies_the_datagram() {
    for (web, db) in PAIRS {
        let world = World::new();
        let datagram = frames::udp((web, 40000), (db, 54), &[7; 92]);
        let send =
            |start, end| world.send(&from_pod(WEB, mac(DB)).ip(&frames::fragment(&datagram, start, end, 7)));
        send(0, 48).denied(DropReason::PolicyIngress, WEB_TO_DB, Cause::DefaultDeny);
        send(48, 100).dropped(DropReason::FragmentWithoutFirst);
    }
}

#[test]
fn an_overlap_ends_the_datagram() {
    for (web, db) in PAIRS {
        let world = World::new();
        let datagram = frames::udp((web, 40000), (db, 53), &[7; 92]);
        let send =
            |start, end| world.send(&from_pod(WEB, mac(DB)).ip(&frames::fragment(&datagram, start, end, 7)));
        send(0, 48).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
        send(40, 96).dropped(DropReason::BadFragment);
        send(48, 100).dropped(DropReason::BadFragment);
        send(0, 48).dropped(DropReason::BadFragment);
    }
}

#[test]
fn what_is_routed_between_two_ports_is_two_datagrams() {
    for (web, db) in PAIRS {
        let world = World::new();
        let datagram = frames::udp((web, 40000), (db, 53), &[7; 92]);
        let (first, last) = (frames::fragment(&datagram, 0, 48, 7), frames::fragment(&datagram, 48, 100, 7));
        let out = from_pod(WEB, NODE_MAC);
        world.send(&out.ip(&first)).opened(Tag::from_pod(port(WEB)), WEB_TO_DB, DB_FROM_WEB);
        world.send(&to_pod(DB).ip(&last)).dropped(DropReason::FragmentWithoutFirst);
        world.send(&to_pod(DB).ip(&first)).forwarded(Tag::to_pod(port(DB)));
        world.send(&out.ip(&last)).forwarded(Tag::from_pod(port(WEB)));
        world.send(&to_pod(DB).ip(&last)).forwarded(Tag::to_pod(port(DB)));
    }
}

/// Each of the two numbers its datagram so that, with its port's number, it could be the other's.
#[test]
fn a_number_names_no_datagram_of_another_port() {
    let world = World::new();
    let datagram = frames::udp((PAIRS[1].0, 40000), (PAIRS[1].1, 53), &[7; 92]);
    let (first, mut last) = (frames::fragment(&datagram, 0, 48, 7), frames::fragment(&datagram, 48, 100, 7));
    let out = from_pod(WEB, NODE_MAC);
    world.send(&out.ip(&first)).opened(Tag::from_pod(port(WEB)), WEB_TO_DB, DB_FROM_WEB);
    let difference = Tag::from_pod(port(WEB)).tci() ^ Tag::to_pod(port(DB)).tci();
    last[44..46].copy_from_slice(&difference.to_be_bytes());
    world.send(&to_pod(DB).ip(&last)).dropped(DropReason::FragmentWithoutFirst);
}

#[test]
fn later_fragments_may_follow_for_thirty_seconds() {
    for (web, db) in PAIRS {
        let world = World::new();
        let datagram = frames::udp((web, 40000), (db, 53), &[7; 92]);
        let send = |start, end, at| {
            let fragment = frames::fragment(&datagram, start, end, 7);
            world.send_at(&from_pod(WEB, mac(DB)).ip(&fragment), secs(at))
        };
        send(0, 32, 10).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
        send(32, 64, 40).forwarded(Tag::to_pod(port(DB)));
        send(64, 100, 41).dropped(DropReason::FragmentWithoutFirst);
    }
}

/// RFC 6946, 4: alone, whatever other fragments have its number.
#[test]
fn an_atomic_fragment_is_judged_alone() {
    let world = World::new();
    let [_, (web, db)] = PAIRS;
    let datagram = frames::udp((web, 40000), (db, 53), &[7; 92]);
    let send =
        |start, end| world.send(&from_pod(WEB, mac(DB)).ip(&frames::fragment(&datagram, start, end, 7)));
    let atomic = || send(0, 100);
    atomic().opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
    assert_eq!(world.fragments.stats(), FragmentStats::default());
    send(0, 48).forwarded(Tag::to_pod(port(DB)));
    atomic().forwarded(Tag::to_pod(port(DB)));
    send(48, 100).forwarded(Tag::to_pod(port(DB)));
    let stats = FragmentStats { recorded: 1, completed: 1, ..FragmentStats::default() };
    assert_eq!(world.fragments.stats(), stats);
    // It is judged as what it is: nothing follows from it for another port.
    let denied = frames::udp((web, 40000), (db, 54), &[7; 92]);
    let denied = frames::fragment(&denied, 0, 100, 7);
    world.send(&from_pod(WEB, mac(DB)).ip(&denied)).denied(
        DropReason::PolicyIngress,
        WEB_TO_DB,
        Cause::DefaultDeny,
    );
}

#[test]
fn a_pod_that_begins_datagrams_without_end_disturbs_no_other() {
    for ((web, db), free) in PAIRS.into_iter().zip(["10.0.0.3", "fd00::3"]) {
        let world = World::new();
        let endless = frames::udp((web, 40000), (db, 53), &[7; 92]);
        let good = frames::udp((free, 40000), (web, 53), &[7; 92]);
        let send_good = |start, end, number| {
            world.send(&from_pod(FREE, mac(WEB)).ip(&frames::fragment(&good, start, end, number)))
        };
        let mut next = 0;
        let mut flood = || {
            for _ in 0..100 {
                next += 1;
                let mut frame = from_pod(WEB, mac(DB)).ip(&frames::fragment(&endless, 0, 48, next));
                let verdict = world.gate().step(&mut frame, secs(10));
                let expected =
                    [Verdict::Forward(Tag::to_pod(port(DB))), Verdict::Drop(DropReason::FragmentQuota)];
                assert!(expected.contains(&verdict), "{verdict:?}");
                while world.events.pop().is_some() {}
            }
        };
        let into_web = Tag::to_pod(port(WEB));
        for number in 0..7 {
            let outcome = send_good(0, 48, number);
            assert_eq!(outcome.verdict, Verdict::Forward(into_web));
        }
        flood();
        // What was under way before the flood, and what begins in it.
        for number in 0..7 {
            send_good(48, 100, number).forwarded(into_web);
        }
        for number in 100..120 {
            send_good(0, 48, number).forwarded(into_web);
            flood();
            send_good(48, 100, number).forwarded(into_web);
        }
        let stats = world.fragments.stats();
        let refused = world.counters.drops(Some(port(WEB)), DropReason::FragmentQuota);
        assert_eq!((stats.completed, stats.over_quota), (27, refused));
        assert!(refused > 500, "{refused}");
        assert_eq!(world.counters.drops(Some(port(FREE)), DropReason::FragmentQuota), 0);
    }
}

#[test]
fn tricks_with_small_fragments_are_refused() {
    for (web, db) in PAIRS {
        let world = World::new();
        let segment = frames::tcp((web, 40000), (db, 5432), |tcp| tcp.syn = true, &[7; 40]);
        for (start, end) in [(0, 8), (0, 16), (8, 60)] {
            let fragment = frames::fragment(&segment, start, end, 7);
            world.send(&from_pod(WEB, mac(DB)).ip(&fragment)).dropped(DropReason::BadFragment);
        }
        // SCTP's first chunk, and an error's quote, are looked at too.
        let init = frames::sctp((web, 40000), (db, 5432), 0, 1);
        let error = frames::icmp_error(web, db, if web == PAIRS[0].0 { 3 } else { 1 }, &segment);
        for (packet, reason) in [(init, DropReason::BadFragment), (error, DropReason::BadTransport)] {
            let fragment = frames::fragment(&packet, 0, 8, 7);
            world.send(&from_pod(WEB, mac(DB)).ip(&fragment)).dropped(reason);
        }
        assert!(world.flows.is_empty());
        assert_eq!(world.fragments.stats(), FragmentStats::default());
    }
}
