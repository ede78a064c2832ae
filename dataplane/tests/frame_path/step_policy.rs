//! What policy allows and denies, in every direction.

use podgate_dataplane::events::EventKind;
use podgate_dataplane::policy::{Cause, EndpointId};
use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::DropReason;
use podgate_flowtable::{Direction, Epoch, TcpFlags};

use crate::frames::{self, port};
use crate::world::{
    DB, DB_FROM_OUTSIDE, DB_FROM_WEB, FREE, NODE_MAC, WEB, WEB_TO_DB, WEB_TO_OUTSIDE, World, from_pod, mac,
    policy, secs, snapshot, to_pod,
};

#[test]
fn both_sides_allow_a_connection_and_its_replies_need_no_rule() {
    for (web, db) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let world = World::new();
        let out = from_pod(WEB, mac(DB));
        let back = from_pod(DB, mac(WEB));
        let (client, server) = ((web, 40000), (db, 5432));
        let opening = world.send(&out.ip(&frames::syn(client, server)));
        opening.opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
        let event = opening.events[0];
        assert_eq!((event.source, event.destination), (Some(EndpointId(1)), Some(EndpointId(2))));
        assert_eq!(event.tcp_flags, Some(TcpFlags::SYN));
        assert_eq!((event.epoch, event.time), (Some(Epoch(1)), secs(10)));
        let tuple = event.tuple.unwrap();
        assert_eq!((tuple.source_port, tuple.destination_port), (40000, 5432));

        let syn_ack = frames::tcp(
            server,
            client,
            |tcp| {
                (tcp.syn, tcp.ack) = (true, true);
                (tcp.sequence_number, tcp.acknowledgment_number) = (5000, 1001);
            },
            &[],
        );
        world.send(&back.ip(&syn_ack)).forwarded(Tag::to_pod(port(WEB)));
        let ack = |tcp: &mut etherparse::TcpHeader| {
            tcp.ack = true;
            (tcp.sequence_number, tcp.acknowledgment_number) = (1001, 5001);
        };
        world.send(&out.ip(&frames::tcp(client, server, ack, b"select 1"))).forwarded(Tag::to_pod(port(DB)));
        let (flow, direction) = world.flows.find(&tuple.reversed()).unwrap();
        assert_eq!(direction, Direction::Reply);
        assert_eq!(flow.packets, [2, 1]);
    }
}

#[test]
fn no_rule_at_the_destination_denies() {
    let world = World::new();
    let out = from_pod(WEB, mac(DB));
    for packet in [
        frames::syn(("10.0.0.1", 40000), ("10.0.0.2", 5433)),
        frames::udp(("10.0.0.1", 40000), ("10.0.0.2", 5432), &[]),
        frames::sctp(("10.0.0.1", 40000), ("10.0.0.2", 5432), 0, 1),
        frames::query("10.0.0.1", "10.0.0.2", 8, 5432),
        frames::raw("10.0.0.1", "10.0.0.2", 99, &[0; 8]),
        frames::syn(("fd00::1", 40000), ("fd00::2", 5433)),
    ] {
        world.send(&out.ip(&packet)).denied(DropReason::PolicyIngress, WEB_TO_DB, Cause::DefaultDeny);
    }
    assert!(world.flows.is_empty());
}

#[test]
fn no_rule_at_the_source_denies_before_the_destination_is_asked() {
    let world = World::new();
    for (packet, destination) in [
        (frames::udp(("10.0.0.1", 40000), ("10.0.0.3", 53), &[]), mac(FREE)),
        (frames::syn(("10.0.0.1", 40000), ("8.8.8.8", 53)), NODE_MAC),
        (frames::udp(("10.0.0.1", 40000), ("10.0.0.254", 53), &[]), NODE_MAC),
        (frames::udp(("10.0.0.1", 40000), ("10.0.1.9", 53), &[]), NODE_MAC),
    ] {
        let outcome = world.send(&from_pod(WEB, destination).ip(&packet));
        outcome.denied(DropReason::PolicyEgress, Cause::DefaultDeny, Cause::NotReached);
        assert_eq!(outcome.events[0].source, Some(EndpointId(1)));
    }
    world.send(&from_pod(WEB, NODE_MAC).ip(&frames::udp(("10.0.0.1", 40000), ("8.8.8.8", 53), &[]))).opened(
        Tag::from_pod(port(WEB)),
        WEB_TO_OUTSIDE,
        Cause::NotLocal,
    );
}

#[test]
fn isolation_for_ingress_is_none_for_egress_and_the_other_way_round() {
    let world = World::new();
    world.send(&from_pod(DB, mac(FREE)).ip(&frames::syn(("10.0.0.2", 40000), ("10.0.0.3", 80)))).opened(
        Tag::to_pod(port(FREE)),
        Cause::NotIsolated,
        Cause::NotIsolated,
    );
    world.send(&from_pod(FREE, mac(WEB)).ip(&frames::syn(("10.0.0.3", 40000), ("10.0.0.1", 80)))).opened(
        Tag::to_pod(port(WEB)),
        Cause::NotIsolated,
        Cause::NotIsolated,
    );
    world.send(&from_pod(FREE, mac(DB)).ip(&frames::syn(("10.0.0.3", 40000), ("10.0.0.2", 5432)))).denied(
        DropReason::PolicyIngress,
        Cause::NotIsolated,
        Cause::DefaultDeny,
    );
}

#[test]
fn what_comes_from_outside_is_judged_at_the_port_it_comes_to() {
    let world = World::new();
    let arriving = |source, port| to_pod(DB).ip(&frames::syn((source, 40000), ("10.0.0.2", port)));
    let db = Tag::to_pod(port(DB));
    world.send(&arriving("8.8.8.8", 5432)).opened(db, Cause::NotLocal, DB_FROM_OUTSIDE);
    world.send(&arriving("8.8.8.8", 22)).denied(
        DropReason::PolicyIngress,
        Cause::NotLocal,
        Cause::DefaultDeny,
    );
    for other in ["10.0.1.9", "192.168.0.2"] {
        let outcome = world.send(&arriving(other, 5432));
        outcome.denied(DropReason::PolicyIngress, Cause::NotLocal, Cause::DefaultDeny);
    }
    // The reply of a flow first seen here.
    let reply = frames::tcp(
        ("10.0.0.2", 5432),
        ("8.8.8.8", 40000),
        |tcp| {
            (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (true, true, 1001);
        },
        &[],
    );
    world.send(&from_pod(DB, NODE_MAC).ip(&reply)).forwarded(Tag::from_pod(port(DB)));
}

#[test]
fn the_own_node_always_reaches_its_pods() {
    let world = World::new();
    for (node, db) in [("10.0.0.254", "10.0.0.2"), ("fd00::fe", "fd00::2")] {
        let probe = to_pod(DB).ip(&frames::syn((node, 40000), (db, 9999)));
        world.send(&probe).opened(Tag::to_pod(port(DB)), Cause::NotLocal, Cause::OwnNode);
    }
    // But not the other way round.
    let world = World::new();
    let to_node = from_pod(WEB, NODE_MAC).ip(&frames::syn(("10.0.0.1", 40000), ("10.0.0.254", 10250)));
    world.send(&to_node).denied(DropReason::PolicyEgress, Cause::DefaultDeny, Cause::NotReached);
}

#[test]
fn a_pod_reaches_itself() {
    let world = World::new();
    let hairpin = from_pod(WEB, NODE_MAC).ip(&frames::syn(("10.0.0.1", 40000), ("10.0.0.1", 80)));
    world.send(&hairpin).opened(Tag::from_pod(port(WEB)), Cause::Itself, Cause::Itself);
    let back = to_pod(WEB).ip(&frames::syn(("10.0.0.1", 40000), ("10.0.0.1", 80)));
    world.send(&back).forwarded(Tag::to_pod(port(WEB)));
}

#[test]
fn a_link_local_address_is_no_way_around_policy() {
    let (web, db) = (mac(WEB).link_local(), mac(DB).link_local());
    let (web, db) = (web.to_string(), db.to_string());
    let syn = |destination| frames::syn((&web, 40000), (&db, destination));
    let world = World::new();
    world.send(&from_pod(WEB, mac(DB)).ip(&syn(5432))).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
    world.send(&from_pod(WEB, mac(DB)).ip(&syn(22))).denied(
        DropReason::PolicyIngress,
        WEB_TO_DB,
        Cause::DefaultDeny,
    );
    let to_gateway = frames::syn((&web, 40000), ("fe80::1", 22));
    world.send(&from_pod(WEB, NODE_MAC).ip(&to_gateway)).denied(
        DropReason::PolicyEgress,
        Cause::DefaultDeny,
        Cause::NotReached,
    );
    // From the node's link-local address, which no one lists, as from outside.
    let from_gateway = to_pod(DB).ip(&frames::syn(("fe80::1", 40000), (&db, 22)));
    world.send(&from_gateway).denied(DropReason::PolicyIngress, Cause::NotLocal, Cause::DefaultDeny);
}

#[test]
fn echo_is_allowed_by_a_rule_without_ports_and_its_reply_with_it() {
    let world = World::new();
    let request = frames::query("10.0.0.2", "10.0.0.3", 8, 77);
    let reply = frames::query("10.0.0.3", "10.0.0.2", 0, 77);
    let outcome = world.send(&from_pod(FREE, mac(DB)).ip(&reply));
    assert_eq!(outcome.dropped(DropReason::NoFlow).icmp_type, Some(0));
    let outcome = world.send(&from_pod(DB, mac(FREE)).ip(&request));
    outcome.opened(Tag::to_pod(port(FREE)), Cause::NotIsolated, Cause::NotIsolated);
    assert_eq!(outcome.events[0].icmp_type, Some(8));
    world.send(&from_pod(FREE, mac(DB)).ip(&reply)).forwarded(Tag::to_pod(port(DB)));
}

#[test]
fn a_segment_that_opens_nothing_has_no_flow() {
    let world = World::new();
    let ack = frames::tcp(("10.0.0.1", 40000), ("10.0.0.2", 5432), |tcp| tcp.ack = true, b"late");
    let outcome = world.send(&from_pod(WEB, mac(DB)).ip(&ack));
    assert_eq!(outcome.dropped(DropReason::NoFlow).kind, EventKind::Dropped);
    let christmas = frames::tcp(
        ("10.0.0.1", 40000),
        ("10.0.0.2", 5432),
        |tcp| {
            (tcp.syn, tcp.fin) = (true, true);
        },
        &[],
    );
    world.send(&from_pod(WEB, mac(DB)).ip(&christmas)).dropped(DropReason::TcpInvalid);
}

#[test]
fn a_pod_reaches_its_own_node_where_that_is_switched_on_and_no_other() {
    let mut world = World::new();
    let to_node = |node: &str| from_pod(WEB, NODE_MAC).ip(&frames::syn(("10.0.0.1", 40000), (node, 10250)));
    world.send(&to_node("10.0.0.254")).denied(
        DropReason::PolicyEgress,
        Cause::DefaultDeny,
        Cause::NotReached,
    );
    let switches = Switches { allow_egress_to_own_node: true, ..Switches::default() };
    world.snapshot = Some(snapshot(2, policy(false), switches));
    world.send(&to_node("10.0.0.254")).opened(Tag::from_pod(port(WEB)), Cause::OwnNode, Cause::NotLocal);
    world.send(&to_node("192.168.0.2")).denied(
        DropReason::PolicyEgress,
        Cause::DefaultDeny,
        Cause::NotReached,
    );
    // What a rule allows is still the rule's.
    let to_db = from_pod(WEB, mac(DB)).ip(&frames::syn(("10.0.0.1", 40001), ("10.0.0.2", 5432)));
    world.send(&to_db).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
}
