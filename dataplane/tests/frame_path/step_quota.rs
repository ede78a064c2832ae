//! Whom flows count for, and flows of pods that are gone.

use podgate_dataplane::policy::{Cause, EndpointMap, PrefixMap};
use podgate_dataplane::snapshot::{Names, Snapshot, Switches};
use podgate_dataplane::step::{Recheck, recheck};
use podgate_dataplane::tag::Tag;
use podgate_dataplane::verdict::{Causes, DropReason, Verdict};
use podgate_flowtable::{Epoch, Usage};

use crate::frames::{self, port};
use crate::world::{DB, FREE, NODE_MAC, WEB, World, from_pod, policy, secs, to_pod};

const NODE: &str = "10.0.0.254";
const OUTSIDE: &str = "8.8.8.8";

/// A question to FREE, which no policy isolates.
fn asks_free(from: &str, from_port: u16) -> Vec<u8> {
    to_pod(FREE).ip(&frames::udp((from, from_port), ("10.0.0.3", 53), b"?"))
}

fn usage(world: &World, tag: Tag) -> Usage {
    world.flows.usage(tag.owner())
}

#[test]
fn no_flood_from_elsewhere_takes_a_probe() {
    let world = World::with_quota(4, 2);
    for from_port in [1, 2] {
        assert!(matches!(world.send(&asks_free(OUTSIDE, from_port)).verdict, Verdict::Forward(_)));
    }
    world.send(&asks_free(OUTSIDE, 3)).dropped(DropReason::HalfOpenQuota);
    // More than either limit, as long as nobody answers.
    for from_port in 1..=9 {
        assert!(matches!(world.send(&asks_free(NODE, from_port)).verdict, Verdict::Forward(_)));
    }
    // What is answered is held to the quota: what the host masquerades comes from the node too.
    for to_port in 1..=4 {
        let answer = from_pod(FREE, NODE_MAC).ip(&frames::udp(("10.0.0.3", 53), (NODE, to_port), b"!"));
        assert!(matches!(world.send(&answer).verdict, Verdict::Forward(_)));
    }
    world.send(&asks_free(NODE, 10)).dropped(DropReason::FlowQuota);
}

#[test]
fn who_asks_by_the_hosts_way_pays_for_both_flows() {
    let world = World::with_quota(9, 2);
    let (asker, asked) = (Tag::from_pod(port(WEB)), Tag::to_pod(port(DB)));
    // To an address that the host translates, and then as the host translates it.
    let outside = from_pod(WEB, NODE_MAC).ip(&frames::udp(("10.0.0.1", 1), ("10.96.0.1", 53), b"?"));
    let inside = to_pod(DB).ip(&frames::udp(("10.0.0.1", 1), ("10.0.0.2", 53), b"?"));
    assert!(matches!(world.send(&outside).verdict, Verdict::Forward(_)));
    assert!(matches!(world.send(&inside).verdict, Verdict::Forward(_)));
    assert_eq!(usage(&world, asker), Usage { flows: 2, half_open: 2 });
    assert_eq!(usage(&world, asked), Usage::default());
    // It has used up its own; whoever else asks is not the worse for it.
    let again = from_pod(WEB, NODE_MAC).ip(&frames::udp(("10.0.0.1", 2), ("10.96.0.1", 53), b"?"));
    world.send(&again).dropped(DropReason::HalfOpenQuota);
    let other = to_pod(DB).ip(&frames::syn((NODE, 3), ("10.0.0.2", 5432)));
    assert!(matches!(world.send(&other).verdict, Verdict::Forward(_)));
}

/// One in which WEB and DB are no pods of this node any more.
fn without_pods(epoch: u32, recheck_live_flows: bool) -> Snapshot {
    let switches = Switches { recheck_live_flows, ..Switches::default() };
    let endpoints = EndpointMap::new(Vec::new(), PrefixMap::default(), 7);
    Snapshot::new(Epoch(epoch), endpoints, policy(false), switches, Names::default())
}

#[test]
fn flows_of_pods_that_are_gone_end_in_either_mode() {
    for recheck_live_flows in [true, false] {
        let world = World::new();
        world.send(&from_pod(WEB, NODE_MAC).ip(&frames::udp(("10.0.0.1", 1), (OUTSIDE, 53), b"?")));
        let view = world.flows.views().next().unwrap();
        let snapshot = without_pods(2, recheck_live_flows);
        let causes = Causes { egress: Cause::NotLocal, ingress: Cause::NotLocal };
        let cut = Recheck::Cut { reason: DropReason::UnknownEndpoint, causes };
        assert_eq!(recheck(&world.flows, &snapshot, &view, secs(10)), cut);
        assert!(world.flows.is_empty());
        assert_eq!(recheck(&world.flows, &snapshot, &view, secs(10)), Recheck::Gone);
    }
}
