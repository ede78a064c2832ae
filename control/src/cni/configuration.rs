//! The network configuration that a runtime writes to standard input.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::environment::is_identifier;
use super::{CniError, Code, PreviousResult, Settings, Version};

/// A network configuration with what the runtime has added.
#[derive(Debug)]
pub struct Configuration {
    /// `cniVersion`.
    pub version: Version,
    /// `name`: the network's.
    pub network: String,
    /// Our own fields.
    pub settings: Settings,
    /// `prevResult`: what the plugin before us made.
    pub previous: Option<PreviousResult>,
    /// `cni.dev/valid-attachments`: container and interface of each that is not to be forgotten.
    pub valid: Option<Vec<(String, String)>>,
}

/// The fields whose text matters.
#[derive(serde::Deserialize)]
struct Raw {
    #[serde(rename = "prevResult")]
    previous: Option<Box<RawValue>>,
}

/// The name that libcni 1.2.0 had for it, and the one of the specification.
const VALID: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

impl Configuration {
    /// From standard input.
    pub fn from_text(text: &str) -> Result<Self, CniError> {
        let fields = fields(text)?;
        let version = version(&fields)?;
        let network = fields.get("name").and_then(Value::as_str).unwrap_or_default();
        if !is_identifier(network) {
            let value = fields.get("name").unwrap_or(&Value::Null);
            return Err(wrong(&format!(
                "field \"name\" is {value}: give the network a name of letters, digits, '_', '.' and '-'"
            )));
        }
        let settings =
            Settings::from_fields(&fields).map_err(|bad| wrong(&format!("network {network}: {bad}")))?;
        let raw: Raw = serde_json::from_str(text).map_err(|error| undecodable(&error))?;
        let previous = raw.previous.map(PreviousResult::from_raw).transpose().map_err(|bad| wrong(&bad))?;
        let valid = VALID.iter().find_map(|name| Some((*name, fields.get(*name)?)));
        let valid = valid.map(|(name, value)| {
            attachments(value).ok_or_else(|| {
                wrong(&format!(
                    "field {name:?}: every entry has to have \"containerID\" and \"ifname\" as texts"
                ))
            })
        });
        Ok(Self { version, network: network.to_owned(), settings, previous, valid: valid.transpose()? })
    }
}

/// The version that `text` is of, or the newest where that cannot be told: for errors.
pub(super) fn version_of(text: &str) -> Version {
    fields(text).and_then(|fields| version(&fields)).unwrap_or(Version::NEWEST)
}

fn fields(text: &str) -> Result<Map<String, Value>, CniError> {
    serde_json::from_str(text).map_err(|error| undecodable(&error))
}

fn version(fields: &Map<String, Value>) -> Result<Version, CniError> {
    match fields.get("cniVersion") {
        None => Version::from_field(None),
        Some(Value::String(version)) => Version::from_field(Some(version)),
        Some(other) => Err(wrong(&format!("field \"cniVersion\" is {other}: give a text, as \"1.0.0\""))),
    }
}

/// Null is what an empty list of Go is written as.
fn attachments(value: &Value) -> Option<Vec<(String, String)>> {
    let text = |entry: &Value, name: &str| Some(entry.get(name)?.as_str()?.to_owned());
    match value {
        Value::Null => Some(Vec::new()),
        _ => value
            .as_array()?
            .iter()
            .map(|entry| Some((text(entry, "containerID")?, text(entry, "ifname")?)))
            .collect(),
    }
}

fn wrong(problem: &str) -> CniError {
    CniError::new(Code::Configuration, format!("network configuration (standard input): {problem}"))
}

fn undecodable(error: &serde_json::Error) -> CniError {
    CniError::new(
        Code::Decoding,
        format!("network configuration (standard input): {error}; it has to be a JSON object"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runtimes_write_is_read() {
        let text = r#"{"cniVersion": "1.1.0", "name": "cbr0", "type": "podgate-cni", "mode": "open",
            "runtimeConfig": {"x": 1}, "cni.dev/attachments": [],
            "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0", "more": 1}],
            "prevResult": {"cniVersion": "1.1.0", "ips": []}}"#;
        let read = Configuration::from_text(text).unwrap();
        assert_eq!((read.version, read.network.as_str()), (Version::V1_1_0, "cbr0"));
        assert_eq!(read.settings.mode, crate::cni::Mode::Open);
        assert_eq!(read.valid, Some(vec![("a".into(), "eth0".into())]));
        assert!(read.previous.is_some());
        let null = r#"{"cniVersion": "1.1.0", "name": "n", "cni.dev/valid-attachments": null}"#;
        assert_eq!(Configuration::from_text(null).unwrap().valid, Some(Vec::new()));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (text, code, said) in [
            ("", Code::Decoding, "EOF"),
            ("[]", Code::Decoding, "a map"),
            (r#"{"name": "n"}"#, Code::IncompatibleVersion, "\"0.1.0\""),
            (r#"{"cniVersion": "2.0.0", "name": "n"}"#, Code::IncompatibleVersion, "1.1.0"),
            (r#"{"cniVersion": 1, "name": "n"}"#, Code::Configuration, "\"cniVersion\" is 1"),
            (r#"{"cniVersion": "1.0.0"}"#, Code::Configuration, "\"name\" is null"),
            (r#"{"cniVersion": "1.0.0", "name": "a b"}"#, Code::Configuration, "\"name\" is \"a b\""),
            (
                r#"{"cniVersion": "1.0.0", "name": "n", "mode": 1}"#,
                Code::Configuration,
                "network n: field \"mode\"",
            ),
            (
                r#"{"cniVersion": "1.1.0", "name": "n", "cni.dev/valid-attachments": [{"ifname": "x"}]}"#,
                Code::Configuration,
                "containerID",
            ),
            (r#"{"cniVersion": "1.0.0", "name": "n", "prevResult": []}"#, Code::Configuration, "prevResult"),
        ] {
            let error = Configuration::from_text(text).unwrap_err();
            assert_eq!(error.code, code, "{text}");
            assert!(error.message.contains(said), "{text}: {error}");
        }
    }
}
