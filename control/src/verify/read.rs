//! Files and directories to cases.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::{CableError, Case, QuestionError, Validation, WorldError};
use crate::source::{Directory, SourceError};

/// A case and where it stands.
#[derive(Clone, Debug)]
pub struct CaseFile {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub case: Case,
}

/// Manifests with the API server's verdicts, and where they stand.
#[derive(Clone, Debug)]
pub struct ValidationFile {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub validation: Validation,
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Cases.
    pub cases: Vec<CaseFile>,
    /// Manifests with verdicts.
    pub validations: Vec<ValidationFile>,
}

/// Why cases cannot be read or run.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file or directory cannot be read.
    #[error("{0}")]
    Source(SourceError),
    /// A file does not hold a case.
    #[error("{}{}: {reason}; docs/verify.md says what a case looks like", path.display(), at_line(*line))]
    Format {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// What a case says does not go together.
    #[error("{}: {}{fault}", path.display(), at_step(*step))]
    Fault {
        /// The file.
        path: PathBuf,
        /// The step, by its id.
        step: Option<u32>,
        /// What is wrong.
        fault: Fault,
    },
    /// A case without anything to check.
    #[error(
        "{}: no step has a matrix, a probe or a packet, so there is nothing that could hold; \
         add one, or leave the file out",
        path.display()
    )]
    NoCheck {
        /// The file.
        path: PathBuf,
    },
    /// No case at all.
    #[error("there is no case in {}: a case is a file that ends in .yaml or .yml", paths.join(", "))]
    NoCase {
        /// Where none is.
        paths: Vec<String>,
    },
}

/// What does not go together in a case.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// An object that is not there, or that podgate refuses.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A matrix or probe that cannot be asked.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// An item of a sequence.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// What the compiler refuses.
    #[error(transparent)]
    Cable(#[from] CableError),
}

/// What is wrong with an item of a sequence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sequence[{item}]: {error}")]
pub struct ItemError {
    /// Which one, from 0.
    pub item: usize,
    /// Why.
    pub error: WorldError,
}

impl CaseFile {
    pub(super) fn error(&self, step: Option<u32>, fault: impl Into<Fault>) -> CaseError {
        CaseError::Fault { path: self.path.clone(), step, fault: fault.into() }
    }
}

/// The cases in files and directories, with all below these, by name. Every error is returned.
pub fn read(paths: &[PathBuf]) -> Result<Files, Vec<CaseError>> {
    let texts = Directory::new(paths.to_vec()).texts_now();
    let texts = texts.map_err(|errors| errors.into_iter().map(CaseError::Source).collect::<Vec<_>>())?;
    let (mut files, mut errors) = (Files::default(), Vec::new());
    for (path, bytes) in texts {
        if let Err(error) = files.add(path, &bytes) {
            errors.push(error);
        }
    }
    if files.cases.is_empty() && files.validations.is_empty() && errors.is_empty() {
        let paths = paths.iter().map(|path| path.display().to_string()).collect();
        errors.push(CaseError::NoCase { paths });
    }
    if errors.is_empty() { Ok(files) } else { Err(errors) }
}

impl Files {
    fn add(&mut self, path: PathBuf, bytes: &[u8]) -> Result<(), CaseError> {
        let format = |line, reason| CaseError::Format { path: path.clone(), line, reason };
        let text = str::from_utf8(bytes).map_err(|_| format(None, "it is not UTF-8".to_owned()))?;
        if text.lines().any(|line| line.starts_with("cases:")) {
            let validation: Validation =
                parse_yaml(text).map_err(|error| format(error.line, error.reason))?;
            if let Some(name) = validation.contradiction() {
                let reason = format!("{name} is valid and has errors, or neither");
                return Err(format(None, reason));
            }
            if validation.cases.is_empty() {
                return Err(CaseError::NoCheck { path });
            }
            self.validations.push(ValidationFile { path, validation });
            return Ok(());
        }
        let case: Case = parse_yaml(text).map_err(|error| format(error.line, error.reason))?;
        if !case.checks_something() {
            return Err(CaseError::NoCheck { path });
        }
        self.cases.push(CaseFile { path, case });
        Ok(())
    }
}

/// A text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct YamlError {
    /// The line, from 1.
    pub line: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

/// Reads YAML 1.2, in which `y` is a string.
pub fn parse_yaml<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| YamlError {
        line: error.location().map(|location| location.line()).filter(|line| *line > 0),
        reason: error.without_snippet().to_string(),
    })
}

fn at_line(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(":{line}"))
}

fn at_step(step: Option<u32>) -> String {
    step.map_or_else(String::new, |step| format!("step {step}: "))
}
