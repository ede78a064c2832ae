//! Which way a frame leaves: straight to a pod, or into the bridge.

use podgate_dataplane::policy::Cause;
use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::DropReason;
use podgate_flowtable::Way;

use crate::frames::{self, port};
use crate::world::{
    DB, DB_FROM_WEB, FREE, NODE_MAC, WEB, WEB_TO_DB, WEB_TO_OUTSIDE, World, from_pod, mac, policy, secs,
    snapshot, to_pod,
};

const QUESTION: ((&str, u16), (&str, u16)) = (("10.0.0.1", 40000), ("10.0.0.2", 53));

fn question() -> Vec<u8> {
    frames::udp(QUESTION.0, QUESTION.1, b"?")
}

fn answer() -> Vec<u8> {
    frames::udp(QUESTION.1, QUESTION.0, b"!")
}

#[test]
fn to_a_local_pods_own_mac_it_is_a_shortcut_both_ways() {
    let world = World::new();
    world.send(&from_pod(WEB, mac(DB)).ip(&question())).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
    world.send(&from_pod(WEB, mac(DB)).ip(&question())).forwarded(Tag::to_pod(port(DB)));
    world.send(&from_pod(DB, mac(WEB)).ip(&answer())).forwarded(Tag::to_pod(port(WEB)));
    // A frame of that flow for the gateway's MAC address wants the host all the same.
    world.send(&from_pod(WEB, NODE_MAC).ip(&question())).forwarded(Tag::from_pod(port(WEB)));
    world.send(&from_pod(DB, NODE_MAC).ip(&answer())).forwarded(Tag::from_pod(port(DB)));
}

#[test]
fn to_the_gateways_mac_it_goes_by_the_host_and_so_do_the_replies() {
    let world = World::new();
    world.send(&from_pod(WEB, NODE_MAC).ip(&question())).opened(
        Tag::from_pod(port(WEB)),
        WEB_TO_DB,
        DB_FROM_WEB,
    );
    world.send(&to_pod(DB).ip(&question())).forwarded(Tag::to_pod(port(DB)));
    let flow = world.flows.views().next().unwrap();
    assert_eq!((flow.decision.way, flow.decision.owner), (Way::Bridge, Tag::from_pod(port(WEB)).tci()));
    world.send(&from_pod(DB, mac(WEB)).ip(&answer())).forwarded(Tag::from_pod(port(DB)));
    world.send(&to_pod(WEB).ip(&answer())).forwarded(Tag::to_pod(port(WEB)));
}

#[test]
fn a_mac_that_is_not_the_destinations_is_no_shortcut() {
    let world = World::new();
    world.send(&from_pod(WEB, mac(FREE)).ip(&question())).opened(
        Tag::from_pod(port(WEB)),
        WEB_TO_DB,
        DB_FROM_WEB,
    );
    world.send(&to_pod(FREE).ip(&question())).not_for_this_pod();
}

/// web asks a ClusterIP outside of all pods; kube-proxy turns it into db and sends it back.
#[test]
fn what_the_host_translated_comes_back_and_its_replies_go_through_the_host() {
    let world = World::new();
    let to_service = frames::udp(("10.0.0.1", 40000), ("10.96.0.10", 53), b"?");
    let from_service = frames::udp(("10.96.0.10", 53), ("10.0.0.1", 40000), b"!");
    world.send_at(&from_pod(WEB, NODE_MAC).ip(&to_service), secs(10)).opened(
        Tag::from_pod(port(WEB)),
        WEB_TO_OUTSIDE,
        Cause::NotLocal,
    );
    world.send_at(&to_pod(DB).ip(&question()), secs(10)).opened(
        Tag::to_pod(port(DB)),
        WEB_TO_DB,
        DB_FROM_WEB,
    );
    // Answered to web's own MAC address (bridge netfilter): still the host's to translate back.
    world.send_at(&from_pod(DB, mac(WEB)).ip(&answer()), secs(10)).forwarded(Tag::from_pod(port(DB)));
    world.send_at(&to_pod(WEB).ip(&from_service), secs(10)).forwarded(Tag::to_pod(port(WEB)));
}

#[test]
fn a_local_source_that_did_not_just_send_is_not_believed() {
    let world = World::new();
    let arriving = to_pod(DB).ip(&question());
    world.send_at(&arriving, secs(10)).dropped(DropReason::SpoofedLocal);
    let other = frames::udp(("10.0.0.1", 40000), ("8.8.8.8", 53), &[]);
    world.send_at(&from_pod(WEB, NODE_MAC).ip(&other), secs(20)).opened(
        Tag::from_pod(port(WEB)),
        WEB_TO_OUTSIDE,
        Cause::NotLocal,
    );
    world.send_at(&arriving, secs(22)).dropped(DropReason::SpoofedLocal);
    // A shortcut does not go into the bridge.
    let direct = frames::udp(("10.0.0.1", 40001), ("10.0.0.2", 53), &[]);
    world.send_at(&from_pod(WEB, mac(DB)).ip(&direct), secs(22)).opened(
        Tag::to_pod(port(DB)),
        WEB_TO_DB,
        DB_FROM_WEB,
    );
    world.send_at(&arriving, secs(22)).dropped(DropReason::SpoofedLocal);
    world.send_at(&from_pod(WEB, NODE_MAC).ip(&other), secs(23)).forwarded(Tag::from_pod(port(WEB)));
    world.send_at(&arriving, secs(24)).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
}

#[test]
fn a_connection_picked_up_in_the_middle_goes_by_the_bridge() {
    let world = World::picking_up(secs(60));
    let ack = frames::tcp(("10.0.0.1", 40000), ("10.0.0.2", 5432), |tcp| tcp.ack = true, b"still here");
    world.send(&from_pod(WEB, mac(DB)).ip(&ack)).opened(Tag::from_pod(port(WEB)), WEB_TO_DB, DB_FROM_WEB);
    world.send(&to_pod(DB).ip(&ack)).forwarded(Tag::to_pod(port(DB)));
}

#[test]
fn two_pods_with_one_mac_get_no_shortcut_by_mac_alone() {
    let mut world = World::new();
    let snapshot = world.snapshot.as_mut().unwrap();
    let mut twin = snapshot.binding(port(FREE)).unwrap().clone();
    twin.mac = mac(DB);
    snapshot.bind(port(FREE), twin.clone());
    assert_eq!(snapshot.port_of(mac(DB)), None);
    assert_eq!(snapshot.port_of(mac(FREE)), None);
    twin.mac = mac(FREE);
    snapshot.bind(port(FREE), twin);
    assert_eq!(snapshot.port_of(mac(DB)), Some(port(DB)));
    assert_eq!(snapshot.port_of(mac(FREE)), Some(port(FREE)));
}

#[test]
fn switches_are_on_by_default() {
    let snapshot = snapshot(1, policy(false), Switches::default());
    assert!(snapshot.switches.drop_tunnels_to_nodes && snapshot.switches.recheck_live_flows);
}

#[test]
fn a_batch_that_is_read_first_is_judged_as_frame_by_frame() {
    // Of the same flow, which the first frame opens after all of them were read.
    let link = from_pod(WEB, mac(DB));
    let batch = [link.ip(&question()), link.ip(&question()), from_pod(DB, mac(WEB)).ip(&answer())];
    let (ahead, singly) = (World::new(), World::new());
    let gate = ahead.gate();
    let readings: Vec<_> = batch.iter().map(|frame| gate.read(frame)).collect();
    for reading in &readings {
        gate.fetch(reading);
    }
    for (frame, reading) in batch.iter().zip(&readings) {
        let (mut one, mut other) = (frame.clone(), frame.clone());
        let verdict = gate.decide(reading, &mut one, secs(10));
        assert_eq!(verdict, singly.gate().step(&mut other, secs(10)));
        assert_eq!(one, other);
    }
    let view = ahead.flows.views().next().unwrap();
    assert_eq!((ahead.flows.len(), view.packets), (1, [2, 1]));
    assert_eq!(ahead.flows.stats(), singly.flows.stats());
}
