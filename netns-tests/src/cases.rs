//! The project's own cases, for `podgate verify`.

use std::path::{Path, PathBuf};

use podgate_control::verify::{CaseFile, read};

/// Where they are: a directory a suite.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// The cases of a suite, by name.
#[track_caller]
pub fn suite(name: &str) -> Vec<CaseFile> {
    read(&[directory().join(name)]).unwrap_or_else(|errors| panic!("{errors:?}")).cases
}
