//! A pod that speaks for others.

use podgate_dataplane::mac::Mac;
use podgate_dataplane::policy::Cause;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::DropReason;

use crate::frames::{self, ARP, Link, REPLY, REQUEST, port};
use crate::world::{DB, DB_FROM_WEB, FREE, NODE_MAC, WEB, WEB_TO_DB, World, from_pod, mac, secs, to_pod};

const OTHER: Mac = Mac([2, 9, 9, 9, 9, 9]);

#[test]
fn a_foreign_mac_is_refused_whatever_the_frame_carries() {
    let world = World::new();
    let link = Link::new(Tag::from_pod(port(FREE)), mac(WEB), mac(DB));
    for frame in [
        link.ip(&frames::udp(("10.0.0.3", 1), ("10.0.0.2", 2), &[])),
        link.ip(&frames::nd("fd00::3", "ff02::1:ff00:2", 135, "fd00::2", None)),
        link.carry(ARP, &frames::arp(REQUEST, mac(FREE), "10.0.0.3", "10.0.0.2")),
    ] {
        world.send(&frame).dropped(DropReason::SpoofedMac);
    }
}

#[test]
fn a_foreign_address_is_refused() {
    let world = World::new();
    let send = |packet: &[u8]| world.send(&from_pod(FREE, mac(DB)).ip(packet));
    let web_link_local = mac(WEB).link_local().to_string();
    for (source, destination) in [
        ("10.0.0.1", "10.0.0.2"),
        ("8.8.8.8", "10.0.0.2"),
        ("0.0.0.0", "255.255.255.255"),
        ("fd00::1", "fd00::2"),
        (web_link_local.as_str(), "fd00::2"),
        ("fe80::3", "ff02::1"),
    ] {
        send(&frames::udp((source, 68), (destination, 67), &[])).dropped(DropReason::SpoofedIp);
        send(&frames::raw(source, destination, 99, &[0; 8])).dropped(DropReason::SpoofedIp);
    }
    let inner = frames::udp(("10.0.0.2", 1), ("10.0.0.1", 2), &[]);
    send(&frames::icmp_error("10.0.0.1", "10.0.0.2", 3, &inner)).dropped(DropReason::SpoofedIp);
    let whole = frames::udp(("10.0.0.1", 1), ("10.0.0.2", 2), &[0; 64]);
    send(&frames::fragment(&whole, 16, 32, 1)).dropped(DropReason::SpoofedIp);
}

#[test]
fn the_autoconfigured_link_local_address_is_the_pods_own() {
    let world = World::new();
    let own = mac(FREE).link_local().to_string();
    world.send(&from_pod(FREE, NODE_MAC).ip(&frames::udp((&own, 1), ("fe80::1", 2), &[]))).opened(
        Tag::from_pod(port(FREE)),
        Cause::NotIsolated,
        Cause::NotLocal,
    );
}

#[test]
fn arp_claims_are_checked() {
    let world = World::new();
    let bridge = Tag::from_pod(port(FREE));
    let send = |packet: &[u8]| world.send(&from_pod(FREE, Mac::BROADCAST).carry(ARP, packet));
    for (operation, sender_mac, sender, target) in [
        (REQUEST, mac(FREE), "10.0.0.1", "10.0.0.254"),
        (REPLY, mac(FREE), "10.0.0.254", "10.0.0.1"),
        (REQUEST, OTHER, "10.0.0.3", "10.0.0.254"),
        (REPLY, OTHER, "10.0.0.3", "10.0.0.1"),
        // A gratuitous one for the gateway's address.
        (REQUEST, mac(FREE), "10.0.0.254", "10.0.0.254"),
        // A reply from nowhere, and a probe for an address that is not the pod's.
        (REPLY, mac(FREE), "0.0.0.0", "10.0.0.1"),
        (REQUEST, mac(FREE), "0.0.0.0", "10.0.0.1"),
    ] {
        send(&frames::arp(operation, sender_mac, sender, target)).dropped(DropReason::SpoofedArp);
    }
    send(&frames::arp(REQUEST, mac(FREE), "0.0.0.0", "10.0.0.3")).forwarded(bridge);
    send(&frames::arp(REQUEST, mac(FREE), "10.0.0.3", "10.0.0.3")).forwarded(bridge);
    send(&frames::arp(REPLY, mac(FREE), "10.0.0.3", "10.0.0.3")).forwarded(bridge);
}

#[test]
fn neighbour_discovery_claims_are_checked() {
    let world = World::new();
    let own_link_local = mac(FREE).link_local().to_string();
    let bridge = Tag::from_pod(port(FREE));
    let send = |packet: &[u8]| world.send(&from_pod(FREE, Mac([0x33, 0x33, 0, 0, 0, 1])).ip(packet));
    for (packet, reason) in [
        (frames::nd("fd00::3", "ff02::1", 136, "fd00::1", None), DropReason::SpoofedNd),
        (frames::nd("fd00::3", "ff02::1", 136, "fd00::3", Some(OTHER)), DropReason::SpoofedNd),
        (frames::nd("fd00::3", "ff02::1:ff00:fe", 135, "fd00::fe", Some(OTHER)), DropReason::SpoofedNd),
        (frames::nd("fd00::1", "ff02::1:ff00:fe", 135, "fd00::fe", None), DropReason::SpoofedIp),
        // Duplicate address detection that would take web's address from it.
        (frames::nd("::", "ff02::1:ff00:1", 135, "fd00::1", None), DropReason::SpoofedNd),
        // Routers' messages.
        (frames::icmpv6(&own_link_local, "ff02::1", 134), DropReason::SpoofedNd),
        (frames::icmpv6(&own_link_local, "fd00::1", 137), DropReason::SpoofedNd),
        (frames::icmpv6(&own_link_local, "ff02::1", 130), DropReason::SpoofedNd),
        (frames::icmpv6("fe80::1", "ff02::16", 143), DropReason::SpoofedIp),
    ] {
        send(&packet).dropped(reason);
    }
    for packet in [
        frames::nd("fd00::3", "ff02::1", 136, "fd00::3", Some(mac(FREE))),
        frames::nd(&own_link_local, "ff02::1", 136, &own_link_local, Some(mac(FREE))),
        frames::nd("fd00::3", "ff02::1:ff00:fe", 135, "fd00::fe", Some(mac(FREE))),
        frames::nd("::", "ff02::1:ff00:3", 135, "fd00::3", None),
        frames::icmpv6(&own_link_local, "ff02::2", 133),
        frames::icmpv6("::", "ff02::2", 133),
        frames::icmpv6("::", "ff02::16", 143),
        frames::icmpv6(&own_link_local, "ff02::16", 143),
    ] {
        send(&packet).forwarded(bridge);
    }
}

#[test]
fn from_the_bridge_a_local_pods_address_needs_its_mac() {
    let world = World::new();
    let pods_own = Link { source: mac(WEB), ..to_pod(DB) };
    let gratuitous = frames::arp(REQUEST, mac(WEB), "10.0.0.1", "10.0.0.1");
    world.send(&pods_own.carry(ARP, &gratuitous)).forwarded(Tag::to_pod(port(DB)));
    for (link, packet) in [
        (to_pod(DB), frames::arp(REPLY, NODE_MAC, "10.0.0.1", "10.0.0.2")),
        (to_pod(DB), frames::arp(REPLY, mac(WEB), "10.0.0.1", "10.0.0.2")),
        (pods_own, frames::arp(REPLY, NODE_MAC, "10.0.0.1", "10.0.0.2")),
        (to_pod(DB), frames::arp(REQUEST, NODE_MAC, "10.0.0.1", "10.0.0.2")),
    ] {
        world.send(&link.carry(ARP, &packet)).dropped(DropReason::SpoofedLocal);
    }
    for packet in [
        frames::nd("fd00::fe", "fd00::2", 136, "fd00::1", Some(NODE_MAC)),
        frames::nd("fd00::1", "fd00::2", 136, "fd00::1", Some(NODE_MAC)),
        frames::nd("fd00::1", "fd00::2", 135, "fd00::2", None),
        frames::icmpv6(&mac(WEB).link_local().to_string(), "ff02::1", 134),
        frames::icmpv6(&mac(WEB).link_local().to_string(), "ff02::16", 143),
    ] {
        world.send(&to_pod(DB).ip(&packet)).dropped(DropReason::SpoofedLocal);
    }
    let own = frames::nd("fd00::1", "ff02::1", 136, "fd00::1", Some(mac(WEB)));
    world.send(&pods_own.ip(&own)).forwarded(Tag::to_pod(port(DB)));
}

#[test]
fn from_the_bridge_a_local_pods_address_is_no_key_to_its_flows() {
    for (web, db) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let world = World::new();
        let question = frames::udp((web, 40000), (db, 53), b"?");
        let answer = frames::udp((db, 53), (web, 40000), b"!");
        world.send(&from_pod(WEB, mac(DB)).ip(&question)).opened(
            Tag::to_pod(port(DB)),
            WEB_TO_DB,
            DB_FROM_WEB,
        );
        // Both go straight to each other's ports. What a node has unwrapped says the same.
        world.send(&to_pod(DB).ip(&question)).dropped(DropReason::SpoofedLocal);
        world.send(&to_pod(WEB).ip(&answer)).dropped(DropReason::SpoofedLocal);
        let error = frames::icmp_error(db, web, if web.contains(':') { 1 } else { 3 }, &question);
        world.send(&to_pod(WEB).ip(&error)).dropped(DropReason::SpoofedLocal);
        // Of a router, which has no pod's address.
        let error = frames::icmp_error(
            if web.contains(':') { "2001:db8::1" } else { "192.0.2.1" },
            web,
            if web.contains(':') { 1 } else { 3 },
            &question,
        );
        world.send(&to_pod(WEB).ip(&error)).forwarded(Tag::to_pod(port(WEB)));

        // One that is routed by the node passes both ports, each packet soon after the pod has sent it.
        let world = World::new();
        let routed = from_pod(WEB, NODE_MAC).ip(&question);
        world.send(&routed).opened(Tag::from_pod(port(WEB)), WEB_TO_DB, DB_FROM_WEB);
        let arrival = to_pod(DB).ip(&question);
        world.send_at(&arrival, secs(10)).forwarded(Tag::to_pod(port(DB)));
        world.send_at(&arrival, secs(12)).dropped(DropReason::SpoofedLocal);
        world.send_at(&routed, secs(12)).forwarded(Tag::from_pod(port(WEB)));
        world.send_at(&arrival, secs(12)).forwarded(Tag::to_pod(port(DB)));
    }
}
