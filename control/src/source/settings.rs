//! A configuration file: names and values, one level deep, and where each stands.

use std::ops::Range;
use std::path::Path;

use super::tree::{self, Node, Value};
use super::{Place, Problem, SourceError};

/// One name and what is written under it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    pub(crate) key: String,
    /// One text for a scalar, one an item for a list; `name=text` an entry for a mapping.
    pub(crate) values: Vec<Written>,
    pub(crate) form: Form,
    spot: Spot,
}

/// One text, as the command line would have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    pub(crate) text: String,
    spot: Spot,
}

/// How it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Scalar,
    List,
    Mapping,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Spot {
    line: u64,
    span: Range<u32>,
}

impl Spot {
    fn of(node: &Node) -> Self {
        Self { line: node.line, span: node.span.clone() }
    }

    fn error(&self, file: &Path, field: &str, problem: Problem) -> SourceError {
        let line = (self.line > 0).then_some(self.line);
        let span = self.span.start as usize..self.span.end as usize;
        SourceError {
            place: Place { file: file.into(), document: None, line },
            object: None,
            field: field.into(),
            problem,
            span: Some(span).filter(|span| !span.is_empty()),
        }
    }
}

impl Setting {
    /// The line of `file`, from 1.
    pub(crate) const fn line(&self) -> u64 {
        self.spot.line
    }

    /// That something is wrong with it as a whole.
    pub(crate) fn error(&self, file: &Path, problem: Problem) -> SourceError {
        self.spot.error(file, &self.key, problem)
    }

    /// That something is wrong with one of its values.
    pub(crate) fn value_error(&self, file: &Path, value: &Written, problem: Problem) -> SourceError {
        value.spot.error(file, &self.key, problem)
    }
}

/// Everything that `text` sets; `file` is only named. An empty text sets nothing.
pub(crate) fn settings(text: &str, file: &Path) -> Result<Vec<Setting>, Vec<SourceError>> {
    let nowhere = Spot { line: 0, span: 0..0 };
    let root = tree::parse(text).map_err(|error| {
        let at = error.at.and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
        let spot = Spot { line: error.line.unwrap_or(0), span: at..at };
        vec![spot.error(file, "", Problem::Syntax { reason: error.reason })]
    })?;
    let map = match &root.value {
        Value::Null => return Ok(Vec::new()),
        Value::Map(map) => map,
        other => {
            let problem = Problem::Type { expected: "a mapping of options", found: other.describe() };
            return Err(vec![nowhere.error(file, "", problem)]);
        }
    };
    let (mut settings, mut errors) = (Vec::new(), Vec::new());
    for (key, node) in &map.0 {
        match setting(key, node) {
            Ok(setting) => settings.push(setting),
            Err((spot, problem)) => errors.push(spot.error(file, key, problem)),
        }
    }
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

fn setting(key: &str, node: &Node) -> Result<Setting, (Spot, Problem)> {
    let (values, form) = match &node.value {
        Value::List(items) => (items.iter().map(scalar).collect::<Result<_, _>>()?, Form::List),
        Value::Map(entries) => {
            let written = entries.0.iter().map(|(name, node)| {
                let Written { text, spot } = scalar(node)?;
                Ok(Written { text: format!("{name}={text}"), spot })
            });
            (written.collect::<Result<_, _>>()?, Form::Mapping)
        }
        _ => (vec![scalar(node)?], Form::Scalar),
    };
    Ok(Setting { key: key.into(), values, form, spot: Spot::of(node) })
}

fn scalar(node: &Node) -> Result<Written, (Spot, Problem)> {
    let text = match &node.value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(text) => text.clone(),
        other => {
            let problem = Problem::Type { expected: "one value", found: other.describe() };
            return Err((Spot::of(node), problem));
        }
    };
    Ok(Written { text, spot: Spot::of(node) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_the_command_line_would_have() {
        let text =
            "bridge: cni0\nworkers: 2\ncpus: [1, 2]\ntimeout:\n  icmp: 5s\n# no more\nworkloads: true\n";
        let found = settings(text, Path::new("c.yaml")).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|setting| {
                let texts: Vec<&str> = setting.values.iter().map(|value| value.text.as_str()).collect();
                (setting.key.as_str(), texts.join(" "), setting.form, setting.line())
            })
            .collect();
        let expected = [
            ("bridge", "cni0", Form::Scalar, 1),
            ("workers", "2", Form::Scalar, 2),
            ("cpus", "1 2", Form::List, 3),
            ("timeout", "icmp=5s", Form::Mapping, 5),
            ("workloads", "true", Form::Scalar, 7),
        ]
        .map(|(key, texts, form, line)| (key, texts.to_owned(), form, line));
        assert_eq!(told, expected);
        assert_eq!(settings("# nothing\n", Path::new("c.yaml")), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_setting_is_told_with_its_place() {
        let told = |text: &str| {
            let errors = settings(text, Path::new("c.yaml")).unwrap_err();
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert!(
            told("- a\n").contains("c.yaml: expected a mapping of options, found a list"),
            "{}",
            told("- a\n")
        );
        let nested = told("a: 1\nb: [[1]]\nc:\nd: {e: {f: 1}}\n");
        for line in ["c.yaml:2: b: expected one value", "c.yaml:3: c: ", "c.yaml:4: d: expected one value"] {
            assert!(nested.contains(line), "{line}: {nested}");
        }
        assert!(told("a: 1\na: 2\n").contains("c.yaml:2"), "{}", told("a: 1\na: 2\n"));
        assert!(told("a: [\n").contains("not valid YAML"));
    }
}
