//! Truth tables of NetworkPolicy: what a cluster, its policies and a sequence of changes to them
//! must allow and deny.
//!
//! ```text
//! format   a case as it is written
//! step     its changes and probes
//! address  the ends of a probe
//! matrix   rows of dots and crosses
//! flow     packet sequences
//! world    the cluster of a case, as its actions change it
//! cable    its nodes with their gateways, in memory
//! live     the same on live frames
//! ```

mod address;
mod cable;
mod flow;
mod format;
mod live;
mod matrix;
mod step;
mod world;

use std::path::{Path, PathBuf};
use std::{fs, io};

pub use address::{Address, AddressError, Family};
pub use cable::{Cable, CableNode};
pub use flow::{FlowItem, FlowPacket, FlowVerdict, Forwarding, Modes};
pub use format::{
    Case, ClusterSpec, ExternalSpec, NamespaceSpec, NodeSpec, Origin, PodSpec, PortSpec, ServicePort,
    ServiceSpec, TargetPort,
};
pub use live::{Hosts, Stage, act_on, key_of};
pub use matrix::{Hand, Matrix, MatrixError};
pub use step::{Action, Expectation, Judgement, Probe, Step, Transport};
pub use world::{World, WorldError};

/// Why cases cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file or directory cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold a case.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The directory with the project's own cases.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Every case in the files of `directory`, by file name.
pub fn read_all(directory: &Path) -> Result<Vec<Case>, CaseError> {
    let failed = |source| CaseError::Read { path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// The case in the file at `path`.
pub fn read(path: &Path) -> Result<Case, CaseError> {
    let text =
        fs::read_to_string(path).map_err(|source| CaseError::Read { path: path.to_owned(), source })?;
    parse_yaml(&text).map_err(|reason| CaseError::Format { path: path.to_owned(), reason })
}

/// Reads YAML 1.2, in which `y` is a string.
pub fn parse_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}
