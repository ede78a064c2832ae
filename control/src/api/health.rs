//! Whether the gateway lives, and whether it is ready.

use serde::{Deserialize, Serialize};

use crate::source::SourceKind;

/// Where policy comes from, and how current it is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SourceState {
    /// What it is.
    pub kind: SourceKind,
    /// Whether what is in force is what the source says now, as far as the gateway can tell.
    pub synced: bool,
    /// Seconds since the source was last heard of, where that means something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact_seconds: Option<f64>,
    /// Why it is not synced, and what is in force then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// An answer to `/readyz`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether policy is in force on this node. The last good one counts.
    pub ready: bool,
    /// Why it is not ready.
    pub reasons: Vec<String>,
    /// Number of the snapshot in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Where policy comes from; absent while the gateway starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceState>,
    /// What a person should know all the same.
    pub warnings: Vec<String>,
}

/// An answer to `/healthz`: whether a restart would help.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Liveness {
    /// Whether it lives.
    pub alive: bool,
    /// What does not.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// While nothing is in force yet.
    pub fn starting() -> Self {
        let reasons = vec!["the gateway is starting: no policy is in force on this node yet".to_owned()];
        Self { ready: false, reasons, epoch: None, source: None, warnings: Vec::new() }
    }
}

/// For people: the verdict on the first line, then a line for everything there is to say.
impl std::fmt::Display for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.ready, self.epoch) {
            (true, Some(epoch)) => writeln!(f, "ready: snapshot {epoch} is in force")?,
            (true, None) => writeln!(f, "ready")?,
            (false, _) => writeln!(f, "not ready")?,
        }
        for reason in &self.reasons {
            writeln!(f, "{reason}")?;
        }
        if let Some(source) = &self.source {
            let state = if source.synced { "synced" } else { "NOT SYNCED" };
            write!(f, "source {}: {state}", source.kind.word())?;
            if let Some(seconds) = source.last_contact_seconds {
                write!(f, ", last heard of {seconds:.0} s ago")?;
            }
            match &source.told {
                Some(told) => writeln!(f, ": {told}")?,
                None => writeln!(f)?,
            }
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

impl std::fmt::Display for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", if self.alive { "alive" } else { "not alive" })?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "{reason}"))
    }
}
