//! Reading what an offline tool is given.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::source::Untraced;
use crate::tools::{Survey, mistake};

/// Reads files and directories; what of them plays no part goes to stderr.
pub(super) fn read(paths: &[PathBuf]) -> Result<Survey, Failure> {
    let survey = Survey::read(paths).map_err(|failed| refused(&failed))?;
    tell(&survey);
    Ok(survey)
}

/// Tells on stderr what of the input plays no part, and what was made up.
pub(super) fn tell(survey: &Survey) {
    for remark in survey.remarks() {
        eprintln!("note: {remark}");
    }
}

/// Tells what is wrong with the input.
pub(super) fn refused(failed: &Untraced) -> Failure {
    let colours = has_colours(&std::io::stderr());
    for error in &failed.errors {
        eprintln!("{}", mistake(error, &failed.texts, colours));
    }
    let files: BTreeSet<&Path> = failed.errors.iter().map(|error| error.place.file.as_path()).collect();
    eprintln!(
        "podgate: {} in {}: nothing was used, and a gateway would not use it either",
        counted(failed.errors.len(), "mistake"),
        counted(files.len(), "file")
    );
    Failure::Code(2)
}

/// `1 file`, `2 files`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Whether what is printed there may be coloured (no-color.org).
pub(super) fn has_colours(out: &impl IsTerminal) -> bool {
    out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
