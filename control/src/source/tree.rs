//! One YAML document as values with their lines.
//!
//! Manifests are read into this tree first and into the model second: so every finding can name
//! its line, and one document can have several.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    /// From 1, in the document's text; 0 where it is not known.
    pub(super) line: u64,
    /// Bytes of the document's text, from its key, if it has one, to the end of what is in it;
    /// empty where it is not known. The closing bracket of a flow collection is not in it.
    pub(super) span: Range<u32>,
}

/// A value of YAML's core schema.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// A mapping, in the order it was written; keys are distinct.
#[derive(Debug, Clone, Default)]
pub(super) struct Map(pub(super) Vec<(String, Node)>);

/// A text that is not YAML.
pub(super) struct SyntaxError {
    /// In the text.
    pub(super) line: Option<u64>,
    /// The byte.
    pub(super) at: Option<usize>,
    pub(super) reason: String,
}

/// The one document in `text`.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! {
        // YAML 1.2: only true and false are booleans; a label value `y` or `no` is a string.
        strict_booleans: true,
        // Comments are of no use here, and many of them in a row would exhaust their budget.
        emit_comments: false,
        with_snippet: false,
        // A list of all pods of a large cluster is one document. Aliases keep their own limits.
        budget: serde_saphyr::budget! {
            max_events: 100_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 1 << 30,
        },
    };
    serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| {
        let location = error.location().filter(|location| location.line() > 0);
        let reason = error.without_snippet().to_string();
        // Lines count from the start of the document there; the place says it better.
        let reason = match reason.rsplit_once(" at line ") {
            Some((reason, place)) if place.contains(", column ") => reason.to_owned(),
            _ => reason,
        };
        SyntaxError {
            line: location.map(|location| location.line()),
            at: location.and_then(|location| usize::try_from(location.span().byte_offset()?).ok()),
            reason,
        }
    })
}

impl Node {
    /// As a mapping, if it is one.
    pub(super) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// As a string, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is the empty string.
    pub(super) fn is_empty_text(&self) -> bool {
        matches!(&self.value, Value::Text(text) if text.is_empty())
    }

    /// What it holds, if it is a collection.
    pub(super) fn children(&self) -> impl Iterator<Item = &Self> {
        let (list, map): (&[Self], &[(String, Self)]) = match &self.value {
            Value::List(list) => (list, &[]),
            Value::Map(map) => (&[], &map.0),
            _ => (&[], &[]),
        };
        list.iter().chain(map.iter().map(|(_, node)| node))
    }
}

/// The bytes at a location.
fn bytes(location: Location) -> Range<u32> {
    let span = location.span();
    let start = span.byte_offset().and_then(|offset| u32::try_from(offset).ok());
    let len = span.byte_len().and_then(|len| u32::try_from(len).ok());
    start.zip(len).map_or(0..0, |(start, len)| start..start.saturating_add(len))
}

impl Value {
    /// What it is, for a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Int(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(value) => format!("the string {value:?}"),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }
}

impl Map {
    /// The value under `key`.
    pub(super) fn find(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let span = bytes(spanned.referenced);
        let mut node = Self { line: spanned.referenced.line(), value: spanned.value, span };
        // What an alias stands for was written before it, and is no part of it.
        let inside = node.children().map(|child| &child.span).filter(|span| span.start >= node.span.start);
        node.span.end = inside.map(|span| span.end).max().unwrap_or(0).max(node.span.end);
        Ok(node)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::default();
        while let Some((key, mut node)) = entries.next_entry::<Spanned<String>, Node>()? {
            let key_span = bytes(key.referenced);
            if key_span.start <= node.span.start {
                node.span.start = key_span.start;
                node.span.end = node.span.end.max(key_span.end);
            }
            map.0.push((key.value, node));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str) -> Value {
        let node = parse(&format!("v: {text}")).map_err(|error| error.reason).unwrap();
        let Value::Map(map) = node.value else { panic!("{:?}", node.value) };
        map.find("v").unwrap().value.clone()
    }

    #[test]
    fn scalars_are_those_of_the_core_schema() {
        for text in ["y", "n", "yes", "no", "on", "off", "\"80\"", "12:30", "2024-01-01", "!!str 80", "Yes"] {
            assert!(matches!(scalar(text), Value::Text(_)), "{text}: {:?}", scalar(text));
        }
        for text in ["80", "-1", "0o17", "0x1f", "0"] {
            assert!(matches!(scalar(text), Value::Int(_)), "{text}: {:?}", scalar(text));
        }
        for text in ["true", "False", "TRUE"] {
            assert!(matches!(scalar(text), Value::Bool(_)), "{text}: {:?}", scalar(text));
        }
        for text in ["", "~", "null"] {
            assert!(matches!(scalar(text), Value::Null), "{text}: {:?}", scalar(text));
        }
    }

    #[test]
    fn lines_are_those_of_the_values_and_tabbed_json_is_read() {
        let node = parse("a: 1\ny:\n- b: 2\n").map_err(|error| error.reason).unwrap();
        let Value::Map(map) = node.value else { panic!() };
        assert_eq!(map.find("a").unwrap().line, 1);
        assert_eq!(map.find("y").unwrap().line, 3);
        assert!(parse("{\n\t\"a\": [\n\t\t1,\n\t\t{\"b\": \"\\u00e9\"}\n\t]\n}\n").is_ok());
        assert!(parse("a: 1\na: 2\n").is_err_and(|error| error.line == Some(2)));
        assert!(parse(&"# note\n".repeat(500)).is_ok());
    }

    #[test]
    fn a_span_goes_from_the_key_to_the_end_of_what_is_in_it() {
        let text = "é: 1\na:\n  - b: \"2\" # two\n    c: &x\n      d: e\n  - *x\nf: {g: h}\n";
        let node = parse(text).map_err(|error| error.reason).unwrap();
        let shown = |node: &Node| text[node.span.start as usize..node.span.end as usize].to_owned();
        let children: Vec<String> = node.children().map(shown).collect();
        assert_eq!(children, ["é: 1", "a:\n  - b: \"2\" # two\n    c: &x\n      d: e\n  - *x", "f: {g: h"]);
        let items: Vec<String> = node.children().nth(1).unwrap().children().map(shown).collect();
        assert_eq!(items, ["b: \"2\" # two\n    c: &x\n      d: e", "*x"]);
    }
}
