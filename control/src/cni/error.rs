//! What a runtime is told when a command fails: the specification's error, on standard output.

use serde::Serialize;

use super::Version;

/// Error codes. Those below 100 are the specification's (section 2, "Error"), the others our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// The configuration is of a version that we do not speak, or the command is not of that version.
    IncompatibleVersion = 1,
    /// The container, its namespace or its interface is not there.
    UnknownContainer = 3,
    /// A variable of the environment is missing or wrong.
    Environment = 4,
    /// Standard input or the network could not be read.
    Io = 5,
    /// The configuration is no JSON.
    Decoding = 6,
    /// The configuration says what it cannot say.
    Configuration = 7,
    /// The gateway does not answer now; the runtime is to try again.
    TryAgain = 11,
    /// STATUS: a pod could not be added now.
    NotAvailable = 50,
    /// The interface is no port that the gateway could guard.
    NoPort = 100,
    /// The port is not guarded, though it should be.
    NotGuarded = 101,
    /// The port is guarded, but is not what the result says.
    Differs = 102,
}

/// A command that failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct CniError {
    /// What kind of failure.
    pub code: Code,
    /// In one sentence, with the remedy: runtimes show this one to people.
    pub message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    cni_version: &'a str,
    code: u32,
    msg: &'a str,
}

impl CniError {
    /// Of that kind, with that sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// As it is written to standard output.
    pub(super) fn to_json(&self, version: Version) -> String {
        let told = Told { cni_version: version.name(), code: self.code as u32, msg: &self.message };
        serde_json::to_string(&told).unwrap_or_default()
    }
}
