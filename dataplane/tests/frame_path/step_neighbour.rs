//! ARP and neighbour discovery between those who speak for themselves.

use podgate_dataplane::mac::Mac;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::DropReason;

use crate::frames::{self, ARP, REPLY, REQUEST, port};
use crate::world::{DB, FREE, NODE_MAC, WEB, World, from_pod, mac, to_pod};

const SOLICITED: Mac = Mac([0x33, 0x33, 0xff, 0, 0, 2]);

#[test]
fn a_broadcast_question_for_a_local_pod_goes_to_that_pod_alone() {
    let world = World::new();
    let question = frames::arp(REQUEST, mac(WEB), "10.0.0.1", "10.0.0.2");
    world
        .send(&from_pod(WEB, Mac::BROADCAST).carry(ARP, &question))
        .readdressed(Tag::to_pod(port(DB)), mac(DB));
    let question = frames::nd("fd00::1", "ff02::1:ff00:2", 135, "fd00::2", Some(mac(WEB)));
    world.send(&from_pod(WEB, SOLICITED).ip(&question)).readdressed(Tag::to_pod(port(DB)), mac(DB));
    let link_local = mac(DB).link_local().to_string();
    let question = frames::nd("fd00::1", "ff02::1:ff00:2", 135, &link_local, Some(mac(WEB)));
    world.send(&from_pod(WEB, SOLICITED).ip(&question)).readdressed(Tag::to_pod(port(DB)), mac(DB));
}

#[test]
fn a_question_for_anyone_else_goes_into_the_bridge() {
    let world = World::new();
    let bridge = Tag::from_pod(port(WEB));
    for target in ["10.0.0.254", "10.0.0.77", "10.0.1.9", "10.0.0.1"] {
        let question = frames::arp(REQUEST, mac(WEB), "10.0.0.1", target);
        world.send(&from_pod(WEB, Mac::BROADCAST).carry(ARP, &question)).forwarded(bridge);
    }
    for target in ["fd00::fe", "fd00::77", "fd00::1", "fe80::1"] {
        let question = frames::nd("fd00::1", "ff02::1:ff00:2", 135, target, Some(mac(WEB)));
        world.send(&from_pod(WEB, SOLICITED).ip(&question)).forwarded(bridge);
    }
}

#[test]
fn unicast_to_a_local_pod_goes_straight_to_it_and_other_unicast_into_the_bridge() {
    let world = World::new();
    let answer = frames::arp(REPLY, mac(DB), "10.0.0.2", "10.0.0.1");
    world.send(&from_pod(DB, mac(WEB)).carry(ARP, &answer)).forwarded(Tag::to_pod(port(WEB)));
    world.send(&from_pod(DB, NODE_MAC).carry(ARP, &answer)).forwarded(Tag::from_pod(port(DB)));
    let poll = frames::arp(REQUEST, mac(DB), "10.0.0.2", "10.0.0.1");
    world.send(&from_pod(DB, mac(WEB)).carry(ARP, &poll)).forwarded(Tag::to_pod(port(WEB)));
    let answer = frames::nd("fd00::2", "fd00::1", 136, "fd00::2", Some(mac(DB)));
    world.send(&from_pod(DB, mac(WEB)).ip(&answer)).forwarded(Tag::to_pod(port(WEB)));
    world.send(&from_pod(DB, NODE_MAC).ip(&answer)).forwarded(Tag::from_pod(port(DB)));
    // What a port would not let in from the bridge, it does not get this way either.
    let misdirected = frames::arp(REQUEST, mac(DB), "10.0.0.2", "10.0.0.3");
    world.send(&from_pod(DB, mac(WEB)).carry(ARP, &misdirected)).not_for_this_pod();
    let misdirected = frames::nd("fd00::2", "fd00::3", 136, "fd00::2", Some(mac(DB)));
    world.send(&from_pod(DB, mac(WEB)).ip(&misdirected)).not_for_this_pod();
}

#[test]
fn a_port_lets_in_what_concerns_its_pod() {
    let world = World::new();
    let db = Tag::to_pod(port(DB));
    let arp = |packet: &[u8]| world.send(&to_pod(DB).carry(ARP, packet));
    arp(&frames::arp(REQUEST, NODE_MAC, "10.0.0.254", "10.0.0.2")).forwarded(db);
    arp(&frames::arp(REPLY, NODE_MAC, "10.0.0.254", "10.0.0.2")).forwarded(db);
    arp(&frames::arp(REQUEST, NODE_MAC, "10.0.0.254", "10.0.0.254")).forwarded(db);
    arp(&frames::arp(REQUEST, NODE_MAC, "0.0.0.0", "10.0.0.2")).forwarded(db);
    arp(&frames::arp(REQUEST, NODE_MAC, "10.0.0.254", "10.0.0.3")).not_for_this_pod();
    arp(&frames::arp(REQUEST, NODE_MAC, "0.0.0.0", "10.0.0.3")).not_for_this_pod();
    let ip = |packet: &[u8]| world.send(&to_pod(DB).ip(packet));
    let link_local = mac(DB).link_local().to_string();
    for packet in [
        frames::nd("fd00::fe", "ff02::1:ff00:2", 135, "fd00::2", Some(NODE_MAC)),
        frames::nd("fe80::1", "fd00::2", 135, &link_local, Some(NODE_MAC)),
        frames::nd("fd00::fe", "fd00::2", 136, "fd00::fe", Some(NODE_MAC)),
        frames::nd("::", "ff02::1:ff00:2", 135, "fd00::2", None),
        frames::icmpv6("fe80::1", "ff02::1", 134),
        frames::icmpv6("fe80::1", "fd00::2", 137),
        frames::icmpv6("fe80::1", "ff02::1", 130),
    ] {
        ip(&packet).forwarded(db);
    }
    for packet in [
        frames::nd("fd00::fe", "ff02::1:ff00:3", 135, "fd00::3", Some(NODE_MAC)),
        frames::nd("fd00::fe", "fd00::3", 136, "fd00::fe", Some(NODE_MAC)),
        frames::icmpv6("fe80::1", "ff02::2", 133),
        frames::icmpv6("fe80::1", "fd00::3", 134),
    ] {
        ip(&packet).not_for_this_pod();
    }
}

#[test]
fn neighbour_traffic_vouches_for_nobody() {
    let world = World::new();
    let question = frames::arp(REQUEST, mac(FREE), "10.0.0.3", "10.0.0.254");
    world.send(&from_pod(FREE, Mac::BROADCAST).carry(ARP, &question)).forwarded(Tag::from_pod(port(FREE)));
    let arriving = frames::udp(("10.0.0.3", 1), ("10.0.0.1", 2), &[]);
    world.send(&to_pod(WEB).ip(&arriving)).dropped(DropReason::SpoofedLocal);
}
