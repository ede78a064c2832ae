//! Findings as a compiler prints them: what is wrong, the YAML with the place marked, and help.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::Spot;
use crate::source::{SourceError, SourceText};

/// How text may look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Whether it may be coloured.
    pub colours: bool,
    /// How wide lines may be, in columns.
    pub width: usize,
}

/// Longer marks are cut: the rest adds nothing.
const MAX_LINES: usize = 6;

/// One thing to tell.
pub(super) struct Report<'a> {
    /// How bad it is.
    pub(super) level: Level<'static>,
    /// What it is called.
    pub(super) code: Option<&'a str>,
    /// What is wrong.
    pub(super) title: String,
    /// Where.
    pub(super) place: Option<(&'a SourceText, Range<usize>)>,
    /// What to do.
    pub(super) help: &'a str,
}

impl Report<'_> {
    /// As text.
    pub(super) fn render(&self, look: Look) -> String {
        let mut title = self.level.clone().primary_title(self.title.as_str());
        if let Some(code) = self.code {
            title = title.id(code);
        }
        let mut group = Group::with_title(title);
        if let Some((text, span)) = &self.place {
            let excerpt = Excerpt::of(&text.text, span);
            let file = text.file.display().to_string();
            let snippet = Snippet::source(excerpt.text)
                .line_start(excerpt.first_line)
                .path(file)
                .annotation(AnnotationKind::Primary.span(excerpt.span));
            group = group.element(snippet);
        }
        if !self.help.is_empty() {
            group = group.element(Level::HELP.message(self.help));
        }
        let renderer = if look.colours { Renderer::styled() } else { Renderer::plain() };
        renderer.term_width(look.width).render(&[group]) + "\n"
    }
}

/// The lines that are shown, without carriage returns.
struct Excerpt {
    text: String,
    first_line: usize,
    /// In `text`.
    span: Range<usize>,
}

impl Excerpt {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let lines = text[start..span.end].split_inclusive('\n').take(MAX_LINES);
        let shown = start + lines.map(str::len).sum::<usize>();
        let end = text[..shown].trim_end().len().max(span.start);
        let line_end = text[end..].find('\n').map_or(text.len(), |newline| end + newline);
        let len = |to: usize| to - start - text[start..to].matches('\r').count();
        Self {
            text: text[start..line_end].replace('\r', ""),
            first_line: text[..start].matches('\n').count() + 1,
            span: len(span.start)..len(end),
        }
    }
}

/// A mistake in the input.
pub fn mistake(error: &SourceError, texts: &[SourceText], look: Look) -> String {
    let text = texts.iter().find(|text| text.file == error.place.file);
    let place = text.zip(error.place.line).map(|(text, line)| (text, span(error, text, line)));
    let mut title = String::new();
    for part in error.object.iter().chain(Some(&error.field).filter(|field| !field.is_empty())) {
        title.push_str(&format!("{part}: "));
    }
    title.push_str(&error.problem.to_string());
    if place.is_none() {
        title = format!("{}: {title}", error.place);
    }
    let help = error.problem.remedy();
    Report { level: Level::ERROR, code: Some("PG000"), title, place, help: &help }.render(look)
}

/// What is wrong with a text, as closely as is known.
fn span(error: &SourceError, text: &SourceText, line: u64) -> Range<usize> {
    let known = error.span.clone().filter(|span| !span.is_empty() && text.text.get(span.clone()).is_some());
    known.unwrap_or_else(|| line_span(&text.text, line))
}

/// Where something wrong stands.
pub(super) fn mistake_spot(error: &SourceError, texts: &[SourceText]) -> Option<Spot> {
    let text = texts.iter().find(|text| text.file == error.place.file)?;
    Some(Spot::new(text, &error.field, span(error, text, error.place.line?)))
}

/// What stands on a line, without indentation and comment.
pub(super) fn line_span(text: &str, line: u64) -> Range<usize> {
    let line = usize::try_from(line).unwrap_or(usize::MAX).max(1);
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let written = text[start..].lines().next().unwrap_or("");
    let indent = written.len() - written.trim_start().len();
    let end = written.find(" #").unwrap_or(written.len());
    let end = written[..end].trim_end().len();
    start + indent.min(end)..start + end
}

/// The place of a finding in the texts that were read.
pub(super) fn place<'a>(texts: &'a [SourceText], spot: &Spot) -> Option<(&'a SourceText, Range<usize>)> {
    texts.iter().find(|text| text.file == spot.file).map(|text| (text, spot.span.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_mark_is_cut_and_a_short_one_is_not() {
        let text = "a: 1\nb:\n  - 1\n  - 2\n  - 3\n  - 4\n  - 5\n  - 6\nc: 1\n";
        let excerpt = Excerpt::of(text, &(5..text.find("\nc").unwrap()));
        assert_eq!(excerpt.text, "b:\n  - 1\n  - 2\n  - 3\n  - 4\n  - 5");
        assert_eq!((excerpt.first_line, excerpt.span), (2, 0..excerpt.text.len()));
        let windows = Excerpt::of("a: 1\r\nb:\r\n  c: 1\r\n", &(6..16));
        assert_eq!((windows.text.as_str(), windows.span), ("b:\n  c: 1", 0..9));
        let excerpt = Excerpt::of(text, &(3..4));
        assert_eq!((excerpt.text.as_str(), excerpt.first_line, excerpt.span), ("a: 1", 1, 3..4));
        assert_eq!(&text[line_span(text, 3)], "- 1");
        assert_eq!(line_span(text, 99), text.len()..text.len());
    }
}
