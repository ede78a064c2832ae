//! What a folder's `transcript.yaml` holds.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// An exercise in a form that a program can follow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcript {
    /// Paths that the lab is made from.
    pub lab: Vec<PathBuf>,
    /// More options for `lab up`.
    #[serde(default)]
    pub options: Vec<String>,
    pub steps: Vec<Step>,
}

/// A step; what it has of these is done from the top down.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub name: String,
    /// The lab is taken down, and up again with these options besides.
    pub again: Option<Vec<String>>,
    /// Commands on the lab's node.
    #[serde(default)]
    pub node: Vec<String>,
    /// Connections that stay open for later steps.
    #[serde(default)]
    pub open: Vec<Open>,
    /// Commands; `podgate lab ...` is about the transcript's lab.
    #[serde(default)]
    pub run: Vec<String>,
    /// What has become of connections that are open.
    #[serde(default)]
    pub live: Vec<Live>,
    /// As `podgate lab probe --expect` reads it.
    #[serde(default)]
    pub expect: Vec<Value>,
    /// What commands about the lab's gateway say.
    #[serde(default)]
    pub told: Vec<Told>,
    pub check: Option<Check>,
}

/// A connection between two pods; who answers on it is started in `to`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// What later steps call it by.
    pub name: String,
    pub from: String,
    pub to: String,
    /// What the client calls it.
    pub host: String,
    pub port: u16,
}

/// What an open connection must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    pub name: String,
    pub expect: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// What is said on it is answered.
    Answered,
    /// Nothing comes back any more.
    Cut,
}

/// A command, words that must be in what it prints, and words that must not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// `podgate ...`, about the transcript's lab.
    pub run: String,
    pub says: String,
    pub never: Option<String>,
}

/// What `podgate check` must find, and must not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub path: Vec<PathBuf>,
    pub finds: Vec<String>,
    pub absent: Vec<String>,
}

impl Transcript {
    pub fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("transcript.yaml")).expect("a transcript");
        serde_saphyr::from_str(&text).expect("a transcript")
    }
}
