//! What must become of attempts: a file to hold a lab to.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Attempted, Outcome, Target, TargetError};

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Who.
    pub from: String,
    /// To whom.
    pub to: Target,
    /// What must become of it.
    pub expect: Outcome,
    /// A policy that must be among those behind it.
    pub policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    from: String,
    to: String,
    expect: Outcome,
    policy: Option<String>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExpectError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no list of expectations.
    #[error(
        "{}: {reason}; write a list of {{from: NAMESPACE/POD, to: TARGET, expect: OUTCOME, policy: NAMESPACE/NAME}}, \
         where an outcome is allowed, dropped, refused, dns-blocked, dns-failed, no-such-name or failed, and policy may \
         be left out",
        path.display()
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A target that is none.
    #[error("{}: item {item}, to: {source}", path.display())]
    Target {
        /// The file.
        path: PathBuf,
        /// Which item, from 1.
        item: usize,
        /// What is wrong.
        source: TargetError,
    },
    /// It asks for nothing.
    #[error("{}: the list is empty, so nothing would be tried; write at least one item", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a file of expectations.
pub fn read_expectations(path: &Path) -> Result<Vec<Expectation>, ExpectError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ExpectError::Unreadable { path: path.to_owned(), source })?;
    let written: Vec<Written> = serde_saphyr::from_str(&text)
        .map_err(|error| ExpectError::Syntax { path: path.to_owned(), reason: error.to_string() })?;
    if written.is_empty() {
        return Err(ExpectError::Empty { path: path.to_owned() });
    }
    let item = |(number, written): (usize, Written)| {
        let to = written.to.parse();
        let to =
            to.map_err(|source| ExpectError::Target { path: path.to_owned(), item: number + 1, source })?;
        Ok(Expectation { from: written.from, to, expect: written.expect, policy: written.policy })
    };
    written.into_iter().enumerate().map(item).collect()
}

impl Expectation {
    /// What is wrong with what became of it; nothing if it holds.
    pub fn missed_by(&self, attempted: &Attempted) -> Option<String> {
        if attempted.outcome != self.expect {
            let (expected, got) = (self.expect.name(), attempted.outcome.name());
            return Some(match attempted.outcome {
                Outcome::Failed | Outcome::DnsFailed => {
                    format!("expected {expected}, got {got}: {}", attempted.why)
                }
                _ => format!("expected {expected}, got {got}"),
            });
        }
        let policy = self.policy.as_ref().filter(|policy| !attempted.policies.contains(policy))?;
        let named =
            if attempted.policies.is_empty() { "none".to_owned() } else { attempted.policies.join(", ") };
        Some(format!("expected {policy} among the policies behind it, which are {named}"))
    }
}
