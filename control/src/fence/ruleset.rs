//! The fence's table, as nft's JSON (libnftables-json(5)).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Plan, Port};

/// Ahead of everything that others have at these hooks (`NF_BR_PRI_NAT_DST_BRIDGED` is -300).
const PRIORITY: i32 = -400;
/// Ports that pass, by number and name.
pub(super) const OPEN: &str = "open";
/// Devices that pass, by name.
const EXCEPT: &str = "except";

/// Which end of a frame's way a chain looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// The device it came in by.
    In,
    /// The device it goes out by.
    Out,
}

impl Side {
    /// `iif` or `oif`, with what it is to say of the device.
    fn meta(self, what: &str) -> Value {
        let side = match self {
            Self::In => "i",
            Self::Out => "o",
        };
        json!({"meta": {"key": format!("{side}{what}")}})
    }
}

/// Everything: what is there of the table goes, and all of it comes, in one step.
pub(super) fn whole(plan: &Plan, open: &BTreeSet<Port>) -> Value {
    let commands: Vec<_> = plan.families().flat_map(|family| table(plan, family, open)).collect();
    json!({"nftables": commands})
}

/// The same, of one family.
pub(super) fn of_family(plan: &Plan, family: &str, open: &BTreeSet<Port>) -> Value {
    json!({"nftables": table(plan, family, open)})
}

fn table(plan: &Plan, family: &str, open: &BTreeSet<Port>) -> Vec<Value> {
    let mut commands = without(family, &plan.table).to_vec();
    commands.push(json!({"add": {"table": {"family": family, "name": plan.table}}}));
    commands.extend(sets(plan, family));
    commands.extend(elements("add", plan, family, &open.iter().collect::<Vec<_>>()));
    commands.extend(match family {
        "bridge" => bridge_chains(plan, family),
        "inet" => chains_of_node(plan, family, ["prerouting", "postrouting"]),
        _ => chains_of_node(plan, family, ["input", "output"]),
    });
    commands
}

/// That nothing of the table is there.
pub(super) fn removal(family: &str, table: &str) -> Value {
    json!({"nftables": without(family, table)})
}

/// Other ports pass than did.
pub(super) fn exchange(plan: &Plan, gone: &[&Port], new: &[&Port]) -> Value {
    let mut commands = Vec::new();
    for family in plan.families() {
        commands.extend(elements("delete", plan, family, gone));
        commands.extend(elements("add", plan, family, new));
    }
    json!({"nftables": commands})
}

/// Deleting what may not be there is an error; adding what may be there is none.
fn without(family: &str, table: &str) -> [Value; 2] {
    let table = json!({"table": {"family": family, "name": table}});
    [json!({"add": table}), json!({"delete": table})]
}

fn sets(plan: &Plan, family: &str) -> [Value; 2] {
    let open = json!({
        "family": family, "table": plan.table, "name": OPEN, "type": ["iface_index", "ifname"],
    });
    let mut except = json!({"family": family, "table": plan.table, "name": EXCEPT, "type": "ifname"});
    if !plan.except.is_empty() {
        except["elem"] = json!(plan.except);
    }
    [json!({"add": {"set": open}}), json!({"add": {"set": except}})]
}

fn elements(verb: &str, plan: &Plan, family: &str, ports: &[&Port]) -> Option<Value> {
    let elements: Vec<_> = ports.iter().map(|port| json!({"concat": [port.ifindex, port.name]})).collect();
    let element = json!({"family": family, "table": plan.table, "name": OPEN, "elem": elements});
    (!ports.is_empty()).then(|| json!({verb: {"element": element}}))
}

/// That a frame is for one of the addresses that bridges keep to themselves (IEEE 802.1D, 01-80-C2-00-00-0x).
fn is_kept() -> Value {
    json!({"match": {
        "op": "==",
        "left": {"&": [{"payload": {"protocol": "ether", "field": "daddr"}}, "ff:ff:ff:ff:ff:f0"]},
        "right": "01:80:c2:00:00:00",
    }})
}

/// The bridge's own hooks. Every frame that a port takes in passes `prerouting`, but for those to the addresses that
/// bridges keep to themselves, which go to `input` at once, or past the bridge (net/bridge/br_input.c,
/// `br_handle_frame`); every frame that leaves by a port passes `postrouting`.
fn bridge_chains(plan: &Plan, family: &str) -> Vec<Value> {
    [
        ("from_ports", "prerouting", Side::In, None),
        ("from_ports_to_bridge", "input", Side::In, Some(is_kept())),
        ("to_ports", "postrouting", Side::Out, None),
    ]
    .into_iter()
    .flat_map(|(name, hook, side, first)| {
        let asked = plan.bridged.as_ref().filter(|bridged| bridged.kernel_tells_bridges);
        let asked = asked.map(|bridged| equal(&side.meta("brname"), &bridged.bridge));
        let conditions = first.into_iter().chain(asked).collect();
        chain(plan, family, name, hook, side, conditions)
    })
    .collect()
}

/// The node's own hooks. Frames of a bridge's ports come here from the bridge, not from a veth, but for those that it
/// hands to the node as the port's own: to 01-80-C2-00-00-0E (LLDP), and with STP to 01-80-C2-00-00-00.
fn chains_of_node(plan: &Plan, family: &str, [incoming, outgoing]: [&str; 2]) -> Vec<Value> {
    let past = plan.bridged.iter().map(|_| ("from_ports_past_bridge", incoming, Side::In, is_kept()));
    let routed = plan.routed.iter().flat_map(|names| {
        let named = |side: Side| equal(&side.meta("ifname"), names);
        [
            ("from_ports", incoming, Side::In, named(Side::In)),
            ("to_ports", outgoing, Side::Out, named(Side::Out)),
        ]
    });
    past.chain(routed)
        .flat_map(|(name, hook, side, condition)| chain(plan, family, name, hook, side, vec![condition]))
        .collect()
}

fn chain(
    plan: &Plan,
    family: &str,
    name: &str,
    hook: &str,
    side: Side,
    conditions: Vec<Value>,
) -> [Value; 2] {
    let chain = json!({
        "family": family, "table": plan.table, "name": name, "type": "filter", "hook": hook,
        "prio": PRIORITY, "policy": "accept",
    });
    let mut expr = conditions;
    expr.push(equal(&side.meta("ifkind"), "veth"));
    expr.push(differs(&key(side), OPEN));
    expr.push(differs(&side.meta("ifname"), EXCEPT));
    expr.push(json!({"counter": null}));
    expr.push(json!({"drop": null}));
    let rule = json!({"family": family, "table": plan.table, "chain": name, "expr": expr});
    [json!({"add": {"chain": chain}}), json!({"add": {"rule": rule}})]
}

/// A device by number and name.
fn key(side: Side) -> Value {
    json!({"concat": [side.meta("if"), side.meta("ifname")]})
}

fn equal(left: &Value, right: &str) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn differs(left: &Value, set: &str) -> Value {
    json!({"match": {"op": "!=", "left": left, "right": format!("@{set}")}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::Bridged;

    fn plan(kernel_tells_bridges: bool) -> Plan {
        let bridged = Some(Bridged { bridge: "cni0".into(), kernel_tells_bridges });
        Plan { table: "podgate_a-1".into(), bridged, routed: None, except: vec!["out0".into()] }
    }

    fn commands<'a>(ruleset: &'a Value, kind: &str) -> Vec<&'a Value> {
        let all = ruleset["nftables"].as_array().expect("commands");
        all.iter().map(|command| &command["add"][kind]).filter(|object| !object.is_null()).collect()
    }

    #[test]
    fn the_table_goes_and_comes_in_one_transaction() {
        let open = BTreeSet::from([Port { ifindex: 7, name: "veth7".into() }]);
        let all = whole(&plan(false), &open);
        let table = json!({"table": {"family": "bridge", "name": "podgate_a-1"}});
        let first = &all["nftables"].as_array().expect("commands")[..3];
        assert_eq!(first, [json!({"add": table}), json!({"delete": table}), json!({"add": table})]);
        assert_eq!(commands(&all, "set")[1]["elem"], json!(["out0"]));
        assert_eq!(commands(&all, "element")[0]["elem"], json!([{"concat": [7, "veth7"]}]));
        let hooks: Vec<_> =
            commands(&all, "chain").iter().map(|chain| (&chain["hook"], &chain["policy"])).collect();
        let accept = json!("accept");
        let expected = ["prerouting", "input", "postrouting", "prerouting", "input"].map(|hook| json!(hook));
        assert_eq!(hooks, expected.each_ref().map(|hook| (hook, &accept)));
        assert_eq!(commands(&whole(&plan(false), &BTreeSet::new()), "element"), [&json!(null); 0]);
    }

    /// No kernel without `CONFIG_NFT_BRIDGE_META` takes these: this holds them where the live tests cannot.
    #[test]
    fn where_the_kernel_tells_bridges_only_ports_of_the_one_are_closed() {
        let asks = |ruleset: &Value, key: &str| {
            let asked = json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": "cni0"}});
            let rules = commands(ruleset, "rule");
            let that_ask: Vec<_> = rules
                .into_iter()
                .filter(|rule| rule["expr"].as_array().expect("a rule").contains(&asked))
                .map(|rule| rule["chain"].as_str().expect("a name").to_owned())
                .collect();
            that_ask
        };
        let all = whole(&plan(true), &BTreeSet::new());
        assert_eq!(asks(&all, "ibrname"), ["from_ports", "from_ports_to_bridge"]);
        assert_eq!(asks(&all, "obrname"), ["to_ports"]);
        let all = whole(&plan(false), &BTreeSet::new());
        assert!(asks(&all, "ibrname").is_empty() && asks(&all, "obrname").is_empty());
    }

    #[test]
    fn routed_devices_are_closed_by_name_to_ip_and_arp() {
        let plan = Plan { bridged: None, routed: Some("veth*".into()), ..plan(false) };
        let all = whole(&plan, &BTreeSet::from([Port { ifindex: 7, name: "veth7".into() }]));
        let chains: Vec<_> = commands(&all, "chain")
            .iter()
            .map(|chain| (chain["family"].as_str(), chain["hook"].as_str()))
            .collect();
        let expected = [("inet", "prerouting"), ("inet", "postrouting"), ("arp", "input"), ("arp", "output")];
        assert_eq!(chains, expected.map(|(family, hook)| (Some(family), Some(hook))));
        assert_eq!(commands(&all, "element").len(), 2);
        for (rule, key) in commands(&all, "rule").iter().zip(["iifname", "oifname", "iifname", "oifname"]) {
            let named = json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": "veth*"}});
            assert!(rule["expr"].as_array().expect("a rule").contains(&named), "{rule}");
        }
    }

    #[test]
    fn an_exchange_names_only_what_differs() {
        let port = |ifindex: u32| Port { ifindex, name: format!("veth{ifindex}") };
        let (gone, new) = (port(7), port(9));
        let element = |family: &str, port: &Port| {
            json!({"element": {
                "family": family, "table": "podgate_a-1", "name": "open",
                "elem": [{"concat": [port.ifindex, port.name]}],
            }})
        };
        let commands = ["bridge", "inet", "arp"]
            .map(|family| [json!({"delete": element(family, &gone)}), json!({"add": element(family, &new)})]);
        let expected = json!({"nftables": commands.concat()});
        assert_eq!(exchange(&plan(false), &[&gone], &[&new]), expected);
    }
}
