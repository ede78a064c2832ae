//! Manifests and what the API server says of them.

use std::path::Path;

use serde::Deserialize;

use super::report::Spot;
use super::{Failure, Report};
use crate::source::{Reading, Strictness, read_manifests};

/// A file of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// One manifest each.
    pub cases: Vec<ValidationCase>,
}

/// A manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationCase {
    /// What it is called.
    pub name: String,
    /// Whether the API server takes it as a new object.
    pub valid: bool,
    /// What it says, in order: `field: problem`; a text may be cut short with three dots.
    pub errors: Vec<String>,
    /// What it says if the object is stored already; the same where it is missing.
    pub errors_lenient: Option<Vec<String>>,
    /// The manifest.
    pub policy: serde_json::Value,
    /// Where the text was read.
    pub text_source: Option<String>,
    /// What else there is to say.
    pub note: Option<String>,
}

impl Validation {
    /// Reads each manifest as a new object and as a stored one.
    pub(super) fn run(&self, path: &Path) -> Report {
        let mut report = Report { cases: 1, ..Report::default() };
        for case in &self.cases {
            report.manifests += 1;
            report.checks += 1;
            let text = case.policy.to_string();
            let lenient = case.errors_lenient.as_ref().unwrap_or(&case.errors);
            let readings = [(Strictness::New, &case.errors), (Strictness::Stored, lenient)];
            let wrong = readings.into_iter().find_map(|(strictness, expected)| {
                let found = told(&read_manifests(&text, Path::new("manifest"), strictness));
                (!agree(&found, expected)).then_some((strictness, expected, found))
            });
            let Some((strictness, expected, found)) = wrong else { continue };
            let why = match strictness {
                Strictness::New => "read as a new object".to_owned(),
                Strictness::Stored => "read as an object that is stored already".to_owned(),
            };
            let path = path.to_owned();
            let spot = Spot { file: &path, case: &case.name, step: None };
            report.failures.push(Failure::at(spot, listed(expected), listed(&found), why));
        }
        report
    }

    /// Whether what it says goes together.
    pub(super) fn contradiction(&self) -> Option<&str> {
        let wrong = self.cases.iter().find(|case| case.valid != case.errors.is_empty());
        wrong.map(|case| case.name.as_str())
    }
}

fn told(reading: &Reading) -> Vec<String> {
    reading.errors.iter().map(|error| format!("{}: {}", error.field, error.problem)).collect()
}

fn agree(found: &[String], expected: &[String]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            // Nobody generates names for what stands in a file.
            let stem = expected.trim_end_matches("...").trim_end().replace("name or generateName", "name");
            found.starts_with(&stem)
        })
}

fn listed(errors: &[String]) -> String {
    if errors.is_empty() { "accepted".to_owned() } else { format!("rejected: {}", errors.join("; ")) }
}
