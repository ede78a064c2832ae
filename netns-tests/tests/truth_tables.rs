//! Every case of the truth tables against the compiled table: as one who sees all, and as the
//! nodes see it, each its own pods.

use std::net::IpAddr;

use podgate_control::compile::{Compiled, Locality, Settings, compile};
use podgate_control::oracle::{Flow, judge};
use podgate_flowtable::{Addr, Epoch};
use podgate_netns_tests::cases::{
    Address, Case, Expectation, Family, Judgement, Step, Transport, World, directory, read_all,
};

/// How much was checked; so that nothing falls under the table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    cases: usize,
    steps: usize,
    cells: usize,
    probes: usize,
    /// Of the probes, those where the API leaves it open and podgate's choice is checked.
    undefined: usize,
    /// Probes to a Service, which are not judged here: translation comes before policy.
    services: usize,
}

#[test]
fn e2e() {
    let expected = Count { cases: 48, steps: 58, cells: 6075, probes: 32, undefined: 0, services: 0 };
    assert_eq!(run("e2e"), expected);
}

#[test]
fn edge() {
    let expected = Count { cases: 55, steps: 59, cells: 5139, probes: 102, undefined: 1, services: 4 };
    assert_eq!(run("edge"), expected);
}

#[test]
fn recipes() {
    let expected = Count { cases: 14, steps: 19, cells: 0, probes: 26, undefined: 1, services: 38 };
    assert_eq!(run("recipes"), expected);
}

#[test]
fn cyclonus() {
    let expected = Count { cases: 110, steps: 116, cells: 56490, probes: 0, undefined: 0, services: 0 };
    assert_eq!(run("cyclonus"), expected);
}

#[test]
fn flow_sequences_can_be_read() {
    let cases = read_all(&directory().join("flows")).unwrap();
    let items: usize = cases.iter().flat_map(|case| &case.steps).map(|step| step.sequence.len()).sum();
    assert_eq!((cases.len(), items), (9, 41));
    for case in &cases {
        World::new(case).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
}

fn run(suite: &str) -> Count {
    let mut count = Count::default();
    for case in read_all(&directory().join(suite)).unwrap() {
        count.cases += 1;
        let mut world = World::new(&case).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        for step in &case.steps {
            for action in &step.actions {
                world.apply(action).unwrap_or_else(|error| panic!("{} step {}: {error}", case.name, step.id));
            }
            count.steps += 1;
            check(&case, step, &world, &mut count);
        }
    }
    count
}

fn check(case: &Case, step: &Step, world: &World, count: &mut Count) {
    let judges = Judges::new(world);
    let place = format!("{} step {}", case.name, step.id);
    for matrix in &step.matrices {
        for (from, to, expected) in matrix.cells().unwrap_or_else(|error| panic!("{place}: {error}")) {
            judges.check(&place, &from, &to, (matrix.protocol, matrix.port), matrix.family, expected);
            count.cells += 1;
        }
    }
    for probe in &step.probes {
        if matches!(probe.to, Address::Service(_)) {
            count.services += 1;
            continue;
        }
        let expected = probe.judgement().unwrap_or_else(|| panic!("{place}: {} has no verdict", probe.to));
        let what = (probe.protocol, probe.port.unwrap_or(0));
        judges.check(&place, &probe.from, &probe.to, what, probe.family, expected);
        count.probes += 1;
        count.undefined += usize::from(probe.expect == Expectation::Undefined);
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

    fn check(
        &self,
        place: &str,
        from: &Address,
        to: &Address,
        (transport, port): (Transport, u16),
        family: Option<Family>,
        expected: Judgement,
    ) {
        let resolve =
            |address| self.world.resolve(address, family).unwrap_or_else(|error| panic!("{place}: {error}"));
        let (source, destination): (IpAddr, IpAddr) = (resolve(from), resolve(to));
        let protocol = transport.ip_protocol(source.is_ipv6());
        let decide = |compiled: &Compiled| {
            compiled.decide(Addr::from(source), Addr::from(destination), protocol, port).allows()
        };
        let what = format!("{place}: {from} to {to} by {transport:?} {port}");
        assert_eq!(Judgement::of(decide(&self.everything)), expected, "{what}, as one who sees all");
        // The source's node judges egress, the destination's ingress; each leaves the rest alone.
        assert_eq!(Judgement::of(self.nodes.iter().all(decide)), expected, "{what}, as the nodes see it");
        let flow = Flow { from: source, to: destination, protocol, port };
        let naive = judge(self.world.cluster(), &Locality::Everything, flow);
        assert_eq!(Judgement::of(naive.allows()), expected, "{what}, by the naive evaluator");
    }
}
