//! An address that another pod has taken over carries none of the former one's flows, where live flows
//! are judged again and where they are not.

use podgate_dataplane::events::EventKind;
use podgate_dataplane::policy::{Cause, Handovers};
use podgate_dataplane::snapshot::{Snapshot, Switches};
use podgate_dataplane::step::{Recheck, recheck};
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::{DropReason, Verdict};
use podgate_flowtable::{Addr, Epoch};

use crate::frames::{self, ip, port};
use crate::world::{DB, NODE_MAC, World, from_pod, policy, secs, snapshot, to_pod};

const POD: (&str, u16) = ("10.0.0.2", 40000);
const PEER: (&str, u16) = ("8.8.8.8", 999);

/// DB may ask anybody, and nobody may ask it but web and TCP 5432.
fn question() -> Vec<u8> {
    from_pod(DB, NODE_MAC).ip(&frames::udp(POD, PEER, b"?"))
}

fn answer() -> Vec<u8> {
    to_pod(DB).ip(&frames::udp(PEER, POD, b"!"))
}

fn later(epoch: u32, recheck_live_flows: bool, handed_over: &[(&str, u32)]) -> Snapshot {
    let switches = Switches { recheck_live_flows, ..Switches::default() };
    let since = handed_over.iter().map(|(addr, epoch)| (Addr::from(ip(addr)), Epoch(*epoch)));
    let mut snapshot = snapshot(epoch, policy(false), switches);
    snapshot.handovers = Handovers::new(since, 3);
    snapshot
}

/// A world in which the pod has asked and was answered, before `next` came into force.
fn asked(next: Snapshot) -> World {
    let mut world = World::new();
    world.send(&question()).opened(Tag::from_pod(port(DB)), Cause::NotIsolated, Cause::NotLocal);
    world.send(&answer()).forwarded(Tag::to_pod(port(DB)));
    world.snapshot = Some(next);
    world
}

#[test]
fn what_the_former_was_answered_does_not_reach_the_next() {
    for judges in [true, false] {
        for addr in [POD.0, PEER.0] {
            let world = asked(later(2, judges, &[(addr, 2)]));
            let outcome = world.send(&answer());
            assert_eq!(outcome.verdict, Verdict::Drop(DropReason::PolicyIngress));
            assert_eq!(
                outcome.counted,
                [(DB, "cut".to_owned(), 1), (DB, "policy-ingress".to_owned(), 1)],
                "{addr} {judges}"
            );
            let kinds: Vec<_> = outcome.events.iter().map(|event| event.kind).collect();
            assert_eq!(kinds, [EventKind::FlowCut, EventKind::Dropped]);
            assert_eq!(outcome.events[0].verdict, Verdict::Drop(DropReason::UnknownEndpoint));
            assert_eq!(outcome.flows, [1, 0]);

            // The same ports, asked from by the next: a flow of its own, which lasts.
            world.send(&question()).opened(Tag::from_pod(port(DB)), Cause::NotIsolated, Cause::NotLocal);
            world.send(&answer()).forwarded(Tag::to_pod(port(DB)));
        }
    }
}

#[test]
fn the_next_opens_a_flow_of_its_own_in_place_of_the_formers() {
    let world = asked(later(2, false, &[(POD.0, 2)]));
    let outcome = world.send(&question());
    assert_eq!(outcome.verdict, Verdict::Forward(Tag::from_pod(port(DB))));
    let moved: Vec<_> = outcome.counted.iter().map(|(_, name, by)| (name.as_str(), *by)).collect();
    assert_eq!(moved[2..], [("opened", 1), ("cut", 1)]);
    assert_eq!(world.flows.views().next().unwrap().decision.epoch, Epoch(2));
}

#[test]
fn what_was_decided_since_stays() {
    for judges in [true, false] {
        // Handed over before the flow opened, or of somebody else.
        for handed_over in [&[(POD.0, 1)][..], &[("10.0.0.1", 2)]] {
            let world = asked(later(2, judges, handed_over));
            assert_eq!(world.send(&answer()).verdict, Verdict::Forward(Tag::to_pod(port(DB))));
            assert_eq!(world.flows.len(), 1);
        }
    }
}

#[test]
fn a_silent_flow_of_the_formers_is_forgotten() {
    for judges in [true, false] {
        let world = asked(later(2, judges, &[(POD.0, 2)]));
        let view = world.flows.views().next().unwrap();
        let snapshot = world.snapshot.as_ref().unwrap();
        let reason = DropReason::UnknownEndpoint;
        let found = recheck(&world.flows, snapshot, &view, secs(10));
        assert!(matches!(found, Recheck::Cut { reason: found, .. } if found == reason), "{found:?}");
        assert!(world.flows.is_empty());
        assert_eq!(recheck(&world.flows, snapshot, &view, secs(10)), Recheck::Gone);
    }
}

#[test]
fn an_icmp_error_about_the_formers_flow_is_about_none() {
    let about = |world: &World| {
        let quoted = frames::udp(POD, PEER, b"?");
        world.send(&to_pod(DB).ip(&frames::icmp_error("10.9.9.9", POD.0, 3, &quoted)))
    };
    let world = asked(later(2, false, &[]));
    assert_eq!(about(&world).verdict, Verdict::Forward(Tag::to_pod(port(DB))));
    let world = asked(later(2, false, &[(POD.0, 2)]));
    about(&world).dropped(DropReason::IcmpUnrelated);
}

#[test]
fn an_address_for_pods_that_no_pod_has_is_closed_both_ways() {
    let mut world = World::new();
    let range = ["10.0.0.0", "10.0.0.255"].map(|addr| Addr::from(ip(addr)));
    world.snapshot.as_mut().unwrap().pod_ranges = Box::new([range.into()]);
    let stranger = ("10.0.0.77", 7);
    world
        .send(&from_pod(DB, NODE_MAC).ip(&frames::udp(POD, stranger, b"?")))
        .dropped(DropReason::UnknownEndpoint);
    let arriving = frames::syn(stranger, ("10.0.0.2", 5432));
    world.send(&to_pod(DB).ip(&arriving)).dropped(DropReason::UnknownEndpoint);
    // Others are what they were: known ones in the range, and those beyond it.
    world.send(&question()).opened(Tag::from_pod(port(DB)), Cause::NotIsolated, Cause::NotLocal);
    let own_node = frames::udp(("10.0.0.254", 1), ("10.0.0.2", 2), b"?");
    world.send(&to_pod(DB).ip(&own_node)).opened(Tag::to_pod(port(DB)), Cause::NotLocal, Cause::OwnNode);
}
