//! Flows from before a restart, where live flows are judged again and where they are not.

use podgate_dataplane::policy::Cause;
use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::step::{Recheck, recheck};
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::{DropReason, Verdict};
use podgate_flowtable::{Decision, Epoch, ExportedFlow, Way};

use crate::frames::{self, port};
use crate::world::{DB, DB_FROM_WEB, WEB, WEB_TO_DB, World, from_pod, mac, policy, secs, snapshot, to_pod};

const CLIENT: (&str, u16) = ("10.0.0.1", 40000);
const SERVER: (&str, u16) = ("10.0.0.2", 53);

fn question() -> Vec<u8> {
    from_pod(WEB, mac(DB)).ip(&frames::udp(CLIENT, SERVER, b"?"))
}

fn answer() -> Vec<u8> {
    from_pod(DB, mac(WEB)).ip(&frames::udp(SERVER, CLIENT, b"!"))
}

/// A gateway after a restart, with the flow of [`question`] from before it, allowed by `causes`.
fn restarted(causes: [Cause; 2], is_closed: bool, recheck_live_flows: bool) -> World {
    let before = World::new();
    before.send(&question()).opened(Tag::to_pod(port(DB)), WEB_TO_DB, DB_FROM_WEB);
    let bytes = before.flows.export().next().unwrap().to_bytes();
    let mut flow = ExportedFlow::from_bytes(&bytes).unwrap();
    let [egress, ingress] = causes.map(Cause::code);
    let asked = causes.iter().filter(|cause| **cause != Cause::NotLocal).count();
    let way = if asked == 2 { Way::Shortcut } else { Way::Bridge };
    flow.decision = Decision { egress, ingress, way, ..flow.decision };
    let mut world = World::new();
    let switches = Switches { recheck_live_flows, ..Switches::default() };
    world.snapshot = Some(snapshot(1, policy(is_closed), switches));
    world.flows.import(&flow, secs(10)).unwrap();
    world
}

/// Looks at the flow without a packet of its.
fn look(world: &World) -> Recheck {
    let view = world.flows.views().next().unwrap();
    recheck(&world.flows, world.snapshot.as_ref().unwrap(), &view, secs(10))
}

fn decision(world: &World) -> (Epoch, [u32; 2]) {
    let Decision { epoch, egress, ingress, .. } = world.flows.views().next().unwrap().decision;
    (epoch, [egress, ingress])
}

const BOTH_SAID_YES: [Cause; 2] = [Cause::Carried, Cause::Carried];

#[test]
fn kept_flows_live_on_whatever_policy_says() {
    for is_closed in [false, true] {
        let world = restarted(BOTH_SAID_YES, is_closed, false);
        assert_eq!(look(&world), if is_closed { Recheck::Kept } else { Recheck::Allowed });
        world.send(&question()).forwarded(Tag::to_pod(port(DB)));
        world.send(&answer()).forwarded(Tag::to_pod(port(WEB)));
        assert_eq!(decision(&world), (Epoch(0), BOTH_SAID_YES.map(Cause::code)));
    }
}

#[test]
fn judged_again_they_need_policy_as_any_flow_does() {
    let world = restarted(BOTH_SAID_YES, false, true);
    assert_eq!(world.send(&answer()).verdict, Verdict::Forward(Tag::to_pod(port(WEB))));
    assert_eq!(decision(&world), (Epoch(1), [WEB_TO_DB, DB_FROM_WEB].map(Cause::code)));

    let world = restarted(BOTH_SAID_YES, true, true);
    assert_eq!(world.send(&answer()).verdict, Verdict::Drop(DropReason::PolicyEgress));
    assert!(world.flows.is_empty());

    let world = restarted(BOTH_SAID_YES, true, true);
    assert!(matches!(look(&world), Recheck::Cut { reason: DropReason::PolicyEgress, .. }));
    assert!(world.flows.is_empty());
}

#[test]
fn a_pod_that_had_no_say_is_asked_in_either_mode() {
    // Before the restart, the other end was a stranger.
    for recheck_live_flows in [false, true] {
        let world = restarted([Cause::Carried, Cause::NotLocal], true, recheck_live_flows);
        assert_eq!(world.send(&answer()).verdict, Verdict::Drop(DropReason::PolicyEgress));
        assert!(world.flows.is_empty());

        let world = restarted([Cause::NotLocal, Cause::Carried], false, recheck_live_flows);
        assert_eq!(world.send(&question()).verdict, Verdict::Forward(Tag::from_pod(port(WEB))));
        assert_eq!(decision(&world), (Epoch(1), [WEB_TO_DB, DB_FROM_WEB].map(Cause::code)));
    }
    // The side that had its say keeps to it; the frame goes no farther than to the other one's port.
    let world = restarted([Cause::Carried, Cause::NotLocal], true, false);
    world.send(&question()).forwarded(Tag::from_pod(port(WEB)));
    let arriving = to_pod(DB).ip(&frames::udp(CLIENT, SERVER, b"?"));
    assert_eq!(world.send(&arriving).verdict, Verdict::Drop(DropReason::PolicyEgress));
}
