//! Multicast and broadcast.

use podgate_dataplane::mac::Mac;
use podgate_dataplane::policy::Cause;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::DropReason;

use crate::frames::{self, Link, port};
use crate::world::{DB, FREE, NODE_MAC, WEB, World, from_pod, mac, to_pod};

const GROUP: Mac = Mac([1, 0, 0x5e, 0, 0, 0xfb]);

#[test]
fn it_is_judged_where_it_leaves_and_at_each_pod_it_comes_to() {
    let world = World::new();
    for (web, group) in [("10.0.0.1", "224.0.0.251"), ("fd00::1", "ff02::fb")] {
        let packet = frames::udp((web, 5353), (group, 5353), b"who is db?");
        world.send(&from_pod(WEB, GROUP).ip(&packet)).forwarded(Tag::from_pod(port(WEB)));
        let flooded = |pod| Link { source: mac(WEB), destination: GROUP, ..to_pod(pod) }.ip(&packet);
        world.send(&flooded(FREE)).forwarded(Tag::to_pod(port(FREE)));
        // web may send there, but db may not hear it.
        world.send(&flooded(DB)).denied(DropReason::PolicyIngress, Cause::NotLocal, Cause::DefaultDeny);
    }
    assert!(world.flows.is_empty());
}

#[test]
fn policy_holds_for_it() {
    let world = World::new();
    let packet = frames::udp(("10.0.0.1", 1900), ("239.255.255.250", 1900), &[]);
    world.send(&from_pod(WEB, GROUP).ip(&packet)).denied(
        DropReason::PolicyEgress,
        Cause::DefaultDeny,
        Cause::NotReached,
    );
    let broadcast = frames::udp(("10.0.0.3", 1900), ("255.255.255.255", 1900), &[]);
    world.send(&from_pod(FREE, Mac::BROADCAST).ip(&broadcast)).forwarded(Tag::from_pod(port(FREE)));
    let from_node = frames::udp(("10.0.0.254", 1900), ("255.255.255.255", 1900), &[]);
    world.send(&to_pod(DB).ip(&from_node)).forwarded(Tag::to_pod(port(DB)));
    let from_outside = frames::udp(("8.8.8.8", 1900), ("224.0.0.1", 1900), &[]);
    world.send(&to_pod(DB).ip(&from_outside)).denied(
        DropReason::PolicyIngress,
        Cause::NotLocal,
        Cause::DefaultDeny,
    );
}

#[test]
fn an_answer_is_judged_on_its_own() {
    let world = World::new();
    let question = frames::udp(("10.0.0.3", 5353), ("224.0.0.251", 5353), &[]);
    world.send(&from_pod(FREE, GROUP).ip(&question)).forwarded(Tag::from_pod(port(FREE)));
    let answer = frames::udp(("10.0.0.1", 5353), ("10.0.0.3", 5353), &[]);
    world.send(&from_pod(WEB, mac(FREE)).ip(&answer)).denied(
        DropReason::PolicyEgress,
        Cause::DefaultDeny,
        Cause::NotReached,
    );
}

#[test]
fn a_local_source_is_believed_only_if_it_has_just_sent() {
    let world = World::new();
    let packet = frames::udp(("10.0.0.3", 5353), ("224.0.0.251", 5353), &[]);
    let flooded = Link { source: NODE_MAC, destination: GROUP, ..to_pod(WEB) }.ip(&packet);
    world.send(&flooded).dropped(DropReason::SpoofedLocal);
    world.send(&from_pod(FREE, GROUP).ip(&packet)).forwarded(Tag::from_pod(port(FREE)));
    world.send(&flooded).forwarded(Tag::to_pod(port(WEB)));
}
