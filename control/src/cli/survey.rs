//! Reading what an offline tool is given.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::source::SourceError;
use crate::tools::Survey;

/// Reads files and directories; what of them plays no part goes to stderr.
pub(super) fn read(paths: &[PathBuf]) -> Result<Survey, Failure> {
    let survey = Survey::read(paths).map_err(|failed| refused(&failed.errors))?;
    for remark in survey.remarks() {
        eprintln!("note: {remark}");
    }
    Ok(survey)
}

/// Tells what is wrong with the input.
pub(super) fn refused(errors: &[SourceError]) -> Failure {
    for error in errors {
        eprintln!("error: {error}");
    }
    let files = errors.iter().map(|error| error.place.file.as_path());
    let files: std::collections::BTreeSet<&Path> = files.collect();
    let mistakes = if errors.len() == 1 { "mistake" } else { "mistakes" };
    let of_files = if files.len() == 1 { "file" } else { "files" };
    eprintln!(
        "podgate: {} {mistakes} in {} {of_files}: nothing was used; a gateway would not use them either",
        errors.len(),
        files.len()
    );
    Failure::Code(2)
}
