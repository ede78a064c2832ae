//! How the source of the objects is: what is read, since when, and what is wrong with it.
//!
//! Part of `podgate status`: names are for good.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the objects come from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// Files and directories.
    #[default]
    Manifests,
    /// A Kubernetes API server.
    Kubernetes,
}

impl SourceKind {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Manifests => "manifests",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// From when the objects are that are in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateOrigin {
    /// There are none yet: nothing passes.
    #[default]
    Nothing,
    /// The last good ones of an earlier run, kept on disk.
    Disk,
    /// Read in this run.
    Live,
}

/// What podgate does without an object that it cannot use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instead {
    /// What the object said when it was last understood stays in force.
    LastGood,
    /// A policy: the pods it selects are isolated, and it allows nothing.
    Isolated,
    /// It is left out: what it would have admitted is closed.
    LeftOut,
}

impl Instead {
    /// In words, after "until it is mended".
    pub const fn words(self) -> &'static str {
        match self {
            Self::LastGood => "what it said before stays in force",
            Self::Isolated => "the pods it selects are isolated and it allows nothing",
            Self::LeftOut => "it is left out, and what it would have admitted is closed",
        }
    }
}

/// An object that cannot be used as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObjectTrouble {
    /// `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; absent where its kind has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What is wrong, each with its field and its remedy.
    pub problems: Vec<String>,
    /// What is done instead.
    pub instead: Instead,
}

impl std::fmt::Display for ObjectTrouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, namespace, name, problems, instead, .. } = self;
        let title = super::title(kind, namespace.as_deref(), name);
        write!(f, "{title}: {}; until it is mended, {}", problems.join("; "), instead.words())
    }
}

/// A kind of objects that cannot be read now.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Away {
    /// The resource, as RBAC names it: `networkpolicies.networking.k8s.io`.
    pub resource: String,
    /// Whether it has been read in this run; if so, what was read last is in use.
    pub was_read: bool,
    /// Seconds since it was first found so; since the start, if it was never read.
    pub seconds: f64,
    /// What happens when it is tried.
    pub error: String,
}

/// The copy on disk that a restart would use.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    /// Where.
    pub path: PathBuf,
    /// Seconds since it was written, which it is when something changes; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<f64>,
    /// Why it could not be read or written, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How the source of the objects is, as of now.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Where the objects come from.
    pub kind: SourceKind,
    /// The API server's address; absent for manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Whether everything has been read in this run. Until then nothing of it is used.
    pub synced: bool,
    /// From when the objects are that are in use.
    pub origin: StateOrigin,
    /// Seconds since anything came from the API server; absent before the first, and for manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact_seconds: Option<f64>,
    /// Kinds of objects that cannot be read now.
    #[serde(default)]
    pub away: Vec<Away>,
    /// Resources that were read before and are being listed anew, as RBAC names them: until a list is whole,
    /// what was read before is in use. With `away` empty too, all is followed as it changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed_anew: Vec<String>,
    /// Whether core/v1 Endpoints are read, because the server has no `discovery.k8s.io/v1`.
    #[serde(default)]
    pub endpoints_fallback: bool,
    /// Objects that cannot be used as they are.
    #[serde(default)]
    pub troubles: Vec<ObjectTrouble>,
    /// The copy on disk; absent for manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Saved>,
}

impl SourceStatus {
    /// Whether what is in use is what there is: read in full, and followed.
    pub fn is_current(&self) -> bool {
        self.is_followed() && self.listed_anew.is_empty()
    }

    /// Whether it was read in full, and nothing is away.
    fn is_followed(&self) -> bool {
        self.synced && self.origin == StateOrigin::Live && self.away.is_empty()
    }

    /// Why what is in use may not be what there is, and what is in use then.
    pub fn told(&self) -> Option<String> {
        if self.kind != SourceKind::Kubernetes || self.is_current() {
            return None;
        }
        let server = self.server.as_deref().unwrap_or("its address is not known");
        let used = match self.origin {
            StateOrigin::Nothing => "nothing passes until it has been read",
            StateOrigin::Disk => "the last good state, kept on disk, is in force meanwhile",
            StateOrigin::Live => "what was read last stays in force",
        };
        if self.is_followed() {
            let anew = self.listed_anew.join(", ");
            return Some(format!(
                "the Kubernetes API ({server}) is listed anew ({anew}): {used} until the list is whole"
            ));
        }
        let what = if self.away.is_empty() { "has not been read yet" } else { "is not followed" };
        Some(format!("the Kubernetes API ({server}) {what}: {used}"))
    }

    /// What a person should know, a line each. That something is listed anew is no alarm: servers ask for it
    /// now and then.
    pub fn alarms(&self) -> Vec<String> {
        let mut alarms = Vec::new();
        alarms.extend(self.told().filter(|_| !self.is_followed()));
        alarms.extend(self.away.iter().map(|away| format!("{}: {}", away.resource, away.error)));
        alarms.extend(self.troubles.iter().map(ToString::to_string));
        if let Some(Saved { path, error: Some(error), .. }) = &self.saved {
            alarms.push(format!("the copy of the last good state, {}: {error}", path.display()));
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_say_what_is_in_force_and_what_is_away() {
        let mut status = SourceStatus { kind: SourceKind::Kubernetes, ..SourceStatus::default() };
        status.server = Some("https://10.0.0.1:6443".into());
        assert_eq!(
            status.alarms(),
            [
                "the Kubernetes API (https://10.0.0.1:6443) has not been read yet: nothing passes until it has been read"
            ]
        );
        status.origin = StateOrigin::Disk;
        status.away.push(Away {
            resource: "pods".into(),
            was_read: false,
            seconds: 3.0,
            error: "connection refused".into(),
        });
        let alarms = status.alarms();
        assert!(alarms[0].contains("is not followed: the last good state, kept on disk"), "{alarms:?}");
        assert_eq!(alarms[1], "pods: connection refused");
        let mut live = SourceStatus { synced: true, origin: StateOrigin::Live, away: Vec::new(), ..status };
        assert_eq!((live.alarms(), live.told()), (Vec::new(), None));
        live.listed_anew.push("pods".into());
        assert!(!live.is_current());
        assert_eq!(live.alarms(), [""; 0], "it happens now and then");
        assert_eq!(
            live.told().as_deref(),
            Some(
                "the Kubernetes API (https://10.0.0.1:6443) is listed anew (pods): what was read last stays in force \
                 until the list is whole"
            )
        );
        let files = SourceStatus::default();
        assert_eq!(files.alarms(), [""; 0], "manifests have alarms of their own");
    }
}
