//! What a namespace looks like, to compare before and after.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::foreign::{Hook, chain};
use crate::node::BRIDGE;
use crate::{Space, wait_until};

/// How long the kernel may take to bring up a port that was just plugged in.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// Devices, bridge, queueing, filters, programs and rules of a namespace: what somebody set up, not
/// what was counted or learned.
#[derive(Clone, PartialEq, Debug)]
pub struct Footprint(BTreeMap<String, Value>);

impl Footprint {
    /// Takes it.
    #[track_caller]
    pub fn of(space: &Space) -> Self {
        wait_until("ports have come up", SETTLES_WITHIN, || ports_are_up(space));
        let mut found = BTreeMap::new();
        for line in [
            "ip -d -j link",
            "ip -d -j addr",
            "ip -d -j route",
            "ip -d -j -6 route",
            "ip -j rule",
            "tc -j qdisc",
            "bridge -d -j link",
            "bridge -d -j vlan",
            "bridge -j fdb show state permanent",
            "bpftool -j net",
        ] {
            // A kernel without bridge VLANs says so, before and after.
            let text = space.try_sh(line).stdout;
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            found.insert(line.to_owned(), settled(value));
        }
        found.insert("nft list ruleset".into(), Value::String(space.sh("nft list ruleset")));
        let links = space.sh("ip -o link");
        for name in links.lines().filter_map(|line| line.split(": ").nth(1)) {
            let name = name.split('@').next().unwrap_or(name);
            for hook in [Hook::Ingress, Hook::Egress] {
                let programs: Vec<Value> = chain(space, name, hook).into_iter().map(Value::String).collect();
                found.insert(format!("tcx {hook:?} of {name}"), Value::Array(programs));
            }
            for filters in ["ingress", "egress"] {
                let line = format!("tc filter show dev {name} {filters}");
                let text = space.try_sh(&line).stdout;
                found.insert(line, Value::String(text));
            }
        }
        Self(found)
    }

    /// Panics with what differs.
    #[track_caller]
    pub fn assert_same(&self, after: &Self) {
        let mut differences = Vec::new();
        for line in self.0.keys().chain(after.0.keys().filter(|key| !self.0.contains_key(*key))) {
            let nothing = Value::Null;
            let (before, now) = (self.0.get(line).unwrap_or(&nothing), after.0.get(line).unwrap_or(&nothing));
            compare(line, before, now, &mut differences);
        }
        assert!(differences.is_empty(), "the namespace is not as it was:\n{}", differences.join("\n"));
    }
}

/// Whether the bridge and its ports are up, with the link-local addresses that they then get.
fn ports_are_up(space: &Space) -> bool {
    let text = space.sh("ip -j addr");
    let devices: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut ports = devices
        .as_array()
        .into_iter()
        .flatten()
        .filter(|device| device["master"].is_string() || device["ifname"] == BRIDGE);
    ports.all(|port| {
        let addresses = port["addr_info"].as_array();
        port["operstate"] == "UP" && addresses.is_some_and(|addresses| !addresses.is_empty())
    })
}

/// Notes where two values differ, as deep inside as can be said.
fn compare(place: &str, before: &Value, now: &Value, differences: &mut Vec<String>) {
    match (before, now) {
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() => {
            for (index, (before, now)) in before.iter().zip(now).enumerate() {
                compare(&format!("{place}[{index}]"), before, now, differences);
            }
        }
        (Value::Object(before), Value::Object(now)) if before.keys().eq(now.keys()) => {
            for (key, before) in before {
                compare(&format!("{place}.{key}"), before, &now[key], differences);
            }
        }
        _ if before == now => {}
        _ => differences.push(format!("{place}\n  before: {before}\n  after:  {now}")),
    }
}

/// Without what counts or runs by itself.
fn settled(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(settled).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(key, _)| {
                    let runs = key.ends_with("_timer") || key.contains("stats") || key.contains("life_time");
                    // Duplicate address detection ends by itself.
                    !runs && key != "tentative"
                })
                .map(|(key, field)| (key, settled(field)))
                .collect(),
        ),
        other => other,
    }
}
