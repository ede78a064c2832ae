//! What a step asks: every cell of its matrices and every probe, as a packet from one address to
//! another, and what Services lead to.

use std::net::IpAddr;

use super::WorldError;
use super::{Address, Expectation, Judgement, Matrix, MatrixError, Probe, Step, Transport, World};
use crate::service::Backend;

/// May this open a connection to that?
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Who asks.
    pub from: Address,
    /// Whom, as the case says it.
    pub to: Address,
    /// By which address.
    pub source: IpAddr,
    /// At which address; the backend's for a Service.
    pub destination: IpAddr,
    /// By what.
    pub protocol: Transport,
    /// At which port, of the Service if it is one; nothing for ICMP.
    pub port: Option<u16>,
    /// The pod behind the Service that is asked, and its port.
    pub backend: Option<Backend>,
    /// What the case says.
    pub expected: Judgement,
    /// Where the API leaves it open, and the case says what podgate does.
    pub is_undefined: bool,
    /// Whether a matrix asks, or a probe.
    pub origin: Origin,
}

/// Where a question stands in the case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A cell of `matrices[i]`.
    Cell(usize),
    /// `probes[i]`.
    Probe(usize),
}

/// What a Service leads to, as the case has it and as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// The probe: `probes[i]`.
    pub probe: usize,
    /// What the case says.
    pub expected: String,
    /// What there is.
    pub got: String,
}

/// All that a step asks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Questions {
    /// Connections.
    pub connections: Vec<Question>,
    /// What Services lead to.
    pub facts: Vec<Fact>,
}

/// Why a step cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A matrix that cannot be read.
    #[error("matrices[{at}]: {error}")]
    Matrix {
        /// Which one.
        at: usize,
        /// Why.
        error: MatrixError,
    },
    /// An end that is not there.
    #[error("{place}: {error}")]
    World {
        /// `matrices[0]` or `probes[0]`.
        place: String,
        /// Why.
        error: WorldError,
    },
    /// A probe without what its expectation needs.
    #[error("probes[{at}]: {problem}")]
    Probe {
        /// Which one.
        at: usize,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
}

/// All that `step` asks of `world`, after its actions.
pub fn questions(step: &Step, world: &World) -> Result<Questions, QuestionError> {
    let mut all = Questions::default();
    for (at, matrix) in step.matrices.iter().enumerate() {
        cells(at, matrix, world, &mut all)?;
    }
    for (at, probe) in step.probes.iter().enumerate() {
        ask(at, probe, world, &mut all)?;
    }
    Ok(all)
}

fn cells(at: usize, matrix: &Matrix, world: &World, all: &mut Questions) -> Result<(), QuestionError> {
    let cells = matrix.cells().map_err(|error| QuestionError::Matrix { at, error })?;
    for (from, to, expected) in cells {
        let (source, destination) = world
            .ends(&from, &to, matrix.family)
            .map_err(|error| QuestionError::World { place: format!("matrices[{at}]"), error })?;
        all.connections.push(Question {
            from,
            to,
            source,
            destination,
            protocol: matrix.protocol,
            port: (matrix.protocol != Transport::Icmp).then_some(matrix.port),
            backend: None,
            expected,
            is_undefined: false,
            origin: Origin::Cell(at),
        });
    }
    Ok(())
}

fn ask(at: usize, probe: &Probe, world: &World, all: &mut Questions) -> Result<(), QuestionError> {
    let wrong = |problem| Err(QuestionError::Probe { at, problem });
    match (probe.protocol, probe.port) {
        (Transport::Icmp, Some(_)) => return wrong("ICMP has no ports; leave port out"),
        (Transport::Tcp | Transport::Udp | Transport::Sctp, None) => return wrong("port is missing"),
        _ => {}
    }
    if (probe.expect == Expectation::Undefined) != probe.recommended.is_some() {
        return wrong("recommended says what podgate does where expect is undefined, and only there");
    }
    if (probe.expect == Expectation::Mixed) == probe.backends.is_empty() {
        return wrong("backends says what becomes of each where expect is mixed, and only there");
    }
    let no_world = |error| QuestionError::World { place: format!("probes[{at}]"), error };
    let question = |(source, destination), backend, expected| Question {
        from: probe.from.clone(),
        to: probe.to.clone(),
        source,
        destination,
        protocol: probe.protocol,
        port: probe.port,
        backend,
        expected,
        is_undefined: probe.expect == Expectation::Undefined,
        origin: Origin::Probe(at),
    };
    let Address::Service(service) = &probe.to else {
        let Some(expected) = probe.judgement() else {
            return wrong("expect is mixed or no-endpoints for a Service only (svc:NAMESPACE/NAME)");
        };
        let ends = world.ends(&probe.from, &probe.to, probe.family).map_err(no_world)?;
        all.connections.push(question(ends, None, expected));
        return Ok(());
    };
    let backends =
        world.backends(service, probe.port.unwrap_or(0), probe.protocol, probe.family).map_err(no_world)?;
    all.facts.push(fact(at, probe, &backends));
    for backend in backends {
        // One that the case does not name is a fact that does not hold; there is nothing to ask of it.
        let said = probe.backends.get(&name(&backend)).copied();
        let Some(expected) = probe.judgement().or(said) else { continue };
        let address = Address::Ip(backend.address);
        let ends = world.ends(&probe.from, &address, probe.family).map_err(no_world)?;
        all.connections.push(question(ends, Some(backend), expected));
    }
    Ok(())
}

/// The pod, or where there is none its address.
fn name(backend: &Backend) -> String {
    backend.pod.as_ref().map_or_else(|| backend.address.to_string(), ToString::to_string)
}

/// Which backends there are, against what the expectation says of them.
fn fact(at: usize, probe: &Probe, backends: &[Backend]) -> Fact {
    let list = |keys: Vec<String>| match &keys[..] {
        [] => "no endpoints".to_owned(),
        keys => format!("endpoints {}", keys.join(", ")),
    };
    let mut there: Vec<String> = backends.iter().map(name).collect();
    there.sort();
    let got = list(there.clone());
    let expected = match probe.expect {
        Expectation::NoEndpoints => list(Vec::new()),
        Expectation::Mixed => list(probe.backends.keys().cloned().collect()),
        // Any will do, as long as there is one.
        _ if there.is_empty() => "endpoints".to_owned(),
        _ => got.clone(),
    };
    Fact { probe: at, expected, got }
}

impl Question {
    /// The destination port of its packets; nothing for ICMP.
    pub fn packet_port(&self) -> u16 {
        self.backend.as_ref().map_or(self.port.unwrap_or(0), |backend| backend.port)
    }

    /// The backend that is asked, and its port.
    pub fn backend_name(&self) -> Option<String> {
        self.backend.as_ref().map(|backend| format!("{}:{}", name(backend), backend.port))
    }
}
