//! Findings that are meant to be: `# podgate: ignore PG014 because ...` beside or above what is
//! meant, or the annotation `podgate/ignore: PG014` on the object.

use std::ops::Range;

use super::super::{Spot, Survey};
use super::{Checked, Code, Finding, Level};
use crate::source::{Origin, SourceText};

const MARK: &str = "podgate: ignore";
const ANNOTATION: &str = "podgate/ignore";

/// A comment that suppresses.
struct Comment<'a> {
    text: &'a SourceText,
    /// Bytes of the comment.
    span: Range<usize>,
    /// Bytes that it covers.
    covers: Range<usize>,
    code: String,
    used: bool,
}

/// Takes out what is suppressed, and finds suppressions without a use.
pub(super) fn apply(survey: &Survey, checked: &mut Checked) {
    let mut comments: Vec<Comment<'_>> =
        survey.traced.texts().iter().flat_map(|text| comments(survey, text)).collect();
    let before = checked.findings.len();
    checked.findings.retain(|finding| {
        let mut is_suppressed = annotated(survey, finding);
        for comment in comments.iter_mut().filter(|comment| comment.suppresses(finding)) {
            comment.used = true;
            is_suppressed = true;
        }
        !is_suppressed
    });
    checked.suppressed = before - checked.findings.len();
    let needless = comments.iter().filter(|comment| !comment.used);
    checked.findings.extend(needless.map(Comment::needless));
}

fn annotated(survey: &Survey, finding: &Finding) -> bool {
    let origin = finding.object.as_ref().and_then(|title| survey.traced.origin(title));
    let codes = origin.and_then(|(_, origin)| origin.annotations.get(ANNOTATION));
    codes.is_some_and(|codes| self::codes(codes).any(|code| code == finding.code.id()))
}

impl Comment<'_> {
    fn suppresses(&self, finding: &Finding) -> bool {
        let spot = finding.spot.as_ref().filter(|spot| spot.file == self.text.file);
        self.code == finding.code.id() && spot.is_some_and(|spot| self.covers.contains(&spot.span.start))
    }

    fn needless(&self) -> Finding {
        let code = Code::NEEDLESS_SUPPRESSION;
        let (message, help) = match Code::from_id(&self.code) {
            Some(_) => (
                format!("{} is not found here: this comment suppresses nothing", self.code),
                "remove it, or put it right above or beside what is meant",
            ),
            None => (format!("no finding is called {}", self.code), "see docs/check.md for those there are"),
        };
        Finding {
            code,
            name: code.name(),
            level: Level::Info,
            message,
            help: help.to_owned(),
            object: None,
            spot: Some(Spot::new(self.text, "", self.span.clone())),
        }
    }
}

/// The codes at the start of a text, before any word that is none.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split([',', ' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    words.map(|word| word.trim_end_matches(':')).take_while(|word| word.starts_with("PG"))
}

/// Every suppression in a file.
fn comments<'a>(survey: &Survey, text: &'a SourceText) -> Vec<Comment<'a>> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.text.split_inclusive('\n') {
        if let Some((start, list)) = mark(line) {
            let span = at + start..at + line.trim_end().len();
            let covers = covers(survey, text, at..at + line.len(), start);
            for code in codes(list) {
                let (span, covers, code) = (span.clone(), covers.clone(), code.to_owned());
                found.push(Comment { text, span, covers, code, used: false });
            }
        }
        at += line.len();
    }
    found
}

/// Where the comment starts in a line, and what follows its mark.
fn mark(line: &str) -> Option<(usize, &str)> {
    let at = line.find(MARK)?;
    let before = line[..at].trim_end_matches(' ');
    let start = before.trim_end_matches('#').len();
    let is_comment = start < before.len() && (start == 0 || before[..start].ends_with([' ', '\t']));
    is_comment.then_some((start, &line[at + MARK.len()..]))
}

/// What a comment covers: beside a field, the field with all that is in it; on a line of its own,
/// the field that follows; at the head of a document, all of it.
fn covers(survey: &Survey, text: &SourceText, line: Range<usize>, comment: usize) -> Range<usize> {
    let source = &text.text;
    let is_alone = source[line.start..line.start + comment].trim().is_empty();
    let target = if is_alone { next_written(source, line.end) } else { line };
    let mut documents = survey.traced.origins(text).map(Origin::document);
    if is_alone
        && let Some(document) = documents.find(|document| document.contains(&target.start))
        && next_written(source, document.start).start == target.start
    {
        return document;
    }
    let fields = survey.traced.origins(text).flat_map(Origin::fields);
    let starting = fields.filter(|field| target.contains(&field.start));
    let end = starting.map(|field| field.end).max().unwrap_or(target.end);
    target.start..end.max(target.end)
}

/// The first line from `at` on that is more than a comment or the start of a document.
fn next_written(source: &str, mut at: usize) -> Range<usize> {
    for line in source[at..].split_inclusive('\n') {
        let text = line.trim();
        if !text.is_empty() && !text.starts_with('#') && text != "---" {
            return at..at + line.len();
        }
        at += line.len();
    }
    at..at
}
