//! What is wrong with a manifest, where, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as it was named or found.
    pub file: PathBuf,
    /// Which of its documents, from 1; empty documents do not count. `None`: the file as a whole.
    pub document: Option<usize>,
    /// The line in the file, from 1.
    pub line: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match self.document {
            Some(document) => write!(f, " (document {document})"),
            None => Ok(()),
        }
    }
}

/// One thing that is wrong. Until all of them are mended nothing of the source is used: half a set
/// of policies may allow what the whole denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// Where.
    pub place: Place,
    /// `Kind namespace/name` of the object, as far as it is known.
    pub object: Option<String>,
    /// The field, as Kubernetes writes it: `spec.ingress[0].ports[1].endPort`. Empty: the document.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
    /// The bytes of the file that are meant, where texts are kept and they are known.
    pub span: Option<Range<usize>>,
}

/// What can be wrong. The texts are those of the API server where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file or directory cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What the system said.
        reason: String,
    },
    /// It is not YAML (or not UTF-8).
    #[error("not valid YAML: {reason}")]
    Syntax {
        /// What the parser said.
        reason: String,
    },
    /// A value of another type belongs here.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What belongs here.
        expected: &'static str,
        /// What is here.
        found: String,
    },
    /// No such field.
    #[error("unknown field")]
    UnknownField {
        /// A field of that place with nearly the same name.
        similar: Option<&'static str>,
    },
    /// It must be given.
    #[error("Required value: {detail}")]
    Required {
        /// What must be given.
        detail: &'static str,
    },
    /// Its value is not one it can have.
    #[error("Invalid value: {value}: {detail}")]
    Invalid {
        /// The value.
        value: String,
        /// What must hold.
        detail: &'static str,
        /// What to write instead, where it can be told.
        remedy: Option<String>,
    },
    /// Its value is not in the list.
    #[error("Unsupported value: {value}: supported values: {}", Quoted(supported))]
    Unsupported {
        /// The value.
        value: String,
        /// The list.
        supported: &'static [&'static str],
    },
    /// It may not be given here.
    #[error("Forbidden: {detail}")]
    Forbidden {
        /// Why.
        detail: &'static str,
    },
    /// A file of addresses (`--pod-ips`) that makes no sense.
    #[error("{reason}")]
    Overlay {
        /// What is wrong.
        reason: String,
    },
    /// An option in a configuration file that cannot be.
    #[error("{reason}")]
    Setting {
        /// What is wrong.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The same object a second time.
    #[error("defined a second time; the first is in {first}")]
    Duplicate {
        /// Where it was first defined.
        first: Place,
    },
}

impl Problem {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable { .. } => "check that the path exists and can be read".to_owned(),
            Self::Syntax { .. } => "mend the YAML; nothing of this source is used until then".to_owned(),
            Self::Type { expected, .. } => format!("write {expected} here"),
            Self::UnknownField { similar: Some(name) } => format!("did you mean {name}?"),
            Self::UnknownField { similar: None } => {
                "remove it, or mend its spelling or indentation".to_owned()
            }
            Self::Required { .. } => "add it".to_owned(),
            Self::Setting { remedy, .. } | Self::Invalid { remedy: Some(remedy), .. } => remedy.clone(),
            Self::Invalid { remedy: None, .. } => "change the value".to_owned(),
            Self::Unsupported { value, supported } => {
                let plain = value.trim_matches('"');
                match supported.iter().find(|name| name.eq_ignore_ascii_case(plain)) {
                    Some(name) => format!("write {name}: case matters"),
                    None => "write one of the supported values".to_owned(),
                }
            }
            Self::Forbidden { .. } => "remove it, or split it in two".to_owned(),
            Self::Overlay { .. } => "mend the file that --pod-ips names".to_owned(),
            Self::Duplicate { .. } => "keep one of the two".to_owned(),
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{} ({})", self.problem, self.problem.remedy())
    }
}

impl std::error::Error for SourceError {}

struct Quoted<'a>(&'a [&'a str]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{name:?}")?;
        }
        Ok(())
    }
}
