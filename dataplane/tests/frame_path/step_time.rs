//! Policy that changes under live flows.

use podgate_dataplane::events::EventKind;
use podgate_dataplane::policy::{Cause, EndpointId, PolicyTable};
use podgate_dataplane::snapshot::{PortBinding, Switches};
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::{Causes, DropReason, Verdict};
use podgate_flowtable::{Addr, Epoch};

use crate::frames::{self, port};
use crate::world::{
    DB, DB_FROM_WEB, NODE_MAC, Outcome, WEB, WEB_TO_DB, WEB_TO_OUTSIDE, World, from_pod, mac, policy,
    snapshot, to_pod,
};

const CLIENT: (&str, u16) = ("10.0.0.1", 40000);
const SERVER: (&str, u16) = ("10.0.0.2", 53);

fn question() -> Vec<u8> {
    from_pod(WEB, mac(DB)).ip(&frames::udp(CLIENT, SERVER, b"?"))
}

fn answer() -> Vec<u8> {
    from_pod(DB, mac(WEB)).ip(&frames::udp(SERVER, CLIENT, b"!"))
}

fn with_open_flow() -> World {
    let world = World::new();
    world.send(&question()).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
    world.send(&answer()).forwarded(Tag::to_pod(port(WEB)));
    world
}

fn publish(world: &mut World, epoch: u32, policy: PolicyTable) {
    world.snapshot = Some(snapshot(epoch, policy, Switches::default()));
}

fn counted(outcome: &Outcome, name: &str) -> u64 {
    outcome.counted.iter().filter(|(_, counter, _)| counter == name).map(|(_, _, by)| by).sum()
}

#[test]
fn a_flow_still_allowed_goes_on_with_the_new_epoch() {
    let mut world = with_open_flow();
    publish(&mut world, 2, policy(false));
    let outcome = world.send(&question());
    assert_eq!(outcome.verdict, Verdict::Forward(Tag::to_pod(port(DB))));
    assert_eq!((counted(&outcome, "redecided"), outcome.events.len()), (1, 0));
    let flow = world.flows.views().next().unwrap();
    assert_eq!(flow.decision.epoch, Epoch(2));
    assert_eq!((flow.decision.egress, flow.decision.ingress), (WEB_TO_DB.code(), DB_FROM_WEB.code()));
    world.send(&question()).forwarded(Tag::to_pod(port(DB)));
}

#[test]
fn a_flow_no_longer_allowed_is_cut_by_either_ends_next_packet() {
    for (frame, reporter) in [(question(), WEB), (answer(), DB)] {
        let mut world = with_open_flow();
        publish(&mut world, 2, policy(true));
        let outcome = world.send(&frame);
        assert_eq!(outcome.verdict, Verdict::Drop(DropReason::PolicyEgress));
        assert_eq!(outcome.after, outcome.before);
        let counts = [(reporter, "cut".to_owned(), 1), (reporter, "policy-egress".to_owned(), 1)];
        assert_eq!(outcome.counted, counts);
        assert_eq!(outcome.flows, [1, 0]);
        let [event] = &outcome.events[..] else { panic!("{:?}", outcome.events) };
        assert_eq!(event.kind, EventKind::FlowCut);
        assert_eq!(event.causes, Some(Causes { egress: Cause::DefaultDeny, ingress: Cause::NotReached }));
        // In the initiator's direction, whoever sent the packet that met it.
        assert_eq!((event.source, event.destination), (Some(EndpointId(1)), Some(EndpointId(2))));
        assert_eq!(event.tuple.unwrap().destination_port, 53);
        outcome.assert_event(event);
        world.send(&question()).denied(DropReason::PolicyEgress, Cause::DefaultDeny, Cause::NotReached);
    }
}

/// db may open flows to anyone: judged in its direction, the answer would pass.
#[test]
fn a_reply_does_not_reopen_what_was_cut() {
    let mut world = with_open_flow();
    publish(&mut world, 2, policy(true));
    assert_eq!(world.send(&answer()).verdict, Verdict::Drop(DropReason::PolicyEgress));
    // Only a flow of its own, in its own name: web is not isolated for ingress.
    world.send(&answer()).opened(Tag::to_pod(port(WEB)), Cause::NotIsolated, Cause::NotIsolated);
}

#[test]
fn an_error_about_a_flow_cuts_it_too() {
    let mut world = with_open_flow();
    publish(&mut world, 2, policy(true));
    let error = frames::icmp_error(SERVER.0, CLIENT.0, 3, &frames::udp(CLIENT, SERVER, b"?"));
    let outcome = world.send(&from_pod(DB, mac(WEB)).ip(&error));
    assert_eq!(outcome.verdict, Verdict::Drop(DropReason::PolicyEgress));
    assert_eq!(outcome.events[0].kind, EventKind::FlowCut);
    assert!(world.flows.is_empty());
}

#[test]
fn an_older_snapshot_does_not_decide_a_newer_flow() {
    let mut world = World::new();
    publish(&mut world, 5, policy(false));
    world.send(&question()).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
    publish(&mut world, 4, policy(true));
    world.send(&question()).forwarded(Tag::to_pod(port(DB)));
}

#[test]
fn without_the_switch_live_flows_stay() {
    let mut world = with_open_flow();
    let switches = Switches { recheck_live_flows: false, ..Switches::default() };
    world.snapshot = Some(snapshot(2, policy(true), switches));
    world.send(&question()).forwarded(Tag::to_pod(port(DB)));
    world.send(&answer()).forwarded(Tag::to_pod(port(WEB)));
    assert_eq!(world.flows.views().next().unwrap().decision.epoch, Epoch(1));
}

/// A flow to an address that was outside when it opened, and is an isolated pod's now.
#[test]
fn a_pod_is_judged_even_if_the_flow_is_older_than_it() {
    let mut world = World::new();
    let switches = Switches { recheck_live_flows: false, ..Switches::default() };
    let mut later = snapshot(2, policy(false), switches);
    later.bind(
        port(DB),
        PortBinding {
            endpoint: EndpointId(2),
            mac: mac(DB),
            addresses: ["10.0.0.2", "10.0.0.22"].map(|addr| Addr::from(frames::ip(addr))).into(),
        },
    );
    let packet = frames::udp(("10.0.0.1", 40000), ("10.0.0.22", 5353), &[]);
    world.send(&from_pod(WEB, NODE_MAC).ip(&packet)).opened(
        Tag::from_pod(port(WEB)),
        WEB_TO_OUTSIDE,
        Cause::NotLocal,
    );
    world.snapshot = Some(later);
    let outcome = world.send(&to_pod(DB).ip(&packet));
    assert_eq!(outcome.verdict, Verdict::Drop(DropReason::PolicyIngress));
    assert_eq!(outcome.events[0].causes.unwrap().ingress, Cause::DefaultDeny);
    assert!(world.flows.is_empty());
}
