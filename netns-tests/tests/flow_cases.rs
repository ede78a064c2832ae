//! Packets of a connection while policy changes: that flows are judged again after a change, as a
//! gateway does, alters no verdict of `cases/flows`, and finds what is no longer allowed.

use podgate_control::verify::{Cable, CaseFile, FlowItem, Forwarding, World, with_answers};
use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::step::{Recheck, recheck};
use podgate_flowtable::{FlowState, Time};
use podgate_netns_tests::cases::suite;

/// What was looked at, so that nothing falls under the table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    packets: usize,
    changes: usize,
}

/// Of the packets, 3 are answers put in.
const ALL: Count = Count { packets: 37, changes: 7 };

#[test]
fn a_sweep_changes_no_verdict() {
    for rechecks in [false, true] {
        let mut count = Count::default();
        for file in &suite("flows") {
            follow(file, rechecks, &mut count);
        }
        assert_eq!(count, ALL);
    }
}

fn follow(file: &CaseFile, rechecks: bool, count: &mut Count) {
    let switches = Switches { recheck_live_flows: rechecks, ..Switches::default() };
    for step in &file.case.steps {
        // Each sequence starts from a fresh flow table.
        let mut world = World::new(&file.case).unwrap();
        step.actions.iter().for_each(|action| world.apply(action).unwrap());
        let mut cable = Cable::new(&world, switches).unwrap();
        for (at, item) in with_answers(&step.sequence) {
            let place = format!("{} item {at:?}, recheck {rechecks}", file.case.name);
            // A second an item: UDP flows grow old, and none expires.
            let now = Time::from_nanos(1_000_000_000 * (1 + count.packets + count.changes) as u64);
            match item {
                FlowItem::Change { action } => {
                    world.apply(&action).unwrap();
                    cable.publish(&world).unwrap();
                    count.changes += 1;
                    judge_again(&cable, &place, rechecks, now);
                }
                FlowItem::Packet { pkt, expect } => {
                    let packet = pkt.on_the_wire(&world).unwrap();
                    let found = cable.send(&world, &packet, now).forwarding;
                    assert_eq!(found, expect.forwarding(rechecks), "{place}: {pkt:?}");
                    count.packets += 1;
                }
            }
        }
    }
}

/// As the gateway does after a change; nothing is left to do the second time.
fn judge_again(cable: &Cable, place: &str, rechecks: bool, now: Time) {
    for node in cable.nodes() {
        let (flows, snapshot) = (&node.state.flows, &node.snapshot);
        // TCP is remembered as cut: these nodes take up connections in the middle.
        let live = || flows.views().filter(|view| view.state != FlowState::Denied).count();
        let before = live();
        let found: Vec<_> = flows.views().map(|view| recheck(flows, snapshot, &view, now)).collect();
        let cut = found.iter().filter(|found| matches!(found, Recheck::Cut { .. })).count();
        assert_eq!(live(), before - cut, "{place}");
        assert!(rechecks || cut == 0, "{place}");
        let again: Vec<_> = flows.views().map(|view| recheck(flows, snapshot, &view, now)).collect();
        let is_settled = |found: &Recheck| *found == Recheck::Current;
        assert!(!rechecks || again.iter().all(is_settled), "{place}: {again:?}");
    }
}

#[test]
fn a_sweep_finds_what_is_no_longer_allowed() {
    let cases = suite("flows");
    let case = &cases.iter().find(|file| file.case.name == "flow-udp-stream-after-deny").unwrap().case;
    for (rechecks, left) in [(true, 0), (false, 1)] {
        let mut world = World::new(case).unwrap();
        let switches = Switches { recheck_live_flows: rechecks, ..Switches::default() };
        let mut cable = Cable::new(&world, switches).unwrap();
        let [first, change, ..] = &case.steps[0].sequence[..] else { panic!("{case:?}") };
        let FlowItem::Packet { pkt, .. } = first else { panic!("{first:?}") };
        let packet = pkt.on_the_wire(&world).unwrap();
        assert_eq!(cable.send(&world, &packet, Time::from_nanos(1)).forwarding, Forwarding::Forward);
        let FlowItem::Change { action } = change else { panic!("{change:?}") };
        world.apply(action).unwrap();
        cable.publish(&world).unwrap();
        let found: Vec<_> = cable
            .nodes()
            .flat_map(|node| {
                let (flows, snapshot) = (&node.state.flows, &node.snapshot);
                let now = Time::from_nanos(2);
                flows.views().map(|view| recheck(flows, snapshot, &view, now)).collect::<Vec<_>>()
            })
            .collect();
        assert!(matches!(found[..], [Recheck::Cut { .. } | Recheck::Kept]), "{found:?}");
        assert_eq!(cable.nodes().map(|node| node.state.flows.len()).sum::<usize>(), left);
    }
}
