//! Cases decided by real packets: each is built as a lab, with a gateway on the node's bridge.
//!
//! ```text
//! scene    which questions can be asked on one machine, and which cannot
//! cast     who is there, with which addresses
//! stage    the lab and its gateway
//! objects  a world as manifests
//! probe    one question, asked with real packets
//! drops    what the gateway tells of frames that it drops
//! ```

mod cast;
mod drops;
mod error;
mod objects;
mod probe;
mod scene;
mod stage;

use std::path::{Path, PathBuf};

use futures::stream::{self, StreamExt};
use tokio::signal::unix::{SignalKind, signal};

use super::report::Spot;
use super::{Failure, Files, FlowItem, Report};
use cast::{Cast, ports};
pub use error::LiveError;
use scene::{Scene, scenes};
use stage::Stage;

/// Questions that are asked at a time.
const AT_A_TIME: usize = 128;

/// What a live run is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveOptions {
    /// What its labs are called, one at a time.
    pub name: String,
    /// Where their gateways keep their files.
    pub run_dir: PathBuf,
}

/// Runs cases with real packets; needs root. Scenes with the same cast share a lab. What one machine
/// cannot show is counted as not shown.
pub async fn verify_live(files: &Files, options: &LiveOptions) -> Result<Report, LiveError> {
    let mut report = Report::default();
    let mut all = Vec::new();
    let mut errors = Vec::new();
    for file in &files.validations {
        let manifests = file.validation.cases.len();
        report.not_shown(manifests, "whether a manifest is accepted is a matter of files, not of packets");
    }
    for file in &files.cases {
        match scenes(file, &mut report) {
            Ok(scenes) => all.extend(scenes),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(LiveError::Cases(errors));
    }
    let mut found: Vec<Option<Report>> = all.iter().map(|_| None).collect();
    let mut interrupted = Interrupts::new()?;
    let groups = groups(&all);
    for (number, (cast, scenes)) in groups.iter().enumerate() {
        tracing::info!("lab {} of {}: {} steps on {}", number + 1, groups.len(), scenes.len(), cast.node);
        let questions = scenes.iter().flat_map(|&at| &all[at].questions);
        let mut stage = Stage::set(&options.name, &options.run_dir, cast, &ports(questions)).await?;
        let outcome = tokio::select! {
            outcome = play(&mut stage, scenes, &all, &mut found) => outcome,
            () = interrupted.next() => Err(LiveError::Interrupted),
        };
        let down = stage.down().await;
        outcome?;
        down?;
    }
    // In the order of the cases, whoever shared a lab.
    let mut last: Option<&Path> = None;
    for (scene, of_it) in all.iter().zip(found) {
        report.cases += usize::from(last.replace(&scene.file.path) != Some(&scene.file.path));
        report.add(of_it.unwrap_or_default());
    }
    Ok(report)
}

/// Scenes by their cast, in the order in which casts first appear.
fn groups<'a>(all: &'a [Scene<'_>]) -> Vec<(&'a Cast, Vec<usize>)> {
    let mut groups: Vec<(&Cast, Vec<usize>)> = Vec::new();
    for (at, scene) in all.iter().enumerate() {
        match groups.iter_mut().find(|(cast, _)| **cast == scene.cast) {
            Some((_, scenes)) => scenes.push(at),
            None => groups.push((&scene.cast, vec![at])),
        }
    }
    groups
}

async fn play(
    stage: &mut Stage,
    scenes: &[usize],
    all: &[Scene<'_>],
    found: &mut [Option<Report>],
) -> Result<(), LiveError> {
    for &at in scenes {
        stage.show(&all[at]).await?;
        found[at] = Some(ask_all(stage, &all[at]).await?);
    }
    Ok(())
}

async fn ask_all(stage: &Stage, scene: &Scene<'_>) -> Result<Report, LiveError> {
    let mut report = Report::default();
    let spot = Spot { file: &scene.file.path, case: &scene.file.case.name, step: Some(scene.step) };
    let asked = scene.questions.iter().enumerate().map(|(number, question)| async move {
        let seats = scene.seats(question);
        let seats = seats.and_then(|(from, to)| Some((stage.seated(&from)?, stage.seated(&to)?)));
        match seats {
            Some(seats) => probe::ask(question, seats, stage.drops(), number).await.map(Some),
            None => Ok(None),
        }
    });
    let mut answers = stream::iter(asked).buffered(AT_A_TIME).zip(stream::iter(&scene.questions));
    while let Some((answer, question)) = answers.next().await {
        let Some(answer) = answer? else {
            report.not_shown(1, "nobody in the lab has that address");
            continue;
        };
        report.count(question);
        let (got, why) = answer.told();
        if got != question.expected.to_string() {
            report.failures.push(Failure::of(spot, question, got, why));
        }
    }
    Ok(report)
}

/// Signals that ask for an end.
struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupts {
    fn new() -> Result<Self, LiveError> {
        let listen = |kind| {
            signal(kind).map_err(|source| LiveError::Probe { what: "cannot listen for signals", source })
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
