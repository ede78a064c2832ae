//! Every case of the truth tables in memory: by the step, as `podgate verify` decides; by the compiled
//! table alone, as one who sees all and as the nodes see it; and by the naive evaluator.

use podgate_control::compile::{Compiled, Locality, Settings, compile};
use podgate_control::oracle::{Flow, judge};
use podgate_control::verify::{
    Cable, CaseFile, Expectation, Files, Flags, FlowItem, FlowVerdict, Forwarding, Judgement, Modes, Packet,
    Question, Report, Step, Transport, World, questions, verify,
};
use podgate_dataplane::snapshot::Switches;
use podgate_flowtable::{Addr, Epoch, Time};
use podgate_netns_tests::cases::suite;

/// How much was checked, so that nothing falls under the table. Nothing of it failed.
fn counted(cases: usize, cells: usize, probes: usize, services: usize, undefined: usize) -> Report {
    let checks = cells + probes + services;
    Report { cases, checks, cells, probes, services, undefined, ..Report::default() }
}

#[test]
fn e2e() {
    assert_eq!(run("e2e", 58), counted(48, 6075, 32, 0, 0));
}

#[test]
fn edge() {
    assert_eq!(run("edge", 59), counted(55, 5139, 106, 4, 1));
}

#[test]
fn recipes() {
    assert_eq!(run("recipes", 19), counted(14, 0, 64, 38, 1));
}

#[test]
fn cyclonus() {
    assert_eq!(run("cyclonus", 116), counted(110, 56490, 0, 0, 0));
}

/// 34 packets in each of two modes.
#[test]
fn flows() {
    let expected = Report { cases: 9, checks: 68, packets: 68, ..Report::default() };
    assert_eq!(run("flows", 9), expected);
}

fn run(name: &str, steps: usize) -> Report {
    let cases = suite(name);
    assert_eq!(cases.iter().map(|file| file.case.steps.len()).sum::<usize>(), steps);
    for file in &cases {
        cross_check(file);
    }
    report(cases)
}

fn report(cases: Vec<CaseFile>) -> Report {
    verify(&Files { cases, ..Files::default() }).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The step is given every connection alone, so what it says has to be what the table says.
fn cross_check(file: &CaseFile) {
    let mut world = World::new(&file.case).unwrap();
    for step in &file.case.steps {
        let place = format!("{} step {}", file.path.display(), step.id);
        for action in &step.actions {
            world.apply(action).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
        let judges = Judges::new(&world);
        let asked = questions(step, &world).unwrap_or_else(|error| panic!("{place}: {error}"));
        for question in &asked.connections {
            judges.check(&place, question);
        }
    }
}

/// All who have a say.
struct Judges<'a> {
    world: &'a World,
    everything: Compiled,
    nodes: Vec<Compiled>,
}

impl<'a> Judges<'a> {
    fn new(world: &'a World) -> Self {
        let compiled =
            |locality| compile(world.cluster(), &locality, &[], Settings::new(Epoch(1), 7)).unwrap();
        let nodes = world.cluster().nodes().values().map(|node| {
            compiled(Locality::Node { name: Some(node.name.clone()), own_addresses: node.addresses.clone() })
        });
        Self { world, everything: compiled(Locality::Everything), nodes: nodes.collect() }
    }

    fn check(&self, place: &str, question: &Question) {
        let Question { source, destination, expected, .. } = *question;
        let protocol = question.protocol.ip_protocol(source.is_ipv6());
        let port = question.packet_port();
        let decide = |compiled: &Compiled| {
            compiled.decide(Addr::from(source), Addr::from(destination), protocol, port).allows()
        };
        let what = format!("{place}: {question:?}");
        assert_eq!(Judgement::of(decide(&self.everything)), expected, "{what}, as one who sees all");
        // The source's node judges egress, the destination's ingress; each leaves the rest alone.
        assert_eq!(Judgement::of(self.nodes.iter().all(decide)), expected, "{what}, as the nodes see it");
        let flow = Flow { from: source, to: destination, protocol, port };
        let naive = judge(self.world.cluster(), &Locality::Everything, flow);
        assert_eq!(Judgement::of(naive.allows()), expected, "{what}, by the naive evaluator");
    }
}

/// Every cell and probe turned round is a failure, and so is every packet: nothing is passed over.
#[test]
fn every_expectation_matters() {
    let mut turned = 0;
    for name in ["e2e", "edge", "recipes"] {
        for mut file in suite(name) {
            let wrong: usize = file.case.steps.iter_mut().map(turn_all).sum();
            let report = report(vec![file]);
            assert_eq!(report.failures.len(), wrong, "{:?}", report.failures.first());
            turned += wrong;
        }
    }
    for file in suite("flows") {
        for item in 0..file.case.steps[0].sequence.len() {
            let mut file = file.clone();
            let FlowItem::Packet { expect, .. } = &mut file.case.steps[0].sequence[item] else { continue };
            *expect = FlowVerdict::Depends(Modes {
                lenient: opposite(expect.forwarding(false)),
                strict: opposite(expect.forwarding(true)),
            });
            let report = report(vec![file]);
            let modes = report.failures.iter().filter(|failure| failure.item == Some(item)).count();
            assert!(modes >= 2, "item {item}: {:?}", report.failures);
            turned += 1;
        }
    }
    assert_eq!(turned, 9966 + 203 + 34);
}

/// Turns everything in a step round that can be otherwise; how many checks that is.
fn turn_all(step: &mut Step) -> usize {
    let mut turned = 0;
    let other = |judgement| if judgement == Judgement::Allow { Judgement::Deny } else { Judgement::Allow };
    for matrix in &mut step.matrices {
        for (from, to, judgement) in matrix.cells().unwrap() {
            if from == to {
                continue;
            }
            let column = matrix.order.iter().position(|column| *column == to).unwrap();
            let cell = if judgement == Judgement::Allow { "X" } else { "." };
            matrix.rows.get_mut(&from.to_string()).unwrap().replace_range(column..=column, cell);
            matrix.hand.set.push((from.to_string(), to.to_string(), other(judgement)));
            turned += 1;
        }
    }
    for probe in &mut step.probes {
        turned += match probe.expect {
            Expectation::Mixed => probe.backends.len(),
            _ => 1,
        };
        for judgement in probe.backends.values_mut() {
            *judgement = other(*judgement);
        }
        probe.recommended = probe.recommended.map(other);
        probe.expect = match probe.expect {
            Expectation::Allow => Expectation::Deny,
            Expectation::Deny | Expectation::NoEndpoints => Expectation::Allow,
            left => left,
        };
    }
    turned
}

fn opposite(forwarding: Forwarding) -> Forwarding {
    if forwarding == Forwarding::Forward { Forwarding::Drop } else { Forwarding::Forward }
}

/// What is recommended where the API leaves it open has a switch for those who want it otherwise.
#[test]
fn a_pod_reaches_its_own_node_if_that_is_switched_on() {
    let cases = suite("edge");
    let case = &cases.iter().find(|file| file.case.name == "edge-egress-to-own-node").unwrap().case;
    let world = World::new(case).unwrap();
    for (allow_egress_to_own_node, expected) in [(false, "drop drop"), (true, "forward drop")] {
        let switches = Switches { allow_egress_to_own_node, ..Switches::default() };
        let cable = Cable::new(&world, switches).unwrap();
        let to = |node: &str| {
            let (from, to) = world.ends(&"x/a".parse().unwrap(), &node.parse().unwrap(), None).unwrap();
            let (protocol, flags) = (Transport::Tcp, Flags::SYN);
            let packet = Packet { from, to, protocol, source_port: 4000, destination_port: 10250, flags };
            cable.send(&world, &packet, Time::from_nanos(1)).forwarding
        };
        // x/a is on n1.
        assert_eq!(format!("{} {}", to("node:n1"), to("node:n2")), expected);
    }
}
