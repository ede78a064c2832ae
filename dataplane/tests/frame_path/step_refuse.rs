//! What is refused before policy is asked.

use podgate_dataplane::mac::Mac;
use podgate_dataplane::policy::Cause;
use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::{DropReason, Verdict};

use crate::frames::{self, ARP, IPV4, IPV6, Link, REQUEST, port};
use crate::world::{DB, FREE, NODE_MAC, UNBOUND, WEB, World, from_pod, mac, policy, secs, snapshot, to_pod};

fn harmless() -> Vec<u8> {
    frames::udp(("10.0.0.3", 1), ("10.0.0.1", 2), &[])
}

#[test]
fn without_a_snapshot_nothing_passes() {
    let mut world = World::new();
    world.snapshot = None;
    for frame in [
        from_pod(FREE, mac(WEB)).ip(&harmless()),
        to_pod(WEB).ip(&harmless()),
        from_pod(FREE, Mac::BROADCAST).carry(ARP, &frames::arp(REQUEST, mac(FREE), "10.0.0.3", "10.0.0.1")),
        from_pod(FREE, mac(WEB)).carry(0x8100, &[0; 46]),
    ] {
        assert_eq!(world.send(&frame).dropped(DropReason::NoSnapshot).epoch, None);
    }
}

#[test]
fn a_port_without_a_pod_is_closed_both_ways() {
    let world = World::new();
    let arp = frames::arp(REQUEST, mac(UNBOUND), "10.0.0.9", "10.0.0.1");
    for frame in [
        from_pod(UNBOUND, mac(WEB)).ip(&harmless()),
        to_pod(UNBOUND).ip(&harmless()),
        from_pod(UNBOUND, Mac::BROADCAST).carry(ARP, &arp),
        to_pod(UNBOUND).carry(ARP, &arp),
    ] {
        world.send(&frame).dropped(DropReason::UnknownEndpoint);
    }
}

#[test]
fn a_bound_pod_that_no_address_resolves_to_is_unknown() {
    let mut world = World::new();
    let snapshot = world.snapshot.as_mut().unwrap();
    let mut binding = snapshot.binding(port(FREE)).unwrap().clone();
    binding.addresses = [podgate_flowtable::Addr::from(frames::ip("10.0.0.33"))].into();
    snapshot.bind(port(FREE), binding);
    let packet = frames::udp(("10.0.0.33", 1), ("10.0.0.1", 2), &[]);
    world.send(&from_pod(FREE, mac(WEB)).ip(&packet)).dropped(DropReason::UnknownEndpoint);
}

#[test]
fn frames_that_are_not_understood_are_counted_where_they_came_from() {
    let world = World::new();
    let mut untagged = from_pod(FREE, mac(WEB)).ip(&harmless());
    untagged[12..14].copy_from_slice(&[8, 0]);
    let event = *world.send(&untagged).dropped(DropReason::NoTag);
    assert_eq!((event.tag, event.tuple), (None, None));
    world.send(&[]).dropped(DropReason::Truncated);
    let link = from_pod(FREE, mac(WEB));
    for (frame, reason) in [
        (link.carry(0x8100, &[0; 46]), DropReason::VlanTagged),
        (link.carry(0x88a8, &[0; 46]), DropReason::VlanTagged),
        (to_pod(FREE).carry(0x8100, &[0; 46]), DropReason::VlanTagged),
        (link.carry(0x88cc, &[0; 46]), DropReason::UnknownEthertype),
        (link.carry(0x0026, &[0; 46]), DropReason::UnknownEthertype),
        (link.carry(ARP, &[0; 46]), DropReason::BadArp),
        (link.carry(IPV4, &[0; 46]), DropReason::BadIpv4),
        (link.carry(IPV6, &[0; 46]), DropReason::BadIpv6),
        (link.ip(&frames::raw("10.0.0.3", "10.0.0.1", 6, &[0; 20])), DropReason::BadTransport),
        (link.ip(&frames::raw("127.0.0.1", "10.0.0.1", 6, &[0; 20])), DropReason::Martian),
        (link.ip(&harmless())[..40].to_vec(), DropReason::Truncated),
    ] {
        assert_eq!(world.send(&frame).dropped(reason).tuple, None);
    }
    let from_nowhere = frames::udp(("0.0.0.0", 67), ("10.0.0.3", 68), &[]);
    world.send(&to_pod(FREE).ip(&from_nowhere)).dropped(DropReason::Martian);
}

#[test]
fn what_the_bridge_floods_is_not_for_this_pod() {
    let world = World::new();
    for destination in ["10.0.0.1", "10.0.0.77", "10.0.0.255"] {
        let packet = frames::udp(("8.8.8.8", 1), (destination, 2), &[]);
        world.send(&to_pod(FREE).ip(&packet)).not_for_this_pod();
    }
}

#[test]
fn tunnels_from_pods_to_nodes_are_dropped() {
    let world = World::new();
    let tunnels = |destination| {
        let udp = [4789, 8472, 6081, 51820, 51821]
            .map(|port| frames::udp(("10.0.0.3", 40000), (destination, port), &[0; 16]));
        let raw = [4, 41, 47].map(|protocol| frames::raw("10.0.0.3", destination, protocol, &[0; 16]));
        udp.into_iter().chain(raw)
    };
    for node in ["10.0.0.254", "192.168.0.2", "169.254.20.10"] {
        for packet in tunnels(node) {
            world.send(&from_pod(FREE, NODE_MAC).ip(&packet)).dropped(DropReason::TunnelToNode);
        }
    }
    // A node takes in broadcasts: the limited one, and its subnet's.
    for broadcast in ["255.255.255.255", "10.0.0.255"] {
        for packet in tunnels(broadcast) {
            world.send(&from_pod(FREE, Mac::BROADCAST).ip(&packet)).dropped(DropReason::TunnelToNode);
        }
    }
    let outside = tunnels("8.8.8.8").next().unwrap();
    world.send(&from_pod(FREE, NODE_MAC).ip(&outside)).opened(
        Tag::from_pod(port(FREE)),
        Cause::NotIsolated,
        Cause::NotLocal,
    );
    let node_link_local = frames::udp(("fd00::3", 40000), ("fe80::1", 8472), &[]);
    world.send(&from_pod(FREE, NODE_MAC).ip(&node_link_local)).dropped(DropReason::TunnelToNode);
}

#[test]
fn tunnels_pass_if_the_switch_is_off() {
    let mut world = World::new();
    let switches = Switches { drop_tunnels_to_nodes: false, ..Switches::default() };
    world.snapshot = Some(snapshot(1, policy(false), switches));
    let packet = frames::udp(("10.0.0.3", 40000), ("10.0.0.254", 8472), &[]);
    world.send(&from_pod(FREE, NODE_MAC).ip(&packet)).opened(
        Tag::from_pod(port(FREE)),
        Cause::NotIsolated,
        Cause::NotLocal,
    );
}

#[test]
fn a_tunnel_is_dropped_even_on_a_flow_that_was_allowed() {
    let mut world = World::new();
    let switches = Switches { drop_tunnels_to_nodes: false, ..Switches::default() };
    world.snapshot = Some(snapshot(1, policy(false), switches));
    let packet = from_pod(FREE, NODE_MAC).ip(&frames::udp(("10.0.0.3", 40000), ("10.0.0.254", 8472), &[]));
    world.send(&packet).opened(Tag::from_pod(port(FREE)), Cause::NotIsolated, Cause::NotLocal);
    world.snapshot = Some(snapshot(2, policy(false), Switches::default()));
    world.send(&packet).dropped(DropReason::TunnelToNode);
}

#[test]
fn a_full_flow_table_is_its_own_reason() {
    let world = World::with_capacity(1);
    let link = from_pod(FREE, mac(WEB));
    let mut full = 0;
    for source_port in 0..100 {
        // Replied to twice over three seconds, so that the table keeps it.
        let question = frames::udp(("10.0.0.3", source_port + 1), ("10.0.0.1", 2), &[]);
        let answer = frames::udp(("10.0.0.1", 2), ("10.0.0.3", source_port + 1), &[]);
        let outcome = world.send(&link.ip(&question));
        if outcome.verdict == Verdict::Drop(DropReason::FlowTableFull) {
            outcome.dropped(DropReason::FlowTableFull);
            full += 1;
            continue;
        }
        for at in [10, 12, 14] {
            world.send_at(&from_pod(WEB, mac(FREE)).ip(&answer), secs(at)).forwarded(Tag::to_pod(port(FREE)));
            world.send_at(&link.ip(&question), secs(at)).forwarded(Tag::to_pod(port(WEB)));
        }
    }
    assert!(full > 0);
}

#[test]
fn a_frame_that_could_not_be_sent_is_counted_where_it_was_going() {
    let world = World::new();
    let mut frame = from_pod(FREE, mac(WEB)).ip(&harmless());
    assert_eq!(world.gate().step(&mut frame, secs(1)), Verdict::Forward(Tag::to_pod(port(WEB))));
    world.events.pop().unwrap();
    assert_eq!(world.gate().drop_unsent(&frame, secs(1)), Verdict::Drop(DropReason::TxFull));
    assert_eq!(world.counters.drops(Some(port(WEB)), DropReason::TxFull), 1);
    assert_eq!(world.counters.total().drops().collect::<Vec<_>>(), [(DropReason::TxFull, 1)]);
    let event = world.events.pop().unwrap();
    assert_eq!((event.verdict, event.tag), (Verdict::Drop(DropReason::TxFull), Some(Tag::to_pod(port(WEB)))));
}

#[test]
fn events_that_find_no_room_are_counted_as_lost() {
    let world = World::new();
    let frame = Link::new(Tag::from_pod(port(FREE)), mac(DB), NODE_MAC).ip(&harmless());
    for _ in 0..20 {
        world.gate().step(&mut frame.clone(), secs(1));
    }
    assert_eq!((world.events.len(), world.events.lost()), (16, 4));
    assert_eq!(world.counters.drops(Some(port(FREE)), DropReason::SpoofedMac), 20);
}
