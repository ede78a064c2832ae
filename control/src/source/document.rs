//! A text to documents, and where they stand.

use std::ops::Range;
use std::path::Path;

use super::{Note, Place, SourceError};

/// One document of a text.
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    /// Where it starts in the whole text.
    start: usize,
    pub(super) lines_before: u64,
}

impl Document<'_> {
    /// Where it stands in the whole text.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }
}

/// The documents of a stream that hold anything. `---` and `...` at the start of a line end a
/// document wherever they stand, in a block or quoted string too (YAML 1.2.2, 9.1.2), so that one
/// broken document does not hide what is wrong with the next.
pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut at) = (mark, 0, mark);
    for (number, line) in text[mark..].split_inclusive('\n').enumerate() {
        let marker =
            line.get(..3).filter(|_| line[3..].is_empty() || line[3..].starts_with([' ', '\t', '\r', '\n']));
        match marker {
            Some("---") => {
                documents.push(Document { text: &text[start..at], start, lines_before: start_line });
                (start, start_line) = (at, number as u64);
            }
            Some("...") => {
                documents.push(Document { text: &text[start..at], start, lines_before: start_line });
                (start, start_line) = (at + line.len(), number as u64 + 1);
            }
            _ => {}
        }
        at += line.len();
    }
    documents.push(Document { text: &text[start..], start, lines_before: start_line });
    documents.retain(|document| document.text.lines().any(holds_content));
    documents
}

/// Whether a line is more than a comment, a directive or a bare marker.
fn holds_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line);
    let trimmed = line.trim();
    !trimmed.is_empty() && !trimmed.starts_with('#') && !line.starts_with('%')
}

/// Where a document stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    pub(super) file: &'a Path,
    /// Which of the file's documents, from 1.
    pub(super) number: usize,
    pub(super) lines_before: u64,
}

impl Spot<'_> {
    /// The place in the file of one in the document.
    pub(super) fn of(&self, place: &Place) -> Place {
        let line = place.line.map(|line| self.lines_before + line);
        Place { file: self.file.to_owned(), document: Some(self.number), line }
    }

    pub(super) fn of_note(&self, note: &Note) -> Note {
        match note {
            Note::IgnoredKind { place, kind, name } => {
                Note::IgnoredKind { place: self.of(place), kind: kind.clone(), name: name.clone() }
            }
            Note::ImpliedNamespace { .. } | Note::Workload { .. } => note.clone(),
        }
    }

    pub(super) fn of_error(&self, error: &SourceError) -> SourceError {
        SourceError { place: self.of(&error.place), ..error.clone() }
    }
}
