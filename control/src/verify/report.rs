//! What came of it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::{Question, Transport};

/// What came of all cases.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Cases that were read and run.
    pub cases: usize,
    /// What was checked: all of the following together.
    pub checks: usize,
    /// Cells of matrices.
    pub cells: usize,
    /// Probes; to a Service, one for each backend.
    pub probes: usize,
    /// What Services lead to.
    pub services: usize,
    /// Packets of sequences, in each of the two modes.
    pub packets: usize,
    /// Manifests that the API server accepts or rejects.
    pub manifests: usize,
    /// Of the probes, those where the API leaves it open and podgate's own choice was checked.
    pub undefined: usize,
    /// What did not hold.
    pub failures: Vec<Failure>,
    /// What was asked and could not be shown, with the reason; none of it counts as checked.
    pub not_shown: Vec<NotShown>,
}

/// One thing that did not hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// The file.
    pub file: PathBuf,
    /// The case's name.
    pub case: String,
    /// The step's number; absent for a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// In a sequence: the item, from 0. An answer that was put in has that of the packet it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<usize>,
    /// In a sequence: whether live connections were judged again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The pod behind the Service that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// By what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// At which port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What the case says.
    pub expected: String,
    /// What happened.
    pub got: String,
    /// Why it happened.
    pub why: String,
}

/// What happens to live connections when policy changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They are kept: `--live-connections keep`.
    Lenient,
    /// They are judged again: `--live-connections recheck`.
    Strict,
}

/// What could not be shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NotShown {
    /// How many checks.
    pub count: usize,
    /// Why.
    pub because: String,
}

/// Where in which file a case says something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    pub(super) file: &'a PathBuf,
    pub(super) case: &'a str,
    pub(super) step: Option<u32>,
}

impl Report {
    /// Whether something was checked, and all of it held.
    pub fn holds(&self) -> bool {
        self.checks > 0 && self.failures.is_empty()
    }

    /// Takes note of what could not be shown.
    pub(super) fn not_shown(&mut self, count: usize, because: &str) {
        match self.not_shown.iter_mut().find(|known| known.because == because) {
            _ if count == 0 => {}
            Some(known) => known.count += count,
            None => self.not_shown.push(NotShown { count, because: because.to_owned() }),
        }
    }

    /// Adds another report to this one.
    pub(super) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.checks += other.checks;
        self.cells += other.cells;
        self.probes += other.probes;
        self.services += other.services;
        self.packets += other.packets;
        self.manifests += other.manifests;
        self.undefined += other.undefined;
        self.failures.extend(other.failures);
        for NotShown { count, because } in other.not_shown {
            self.not_shown(count, &because);
        }
    }
}

impl Failure {
    /// Without ends.
    pub(super) fn at(spot: Spot<'_>, expected: String, got: String, why: String) -> Self {
        Self {
            file: spot.file.clone(),
            case: spot.case.to_owned(),
            step: spot.step,
            item: None,
            mode: None,
            from: None,
            to: None,
            backend: None,
            protocol: None,
            port: None,
            expected,
            got,
            why,
        }
    }

    /// Of a question.
    pub(super) fn of(spot: Spot<'_>, question: &Question, got: String, why: String) -> Self {
        Self {
            backend: question.backend_name(),
            port: question.port,
            ..Self::at(spot, question.expected.to_string(), got, why).between(
                &question.from,
                &question.to,
                question.protocol,
            )
        }
    }

    /// With ends.
    pub(super) fn between(
        self,
        from: &impl fmt::Display,
        to: &impl fmt::Display,
        protocol: Transport,
    ) -> Self {
        let (from, to, protocol) = (from.to_string(), to.to_string(), protocol.to_string());
        Self { from: Some(from), to: Some(to), protocol: Some(protocol), ..self }
    }
}
