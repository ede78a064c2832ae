//! Which questions of a step can be asked on one machine, on which node's bridge, and which cannot.

use std::net::IpAddr;

use super::super::{CaseError, CaseFile, Question, Report, World, questions};
use super::cast::{Cast, Seat};

/// A step as one node's bridge can show it.
pub(super) struct Scene<'a> {
    /// The case.
    pub(super) file: &'a CaseFile,
    /// The step's number.
    pub(super) step: u32,
    /// After its actions.
    pub(super) world: World,
    /// What is asked.
    pub(super) questions: Vec<Question>,
    /// Who is there.
    pub(super) cast: Cast,
}

/// All scenes of a case; what cannot be shown is noted in `report`.
pub(super) fn scenes<'a>(file: &'a CaseFile, report: &mut Report) -> Result<Vec<Scene<'a>>, CaseError> {
    let mut all: Vec<Scene<'a>> = Vec::new();
    let mut world = World::new(&file.case).map_err(|error| file.error(None, error))?;
    for step in &file.case.steps {
        for action in &step.actions {
            world.apply(action).map_err(|error| file.error(Some(step.id), error))?;
        }
        let asked = questions(step, &world).map_err(|error| file.error(Some(step.id), error))?;
        report.not_shown(asked.facts.len(), "what a Service leads to is a matter of objects, not of packets");
        let packets = step.sequence.iter().filter(|item| matches!(item, super::FlowItem::Packet { .. }));
        report.not_shown(
            2 * packets.count(),
            "in a sequence of packets the kernels at both ends would answer by themselves",
        );
        let mut left = asked.connections;
        for node in world.cluster().nodes().keys() {
            let fits = |question: &Question| obstacle(question, &world, node).is_none();
            let (here, elsewhere): (Vec<_>, Vec<_>) = left.into_iter().partition(fits);
            left = elsewhere;
            if !here.is_empty() {
                let cast = Cast::of(&world, node, &here);
                all.push(Scene { file, step: step.id, world: world.clone(), questions: here, cast });
            }
        }
        let nodes: Vec<&String> = world.cluster().nodes().keys().collect();
        for question in &left {
            let mut reasons = nodes.iter().filter_map(|node| obstacle(question, &world, node));
            report.not_shown(1, reasons.next_back().unwrap_or("the cluster has no node"));
        }
    }
    settle(&mut all);
    Ok(all)
}

/// Gives scenes of a case the same cast where that can be, so that one lab does for all of them.
fn settle(scenes: &mut [Scene<'_>]) {
    let mut shared: Vec<Cast> = Vec::new();
    for scene in &*scenes {
        match shared.iter_mut().find_map(|cast| cast.with(&scene.cast).map(|both| (cast, both))) {
            Some((cast, both)) => *cast = both,
            None => shared.push(scene.cast.clone()),
        }
    }
    for scene in scenes {
        // In the order in which they were put together: what fitted then fits now.
        if let Some(both) = shared.iter().find(|cast| cast.with(&scene.cast).as_ref() == Some(*cast)) {
            scene.cast = both.clone();
        }
    }
}

/// Why a question cannot be asked on the bridge of `node`, if it cannot.
fn obstacle(question: &Question, world: &World, node: &str) -> Option<&'static str> {
    if question.source == question.destination {
        return Some("what asks itself never leaves its own network");
    }
    // All pods are on one bridge, so that there is one node that is their own.
    for (end, other) in [(question.source, question.destination), (question.destination, question.source)] {
        let home = world.holder(end).and_then(|pod| pod.node.as_deref());
        if let (Some(home), Some(asks)) = (home, node_of(world, other))
            && (home == asks) != (node == asks)
        {
            return Some("one machine is one node, and not each other pod's own");
        }
    }
    None
}

/// The node that has an address.
fn node_of(world: &World, address: IpAddr) -> Option<&str> {
    let mut nodes = world.cluster().nodes().values();
    nodes.find(|node| node.addresses.contains(&address)).map(|node| node.name.as_str())
}

impl Scene<'_> {
    /// Where both ends of a question are.
    pub(super) fn seats(&self, question: &Question) -> Option<(Seat, Seat)> {
        Some((self.cast.seat(question.source)?, self.cast.seat(question.destination)?))
    }
}
