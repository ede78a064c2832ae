//! Fragmented datagrams.

use podgate_dataplane::policy::Cause;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::DropReason;

use crate::frames::{self, port};
use crate::world::{DB, DB_FROM_WEB, NODE_MAC, WEB, WEB_TO_DB, World, from_pod, mac, to_pod};

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

#[test]
fn tricks_with_small_fragments_are_refused() {
    for (web, db) in PAIRS {
        let world = World::new();
        let segment = frames::tcp((web, 40000), (db, 5432), |tcp| tcp.syn = true, &[7; 40]);
        for (start, end) in [(0, 8), (0, 16), (8, 60)] {
            let fragment = frames::fragment(&segment, start, end, 7);
            world.send(&from_pod(WEB, mac(DB)).ip(&fragment)).dropped(DropReason::BadFragment);
        }
    }
}
