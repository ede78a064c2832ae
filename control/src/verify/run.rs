//! Cases decided in memory: every question is a frame that meets every gateway on its way.

use podgate_dataplane::snapshot::Switches;
use podgate_flowtable::Time;

use super::report::Spot;
use super::why::why;
use super::{
    Cable, Case, CaseError, CaseFile, Failure, Files, Flags, FlowItem, FlowPacket, Forwarding, Journey,
    Judgement, Mode, Origin, Packet, Question, Report, Step, Transport, World, questions, with_answers,
};

/// Between a packet and the next, in nanoseconds: a second, so that UDP flows grow old and none expires.
const TICK: u64 = 1_000_000_000;

/// Source ports start here; each packet has another.
const SOURCE_PORTS: u16 = 20_000;

/// Runs all cases. What cannot be run is told of all of them, and then nothing else is.
pub fn verify(files: &Files) -> Result<Report, Vec<CaseError>> {
    let mut report = Report::default();
    let mut errors = Vec::new();
    for file in &files.validations {
        report.add(file.validation.run(&file.path));
    }
    for file in &files.cases {
        match run(file) {
            Ok(of_it) => report.add(of_it),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(report) } else { Err(errors) }
}

fn run(file: &CaseFile) -> Result<Report, CaseError> {
    let case = &file.case;
    let mut report = Report { cases: 1, ..Report::default() };
    let mut world = World::new(case).map_err(|error| file.error(None, error))?;
    for step in &case.steps {
        let spot = Spot { file: &file.path, case: &case.name, step: Some(step.id) };
        for action in &step.actions {
            world.apply(action).map_err(|error| file.error(Some(step.id), error))?;
        }
        judge(file, step, &world, spot, &mut report)?;
        for mode in [Mode::Lenient, Mode::Strict] {
            follow(file, step, &world, mode, spot, &mut report)?;
        }
    }
    Ok(report)
}

fn judge(
    file: &CaseFile,
    step: &Step,
    world: &World,
    spot: Spot<'_>,
    report: &mut Report,
) -> Result<(), CaseError> {
    let asked = questions(step, world).map_err(|error| file.error(Some(step.id), error))?;
    report.facts(spot, step, &asked.facts);
    let cable = Cable::new(world, Switches::default()).map_err(|error| file.error(Some(step.id), error))?;
    for (number, question) in asked.connections.iter().enumerate() {
        let journey = send(&cable, world, question, number);
        let got = Judgement::of(journey.forwarding == Forwarding::Forward);
        report.count(question);
        if got != question.expected {
            report.failures.push(Failure::of(spot, question, got.to_string(), why(&cable, &journey)));
        }
    }
    Ok(())
}

/// As the first packet of a connection, alone.
fn send(cable: &Cable, world: &World, question: &Question, number: usize) -> Journey {
    let is_tcp = question.protocol == Transport::Tcp;
    let packet = Packet {
        from: question.source,
        to: question.destination,
        protocol: question.protocol,
        source_port: SOURCE_PORTS + (number % usize::from(SOURCE_PORTS)) as u16,
        destination_port: question.packet_port(),
        flags: if is_tcp { Flags::SYN } else { Flags::default() },
    };
    let journey = cable.send(world, &packet, Time::from_nanos(TICK * (1 + number as u64)));
    cable.forget_flows();
    journey
}

/// Runs a step's sequence, from a fresh flow table.
fn follow(
    file: &CaseFile,
    step: &Step,
    world: &World,
    mode: Mode,
    spot: Spot<'_>,
    report: &mut Report,
) -> Result<(), CaseError> {
    if step.sequence.is_empty() {
        return Ok(());
    }
    let rechecks = mode == Mode::Strict;
    let switches = Switches { recheck_live_flows: rechecks, ..Switches::default() };
    let mut world = world.clone();
    let mut cable = Cable::new(&world, switches).map_err(|error| file.error(Some(step.id), error))?;
    let mut last = 0;
    for (number, (at, item)) in with_answers(&step.sequence).into_iter().enumerate() {
        last = at.unwrap_or(last);
        let failed =
            |error: super::WorldError| file.error(Some(step.id), super::ItemError { item: last, error });
        let (pkt, expected) = match item {
            FlowItem::Change { action } => {
                world.apply(&action).map_err(failed)?;
                cable.publish(&world).map_err(|error| file.error(Some(step.id), error))?;
                continue;
            }
            FlowItem::Packet { pkt, expect } => (pkt, expect.forwarding(rechecks)),
        };
        let packet = pkt.on_the_wire(&world).map_err(failed)?;
        let journey = cable.send(&world, &packet, Time::from_nanos(TICK * (1 + number as u64)));
        if at.is_some() {
            report.packets += 1;
            report.checks += 1;
        }
        if journey.forwarding != expected {
            let got = journey.forwarding.to_string();
            let failure = Failure::at(spot, expected.to_string(), got, why(&cable, &journey));
            let failure = failure.between(&pkt.from, &pkt.to, pkt.protocol.transport());
            let port = Some(pkt.dport);
            report.failures.push(Failure { item: Some(last), mode: Some(mode), port, ..failure });
        }
    }
    Ok(())
}

impl FlowPacket {
    /// With the addresses that its ends have now.
    pub fn on_the_wire(&self, world: &World) -> Result<Packet, super::WorldError> {
        let (from, to) = world.ends(&self.from, &self.to, None)?;
        Ok(Packet {
            from,
            to,
            protocol: self.protocol.transport(),
            source_port: self.sport,
            destination_port: self.dport,
            flags: self.flags,
        })
    }
}

impl Report {
    /// Counts a question that was answered.
    pub(super) fn count(&mut self, question: &Question) {
        self.checks += 1;
        match question.origin {
            Origin::Cell(_) => self.cells += 1,
            Origin::Probe(_) => self.probes += 1,
        }
        self.undefined += usize::from(question.is_undefined);
    }

    /// Compares what Services lead to.
    pub(super) fn facts(&mut self, spot: Spot<'_>, step: &Step, facts: &[super::Fact]) {
        for fact in facts {
            self.services += 1;
            self.checks += 1;
            if fact.expected != fact.got {
                let probe = &step.probes[fact.probe];
                let why = "the Service's selector and ports lead there".to_owned();
                let failure = Failure::at(spot, fact.expected.clone(), fact.got.clone(), why);
                let failure = failure.between(&probe.from, &probe.to, probe.protocol);
                self.failures.push(Failure { port: probe.port, ..failure });
            }
        }
    }
}

impl Case {
    /// Whether there is anything to check in it.
    pub fn checks_something(&self) -> bool {
        let packets = |step: &Step| step.sequence.iter().any(|item| matches!(item, FlowItem::Packet { .. }));
        let cells = |step: &Step| {
            step.matrices.iter().any(|matrix| !matrix.rows.is_empty() && !matrix.order.is_empty())
        };
        self.steps.iter().any(|step| cells(step) || packets(step) || !step.probes.is_empty())
    }
}
