//! What can go wrong with a case on live frames.

use std::io;
use std::path::PathBuf;

use super::super::CaseError;
use crate::api::ClientError;
use crate::lab::LabError;
use crate::net::NetError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Cases that cannot be run, live or not.
    #[error("{}", listed(.0))]
    Cases(Vec<CaseError>),
    /// The lab could not be built or taken down.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A namespace could not be entered, or a device opened.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The lab's gateway could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The policies of a step did not come into force.
    #[error("{case} step {step} did not come into force within {secs} s: {said}")]
    NotInForce {
        /// The case.
        case: String,
        /// The step.
        step: u32,
        /// How long was waited.
        secs: u64,
        /// What the gateway had to say.
        said: String,
    },
    /// The manifests could not be written.
    #[error("{}: cannot write it: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A probe could not be sent.
    #[error("{what}: {source}{}", remedy(what))]
    Probe {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A signal ended it.
    #[error("interrupted; the lab is down")]
    Interrupted,
}

fn listed(errors: &[CaseError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn remedy(what: &str) -> &'static str {
    if what == PING { " (package iputils-ping)" } else { "" }
}

/// What is tried for ICMP.
pub(super) const PING: &str = "cannot run ping";
