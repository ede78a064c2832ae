//! Objects as they are written, to be changed and written again.
//!
//! The model holds what policy asks for. Who changes one field of an object and puts it back must
//! keep the rest of it.

use serde_json::{Number, Value as JsonValue};

use super::document::documents;
use super::manifest::{implied_kind, is_known};
use super::tree::{self, Node, Value};

/// An object of a kind that podgate reads, as it is written.
#[derive(Clone, PartialEq, Debug)]
pub struct RawObject {
    /// Its kind.
    pub kind: String,
    /// Its namespace; none if its kind has none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// All of it.
    pub value: JsonValue,
}

impl RawObject {
    /// Of a kind, namespace, name and all the rest.
    pub fn of(value: JsonValue) -> Option<Self> {
        let text = |value: &JsonValue| value.as_str().map(str::to_owned);
        let (kind, name) = (text(&value["kind"])?, text(&value["metadata"]["name"])?);
        if !is_known(value["apiVersion"].as_str()?, &kind) {
            return None;
        }
        let namespace = (!is_cluster_wide(&kind))
            .then(|| text(&value["metadata"]["namespace"]).unwrap_or_else(|| "default".to_owned()));
        Some(Self { kind, namespace, name, value })
    }

    /// Kind and name, as they are shown: `Pod x/a`, `Namespace x`.
    pub fn title(&self) -> String {
        title(&self.kind, self.namespace.as_deref(), &self.name)
    }
}

/// `Kind namespace/name`, or `Kind name`.
pub(crate) fn title(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Whether objects of that kind are in no namespace.
pub(crate) fn is_cluster_wide(kind: &str) -> bool {
    matches!(kind, "Namespace" | "Node")
}

/// Every object in `text` of a kind that podgate reads, in order, items of lists included. What
/// cannot be parsed is left out: reading it as manifests tells what is wrong.
pub fn raw_objects(text: &str) -> Vec<RawObject> {
    let mut found = Vec::new();
    for document in documents(text) {
        if let Ok(root) = tree::parse(document.text) {
            collect(json(&root), None, &mut found);
        }
    }
    found
}

fn collect(mut value: JsonValue, implied: Option<(&str, &str)>, found: &mut Vec<RawObject>) {
    if let Some((api_version, kind)) = implied
        && let JsonValue::Object(map) = &mut value
        && !map.contains_key("kind")
    {
        map.insert("apiVersion".to_owned(), api_version.into());
        map.insert("kind".to_owned(), kind.into());
    }
    let list_of = value["kind"].as_str().and_then(|kind| kind.strip_suffix("List"));
    if let (Some(item_kind), Some(items)) = (list_of, value["items"].as_array()) {
        let implied = implied_kind(value["apiVersion"].as_str().unwrap_or_default(), item_kind);
        for item in items {
            collect(item.clone(), implied, found);
        }
        return;
    }
    found.extend(RawObject::of(value));
}

fn json(node: &Node) -> JsonValue {
    match &node.value {
        Value::Null => JsonValue::Null,
        Value::Bool(value) => JsonValue::Bool(*value),
        // A number too large for JSON's is too large for every field, too.
        Value::Int(value) => Number::from_i128(*value).map_or(JsonValue::Null, JsonValue::Number),
        Value::Float(value) => Number::from_f64(*value).map_or(JsonValue::Null, JsonValue::Number),
        Value::Text(text) => JsonValue::String(text.clone()),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => {
            JsonValue::Object(map.0.iter().map(|(key, node)| (key.clone(), json(node))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_an_object_is_kept_and_lists_are_taken_apart() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {x: 'y'}}\nspec: {any: [1, true, 1.5, null]}\n\
                    ---\napiVersion: apps/v1\nkind: DeploymentList\nitems: [{metadata: {name: d, namespace: n}}]\n\
                    ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\nnot: [yaml\n";
        let found = raw_objects(text);
        let titles: Vec<String> = found.iter().map(RawObject::title).collect();
        assert_eq!(titles, ["Pod default/a", "Deployment n/d"]);
        assert_eq!(found[0].value["spec"]["any"], serde_json::json!([1, true, 1.5, null]));
        assert_eq!(found[1].value["apiVersion"], "apps/v1");
    }
}
