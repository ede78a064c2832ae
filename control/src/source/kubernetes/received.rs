//! An object as it comes from the API server.

use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::super::tree::{Map, Node, Value};
use crate::model::ObjectKey;

/// An object as it comes: of any kind, and whatever is in it, so that one that nobody understands does
/// not keep the others from being read.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Name, namespace, uid and resource version; no more of it is needed.
    pub(super) meta: ObjectMeta,
    /// All of it.
    pub(super) tree: Node,
}

impl Received {
    /// Out of JSON.
    pub(super) fn of(mut value: Json) -> Self {
        if let Some(metadata) = value.get_mut("metadata").and_then(Json::as_object_mut) {
            // A third of a pod, and nothing that is ever read.
            metadata.remove("managedFields");
        }
        let text =
            |key: &str| value["metadata"][key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Self { meta, tree: tree(value) }
    }

    /// What names it among those of its kind; the namespace is empty where the kind has none. `None`
    /// for what has no name.
    pub(super) fn key(&self) -> Option<ObjectKey> {
        let namespace = self.meta.namespace.as_deref().unwrap_or_default();
        Some(ObjectKey::new(namespace, self.meta.name.as_deref()?))
    }

    /// Its resource version as a number, to tell older from newer. Nothing is told where it is no
    /// number.
    pub(super) fn version(&self) -> Option<u64> {
        self.meta.resource_version.as_deref()?.parse().ok()
    }
}

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(Json::deserialize(deserializer)?))
    }
}

/// The same as what manifests are read into; without lines.
pub(super) fn tree(value: Json) -> Node {
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(real)) => Value::Float(real),
            (None, None) => Value::Null,
        },
        Json::String(text) => Value::Text(text),
        Json::Array(items) => Value::List(items.into_iter().map(tree).collect()),
        Json::Object(map) => {
            Value::Map(Map(map.into_iter().map(|(key, value)| (key, tree(value))).collect()))
        }
    };
    Node { value, line: 0, span: 0..0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_with_a_name_is_an_object() {
        let text = r#"{"metadata": {"name": "a", "namespace": "x", "uid": "u", "resourceVersion": "7",
                       "creationTimestamp": 5, "managedFields": [{}]}, "spec": [1, 1.5, null, {"b": true}]}"#;
        let received: Received = serde_json::from_str(text).unwrap();
        assert_eq!(received.key(), Some(ObjectKey::new("x", "a")));
        assert_eq!((received.version(), received.meta.uid.as_deref()), (Some(7), Some("u")));
        let metadata = received.tree.as_map().unwrap().find("metadata").unwrap().as_map().unwrap();
        assert!(metadata.find("managedFields").is_none());
        for odd in ["7", "null", "[]", r#"{"metadata": {"name": ""}}"#, r#"{"metadata": 3}"#] {
            assert_eq!(serde_json::from_str::<Received>(odd).unwrap().key(), None, "{odd}");
        }
    }
}
