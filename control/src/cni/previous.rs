//! The result of the plugin before ours: read a little, handed on as it is.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Version;

/// `prevResult`.
#[derive(Debug)]
pub struct PreviousResult {
    raw: Box<RawValue>,
    fields: Fields,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    cni_version: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    interfaces: Vec<Interface>,
    #[serde(default, deserialize_with = "null_is_empty")]
    ips: Vec<Ip>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    name: String,
    sandbox: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Ip {
    #[serde(deserialize_with = "with_prefix")]
    address: IpNet,
    interface: Option<usize>,
}

/// An empty list of Go may be written as null.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(from).map(Option::unwrap_or_default)
}

fn with_prefix<'de, D: serde::Deserializer<'de>>(from: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is no address with the length of its prefix (\"10.0.0.5/24\")"
        ))
    })
}

impl PreviousResult {
    /// From the configuration's field. The error is a sentence.
    pub(super) fn from_raw(raw: Box<RawValue>) -> Result<Self, String> {
        // What is a sequence to serde is no object of the specification.
        let fields = if raw.get().starts_with('{') {
            serde_json::from_str(raw.get()).map_err(|error| error.to_string())
        } else {
            Err("it has to be an object".to_owned())
        };
        match fields {
            Ok(fields) => Ok(Self { raw, fields }),
            Err(error) => Err(format!("field \"prevResult\" is no result of a plugin: {error}")),
        }
    }

    /// The addresses of that interface of the container: those that name it, or none.
    pub fn addresses(&self, interface: &str) -> Vec<IpAddr> {
        let is_its = |ip: &&Ip| {
            let named = ip.interface.and_then(|index| self.fields.interfaces.get(index));
            named.is_none_or(|named| named.name == interface)
        };
        self.fields.ips.iter().filter(is_its).map(|ip| ip.address.addr()).collect()
    }

    /// The devices that it names outside of the container, for messages.
    pub fn host_devices(&self) -> Vec<&str> {
        let outside = |interface: &&Interface| interface.sandbox.as_deref().is_none_or(str::is_empty);
        self.fields.interfaces.iter().filter(outside).map(|interface| interface.name.as_str()).collect()
    }

    /// As it is handed on: letter by letter, if it is of that version, as runtimes see to.
    pub(super) fn in_version(&self, version: Version) -> String {
        if self.fields.cni_version.as_deref() == Some(version.name()) {
            return self.raw.get().to_owned();
        }
        let Ok(mut result) = serde_json::from_str::<Value>(self.raw.get()) else {
            return self.raw.get().to_owned();
        };
        result["cniVersion"] = version.name().into();
        // Before 1.0.0, every address says its family.
        for ip in result.get_mut("ips").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(ip) = ip.as_object_mut() else { continue };
            if version >= Version::V1_0_0 {
                ip.remove("version");
            } else if let Some(address) = ip.get("address").and_then(Value::as_str) {
                let family = if address.contains(':') { "6" } else { "4" };
                ip.insert("version".into(), family.into());
            }
        }
        result.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PreviousResult, String> {
        PreviousResult::from_raw(RawValue::from_string(text.into()).unwrap())
    }

    /// As the plugin `bridge` writes it.
    const BRIDGE: &str = r#"{ "cniVersion": "0.4.0", "interfaces": [ {"name": "cni0", "mac": "02:00:00:00:00:01"},
        {"name": "veth1", "mac": "02:00:00:00:00:02"},
        {"name": "eth0", "mac": "02:00:00:00:00:03", "sandbox": "/run/netns/x"} ],
        "ips": [ {"version": "4", "interface": 2, "address": "10.1.0.5/24", "gateway": "10.1.0.1"},
        {"version": "6", "interface": 2, "address": "fd00::5/64"},
        {"version": "4", "interface": 0, "address": "10.1.0.1/24"}, {"version": "4", "address": "10.9.0.1/32"} ],
        "dns": {}, "made-up": 1.50 }"#;

    #[test]
    fn addresses_of_the_interface_are_found() {
        let result = read(BRIDGE).unwrap();
        let addresses = result.addresses("eth0").iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addresses, ["10.1.0.5", "fd00::5", "10.9.0.1"]);
        assert_eq!(result.host_devices(), ["cni0", "veth1"]);
        for empty in ["{}", r#"{"ips": null, "interfaces": null}"#] {
            assert!(read(empty).unwrap().addresses("eth0").is_empty());
        }
    }

    #[test]
    fn it_is_handed_on_as_it_is() {
        assert_eq!(read(BRIDGE).unwrap().in_version(Version::V0_4_0), BRIDGE);
    }

    #[test]
    fn of_another_version_it_is_put_in_that_one() {
        let newer: Value = serde_json::from_str(&read(BRIDGE).unwrap().in_version(Version::V1_0_0)).unwrap();
        let mut expected: Value = serde_json::from_str(BRIDGE).unwrap();
        expected["cniVersion"] = "1.0.0".into();
        for ip in expected["ips"].as_array_mut().unwrap() {
            ip.as_object_mut().unwrap().remove("version");
        }
        assert_eq!(newer, expected);
        let back = read(&newer.to_string()).unwrap().in_version(Version::V0_4_0);
        assert_eq!(
            serde_json::from_str::<Value>(&back).unwrap(),
            serde_json::from_str::<Value>(BRIDGE).unwrap()
        );
        let unsaid = read(r#"{"ips": []}"#).unwrap().in_version(Version::V0_3_1);
        assert_eq!(unsaid, r#"{"cniVersion":"0.3.1","ips":[]}"#);
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for text in
            ["[]", "1", r#"{"ips": [{"address": "10.1.0.5"}]}"#, r#"{"ips": {}}"#, r#"{"interfaces": [{}]}"#]
        {
            let problem = read(text).unwrap_err();
            assert!(problem.contains("\"prevResult\""), "{text}: {problem}");
        }
    }
}
