//! What nft says is there.

use std::collections::BTreeSet;

use nix::net::if_::if_nametoindex;
use serde_json::Value;

use super::Port;
use super::ruleset::OPEN;

/// Tables as they were found.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Found {
    /// Chains, rules and sets without what is only theirs as found: handles, counts, elements.
    rules: Vec<Value>,
    /// What the sets of open ports hold, one a family.
    open: Vec<Vec<Element>>,
    /// Frames dropped, by chain.
    dropped: Vec<(String, u64)>,
}

/// A port as nft names it: a number as the name of the device that has it now, if one has.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Element {
    index: String,
    name: String,
}

impl Found {
    /// Adds a table, as `nft -j list table` writes it.
    pub(super) fn add(&mut self, listed: &str) -> Result<(), String> {
        let listed: Value = serde_json::from_str(listed).map_err(|error| error.to_string())?;
        let objects = listed["nftables"].as_array().ok_or("it lists nothing")?;
        for object in objects {
            let Some((kind, object)) = object.as_object().and_then(|object| object.iter().next()) else {
                return Err(format!("it lists {object}"));
            };
            match kind.as_str() {
                "metainfo" => {}
                "set" if object["name"] == OPEN => {
                    let elements = object["elem"].as_array().map(Vec::as_slice).unwrap_or_default();
                    let elements = elements.iter().map(|element| Element::read(element).ok_or(element));
                    let elements = elements.collect::<Result<_, _>>();
                    self.open.push(elements.map_err(|other| format!("a set of ports has {other}"))?);
                    self.keep(kind, object, &["handle", "elem"]);
                }
                "rule" => {
                    let chain = object["chain"].as_str().unwrap_or_default();
                    self.dropped.push((chain.to_owned(), counted(object)));
                    self.keep(kind, object, &["handle"]);
                }
                _ => self.keep(kind, object, &["handle"]),
            }
        }
        Ok(())
    }

    fn keep(&mut self, kind: &str, object: &Value, without: &[&str]) {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.retain(|field, _| !without.contains(&field.as_str()));
        }
        for expression in object["expr"].as_array_mut().into_iter().flatten() {
            if let Some(counter) = expression.get_mut("counter") {
                *counter = Value::Null;
            }
        }
        self.rules.push(serde_json::json!({kind: object}));
    }

    /// Whether the rules are `rules`' and let exactly these ports pass.
    pub(super) fn is_as(&self, rules: &Self, open: &BTreeSet<Port>) -> bool {
        let is_open = |elements: &Vec<Element>| {
            elements.len() == open.len()
                && open.iter().all(|port| elements.iter().any(|element| element.is(port)))
        };
        self.rules == rules.rules && self.open.iter().all(is_open)
    }

    /// Frames dropped by the chains whose name begins so.
    pub(super) fn dropped(&self, chain: &str) -> u64 {
        self.dropped.iter().filter(|(name, _)| name.starts_with(chain)).map(|(_, count)| count).sum()
    }
}

impl Element {
    fn read(element: &Value) -> Option<Self> {
        let [index, name] = element["concat"].as_array()?.as_slice() else { return None };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(Self { index: text(index), name: text(name) })
    }

    fn is(&self, port: &Port) -> bool {
        // Of a device whose name is a number, nft says the name.
        let has_number = self.index.parse() == Ok(port.ifindex)
            || if_nametoindex(self.index.as_str()).is_ok_and(|index| index == port.ifindex)
            // Between nft's look and ours it has gone or was renamed; an event tells.
            || self.index == port.name;
        has_number && self.name == port.name
    }
}

fn counted(rule: &Value) -> u64 {
    let expressions = rule["expr"].as_array().into_iter().flatten();
    expressions.filter_map(|expression| expression["counter"]["packets"].as_u64()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = r#"{"nftables": [
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "bridge", "name": "podgate_x", "handle": 1}},
        {"set": {"family": "bridge", "name": "open", "table": "podgate_x", "type": ["iface_index", "ifname"],
            "handle": 5, "elem": [{"concat": ["nosuch0", "nosuch0"]}, {"concat": ["70007", "veth7"]}]}},
        {"chain": {"family": "bridge", "table": "podgate_x", "name": "from_ports", "handle": 1}},
        {"rule": {"family": "bridge", "table": "podgate_x", "chain": "from_ports", "handle": 7,
            "expr": [{"counter": {"packets": 3, "bytes": 90}}, {"drop": null}]}},
        {"rule": {"family": "bridge", "table": "podgate_x", "chain": "from_ports_to_bridge", "handle": 8,
            "expr": [{"counter": {"packets": 2, "bytes": 90}}, {"drop": null}]}}
    ]}"#;

    fn found(listed: &str) -> Found {
        let mut found = Found::default();
        found.add(listed).expect("a table");
        found
    }

    fn ports() -> BTreeSet<Port> {
        let port = |ifindex, name: &str| Port { ifindex, name: name.into() };
        BTreeSet::from([port(70_006, "nosuch0"), port(70_007, "veth7")])
    }

    #[test]
    fn counts_and_handles_are_not_rules() {
        let before = found(LISTED);
        assert_eq!((before.dropped("from_ports"), before.dropped("to_ports")), (5, 0));
        let later = found(
            &LISTED.replace("\"packets\": 3", "\"packets\": 4").replace("\"handle\": 7", "\"handle\": 9"),
        );
        assert!(later.is_as(&before, &ports()));
        assert!(!found(&LISTED.replace("{\"drop\": null}", "{\"accept\": null}")).is_as(&before, &ports()));
    }

    #[test]
    fn other_ports_are_other_ports() {
        let before = found(LISTED);
        assert!(before.is_as(&before, &ports()));
        for (from, to) in [
            ("{\"concat\": [\"70007\", \"veth7\"]}", "{\"concat\": [\"70008\", \"veth7\"]}"),
            ("\"veth7\"", "\"veth8\""),
            (", {\"concat\": [\"70007\", \"veth7\"]}", ""),
        ] {
            assert!(!found(&LISTED.replace(from, to)).is_as(&before, &ports()), "{from} {to}");
        }
        let mut told = Found::default();
        assert!(told.add(&LISTED.replace("{\"concat\": [\"70007\", \"veth7\"]}", "\"veth7\"")).is_err());
    }
}
