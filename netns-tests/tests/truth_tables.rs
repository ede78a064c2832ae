//! Every case of the truth tables in memory: by the step, as `podgate verify` decides; by the compiled
//! table alone, as one who sees all and as the nodes see it; and by the naive evaluator.

use podgate_control::compile::{Compiled, Locality, Settings, compile};
use podgate_control::oracle::{Flow, judge};
use podgate_control::verify::{CaseFile, Judgement, Question, Report, World, questions, verify};
use podgate_flowtable::{Addr, Epoch};
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
    cases.iter().for_each(cross_check);
    verify(&cases).unwrap_or_else(|errors| panic!("{errors:?}"))
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
        asked.connections.iter().for_each(|question| judges.check(&place, question));
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
