//! A walk through a tree that knows where it is and collects everything that is wrong.
//!
//! Missing and null are one thing here, as they are for the API server's decoder.

use std::fmt::Write;
use std::ops::Range;

use super::Problem;
use super::syntax::Strictness;
use super::tree::{Map, Node, Value};

/// Something wrong at a field.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) field: String,
    pub(super) line: Option<u64>,
    /// Bytes of the document; empty where they are not known.
    pub(super) span: Range<u32>,
    pub(super) problem: Problem,
}

/// The walk.
pub(super) struct Reader<'a> {
    pub(super) strictness: Strictness,
    steps: Vec<(Step<'a>, u64, Range<u32>)>,
    findings: Vec<Finding>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

static EMPTY: Map = Map(Vec::new());

impl<'a> Reader<'a> {
    /// A walk that starts at `root`.
    pub(super) fn new(strictness: Strictness) -> Self {
        Self { strictness, steps: Vec::new(), findings: Vec::new() }
    }

    /// What was found.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// Notes a problem with the value the walk is at.
    pub(super) fn report(&mut self, problem: Problem) {
        let (line, span) = self.steps.last().map_or((0, 0..0), |(_, line, span)| (*line, span.clone()));
        let line = (line > 0).then_some(line);
        self.findings.push(Finding { field: self.field_path(), line, span, problem });
    }

    /// Notes a problem with a field of the mapping the walk is at, which may not be there.
    pub(super) fn report_at(&mut self, key: &'a str, problem: Problem) {
        let (line, span) = self.steps.last().map_or((0, 0..0), |(_, line, span)| (*line, span.clone()));
        self.steps.push((Step::Key(key), line, span));
        self.report(problem);
        self.steps.pop();
    }

    /// Reads the field `key`, if it is there and not null.
    pub(super) fn field<T>(
        &mut self,
        map: &'a Map,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'a Node) -> T,
    ) -> Option<T> {
        let node = map.find(key).filter(|node| !matches!(node.value, Value::Null))?;
        Some(self.at(Step::Key(key), node, read))
    }

    /// Reads every item of the list `node`; those for which `read` has nothing are left out.
    pub(super) fn items<T>(
        &mut self,
        node: &'a Node,
        mut read: impl FnMut(&mut Self, &'a Node) -> Option<T>,
    ) -> Vec<T> {
        let Value::List(list) = &node.value else {
            self.report_type("a list", node);
            return Vec::new();
        };
        let items = list.iter().enumerate();
        items.filter_map(|(position, item)| self.at(Step::Index(position), item, &mut read)).collect()
    }

    /// The items under `key`; none if it is missing or null.
    pub(super) fn list<T>(
        &mut self,
        map: &'a Map,
        key: &'static str,
        read: impl FnMut(&mut Self, &'a Node) -> Option<T>,
    ) -> Vec<T> {
        self.field(map, key, |reader, node| reader.items(node, read)).unwrap_or_default()
    }

    /// `node` as a mapping; null is an empty one.
    pub(super) fn map(&mut self, node: &'a Node) -> Option<&'a Map> {
        match &node.value {
            Value::Map(map) => Some(map),
            Value::Null => Some(&EMPTY),
            _ => {
                self.report_type("a mapping", node);
                None
            }
        }
    }

    /// `node` as a string; null is the empty one.
    pub(super) fn text(&mut self, node: &'a Node) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) => Some(text),
            Value::Null => Some(""),
            _ => {
                self.report_type("a string", node);
                None
            }
        }
    }

    /// `node` as a boolean.
    pub(super) fn boolean(&mut self, node: &'a Node) -> Option<bool> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        self.report_type("true or false", node);
        None
    }

    /// Reports every field of `map` that is not among `known`. A misspelt field must not silently
    /// open or close anything.
    pub(super) fn only(&mut self, map: &'a Map, known: &'static [&'static str]) {
        for (key, node) in &map.0 {
            if !known.contains(&key.as_str()) {
                let similar = known.iter().copied().find(|name| is_similar(name, key));
                self.at(Step::Key(key), node, |reader, _| reader.report(Problem::UnknownField { similar }));
            }
        }
    }

    /// Reports that something else belongs at `node`, where the walk is.
    pub(super) fn report_type(&mut self, expected: &'static str, node: &Node) {
        self.report(Problem::Type { expected, found: node.value.describe() });
    }

    fn at<T>(&mut self, step: Step<'a>, node: &'a Node, read: impl FnOnce(&mut Self, &'a Node) -> T) -> T {
        self.steps.push((step, node.line, node.span.clone()));
        let value = read(self, node);
        self.steps.pop();
        value
    }

    fn field_path(&self) -> String {
        let mut path = String::new();
        for (step, ..) in &self.steps {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Step::Index(index) => {
                    // Writing to a string does not fail.
                    let _ = write!(path, "[{index}]");
                }
            }
        }
        path
    }
}

/// Whether `written` is `name` but for case, or up to two letters.
pub(crate) fn is_similar(name: &str, written: &str) -> bool {
    name.eq_ignore_ascii_case(written) || (written.len() > 2 && edits(name, written) <= 2)
}

/// Letters to insert, delete or replace to turn one into the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_similar() {
        assert!(is_similar("podSelector", "podSelecter"));
        assert!(is_similar("podSelector", "podselector"));
        assert!(is_similar("ingress", "ingres"));
        assert!(!is_similar("to", "ports"));
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
