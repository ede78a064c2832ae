//! Packets of a connection while policy changes: every case in `cases/flows`, against the step in
//! memory, with live connections kept and with live connections judged again.

use podgate_dataplane::snapshot::Switches;
use podgate_dataplane::step::{Recheck, recheck};
use podgate_flowtable::{FlowState, Time};
use podgate_netns_tests::cases::{
    Cable, Case, FlowItem, FlowPacket, FlowVerdict, Forwarding, World, directory, read_all,
};

/// What was looked at, so that nothing falls under the table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    cases: usize,
    packets: usize,
    changes: usize,
    /// Of the packets, those whose verdict depends on the mode.
    depend: usize,
}

/// Of the packets, 3 are answers put in.
const ALL: Count = Count { cases: 9, packets: 37, changes: 7, depend: 4 };

/// When the flows that get no packet are judged again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sweep {
    Never,
    AfterEveryChange,
}

#[test]
fn lenient() {
    assert_eq!(run(false, Sweep::Never), ALL);
}

#[test]
fn strict() {
    assert_eq!(run(true, Sweep::Never), ALL);
}

#[test]
fn a_sweep_changes_no_verdict() {
    for rechecks in [false, true] {
        assert_eq!(run(rechecks, Sweep::AfterEveryChange), ALL);
    }
}

fn run(recheck_live_flows: bool, sweep: Sweep) -> Count {
    let switches = Switches { recheck_live_flows, ..Switches::default() };
    let mut count = Count::default();
    for case in read_all(&directory().join("flows")).unwrap() {
        count.cases += 1;
        for step in &case.steps {
            // Each sequence starts from a fresh flow table.
            let mut world = World::new(&case).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            for action in &step.actions {
                world.apply(action).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            }
            let mut cable = Cable::new(&world, switches);
            for (number, item) in with_answers(&step.sequence).iter().enumerate() {
                let place = format!("{} item {number}, recheck {recheck_live_flows}", case.name);
                follow(item, &place, &mut world, &mut cable, sweep, &mut count);
            }
        }
    }
    count
}

/// Sequences leave out the answer to a SYN where the connection goes on without trouble. A segment
/// that acknowledges nothing is no part of a connection, so the answer is put in.
fn with_answers(sequence: &[FlowItem]) -> Vec<FlowItem> {
    let mut all = Vec::new();
    for (at, item) in sequence.iter().enumerate() {
        all.push(item.clone());
        let FlowItem::Packet { pkt, expect: FlowVerdict::Always(Forwarding::Forward) } = item else {
            continue;
        };
        let mut later = sequence[at + 1..].iter().filter_map(|item| match item {
            FlowItem::Packet { pkt: later, .. } if is_of_one_connection(pkt, later) => Some(later),
            _ => None,
        });
        let is_left_out = later.next().is_some_and(|next| next.flags.as_deref() == Some("ACK"));
        if pkt.flags.as_deref() == Some("SYN") && is_left_out {
            let answer = FlowPacket {
                from: pkt.to.clone(),
                to: pkt.from.clone(),
                sport: pkt.dport,
                dport: pkt.sport,
                flags: Some("SYN,ACK".to_owned()),
                ..pkt.clone()
            };
            all.push(FlowItem::Packet { pkt: answer, expect: FlowVerdict::Always(Forwarding::Forward) });
        }
    }
    all
}

fn is_of_one_connection(one: &FlowPacket, other: &FlowPacket) -> bool {
    let ends = |packet: &FlowPacket| {
        let mut ends = [(packet.from.clone(), packet.sport), (packet.to.clone(), packet.dport)];
        ends.sort();
        ends
    };
    one.protocol == other.protocol && ends(one) == ends(other)
}

fn follow(
    item: &FlowItem,
    place: &str,
    world: &mut World,
    cable: &mut Cable,
    sweep: Sweep,
    count: &mut Count,
) {
    let rechecks = cable.nodes().all(|node| node.snapshot.switches.recheck_live_flows);
    // A second an item: UDP flows grow old, and none expires.
    let now = Time::from_nanos(1_000_000_000 * (1 + count.packets + count.changes) as u64);
    match item {
        FlowItem::Change { action } => {
            world.apply(action).unwrap_or_else(|error| panic!("{place}: {error}"));
            cable.publish(world);
            count.changes += 1;
            if sweep == Sweep::AfterEveryChange {
                judge_again(cable, place, now);
            }
        }
        FlowItem::Packet { pkt, expect } => {
            let expected = match expect {
                FlowVerdict::Always(expected) => *expected,
                FlowVerdict::Depends(modes) if rechecks => modes.strict,
                FlowVerdict::Depends(modes) => modes.lenient,
            };
            assert_eq!(cable.send(world, pkt, now), expected, "{place}: {pkt:?}");
            count.packets += 1;
            count.depend += usize::from(matches!(expect, FlowVerdict::Depends(_)));
        }
    }
}

/// As the gateway does after a change; nothing is left to do the second time.
fn judge_again(cable: &Cable, place: &str, now: Time) {
    for node in cable.nodes() {
        let (flows, snapshot) = (&node.state.flows, &node.snapshot);
        let rechecks = snapshot.switches.recheck_live_flows;
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
    let cases = read_all(&directory().join("flows")).unwrap();
    let named = |name: &str| cases.iter().find(|case| case.name == name).unwrap();
    for (rechecks, left) in [(true, 0), (false, 1)] {
        let case: &Case = named("flow-udp-stream-after-deny");
        let mut world = World::new(case).unwrap();
        let mut cable = Cable::new(&world, Switches { recheck_live_flows: rechecks, ..Switches::default() });
        let [first, change, ..] = &case.steps[0].sequence[..] else { panic!("{case:?}") };
        let FlowItem::Packet { pkt, .. } = first else { panic!("{first:?}") };
        assert_eq!(cable.send(&world, pkt, Time::from_nanos(1)), Forwarding::Forward);
        let FlowItem::Change { action } = change else { panic!("{change:?}") };
        world.apply(action).unwrap();
        cable.publish(&world);
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
