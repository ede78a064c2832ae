//! NetworkPolicy from a tree, judged as the API server does (validation of
//! `networking.k8s.io/v1`, `ValidateNetworkPolicySpec`), in its order.

use super::Problem;
use super::object::{OBJECT, labels, metadata, port_number, protocol};
use super::reader::Reader;
use super::syntax;
use super::tree::{Map, Node, Value};
use crate::model::{
    IpBlock, Labels, NamespaceScope, NetworkPolicy, ObjectKey, Operator, Peer, Peers, PodPeer, PolicyTypes,
    PortMatch, PortSpec, Ports, Protocol, Requirement, Rule, Selector,
};

/// Reads a NetworkPolicy.
pub(super) fn network_policy<'a>(reader: &mut Reader<'a>, object: &'a Map) -> Option<NetworkPolicy> {
    reader.only(object, OBJECT);
    let metadata = metadata(reader, object, syntax::subdomain);
    let mut pod_selector = Selector::everything();
    let (mut ingress, mut egress) = (Vec::new(), Vec::new());
    let mut types = None;
    reader.field(object, "spec", |reader, node| {
        let Some(spec) = reader.map(node) else { return };
        reader.only(spec, &["podSelector", "policyTypes", "ingress", "egress"]);
        pod_selector = reader.field(spec, "podSelector", selector).unwrap_or_default();
        ingress = reader.list(spec, "ingress", |reader, node| rule(reader, node, false));
        egress = reader.list(spec, "egress", |reader, node| rule(reader, node, true));
        types = reader.field(spec, "policyTypes", policy_types).flatten();
    });
    // Missing or empty: ingress always, egress iff there is a rule for it (defaults.go).
    let types = types.unwrap_or(PolicyTypes { ingress: true, egress: !egress.is_empty() });
    let metadata = metadata?;
    let key = ObjectKey::new(metadata.namespace, metadata.name);
    Some(NetworkPolicy { key, pod_selector, types, ingress, egress })
}

/// Reads `policyTypes`; `None` if it is empty.
fn policy_types<'a>(reader: &mut Reader<'a>, node: &'a Node) -> Option<PolicyTypes> {
    if let Value::List(list) = &node.value
        && list.len() > 2
    {
        let names: Vec<_> = list.iter().map(|item| shown(&item.value)).collect();
        let value = format!("[{}]", names.join(", "));
        let detail = "may not specify more than two policyTypes";
        reader.report(Problem::Invalid { value, detail, remedy: None });
        return None;
    }
    let mut types = PolicyTypes { ingress: false, egress: false };
    let count = reader.items(node, |reader, node| {
        match reader.text(node)? {
            "Ingress" => types.ingress = true,
            "Egress" => types.egress = true,
            other => {
                let supported = &["Ingress", "Egress"];
                reader.report(Problem::Unsupported { value: format!("{other:?}"), supported });
            }
        }
        Some(())
    });
    (!count.is_empty()).then_some(types)
}

/// Reads one rule. Null is the empty rule, which allows everything.
fn rule<'a>(reader: &mut Reader<'a>, node: &'a Node, egress: bool) -> Option<Rule> {
    let rule = reader.map(node)?;
    let (peers_key, known): (_, &'static [&'static str]) =
        if egress { ("to", &["to", "ports"]) } else { ("from", &["from", "ports"]) };
    reader.only(rule, known);
    let ports = reader.list(rule, "ports", port_spec);
    let peers = reader.list(rule, peers_key, peer);
    // An item that could not be read is an error of the whole source, so an empty list here is
    // one that was written empty.
    Some(Rule {
        peers: if peers.is_empty() { Peers::Any } else { Peers::AnyOf(peers) },
        ports: if ports.is_empty() { Ports::Every } else { Ports::AnyOf(ports) },
    })
}

/// Reads one item of `ports`. Null is the empty item: every TCP port.
fn port_spec<'a>(reader: &mut Reader<'a>, node: &'a Node) -> Option<PortSpec> {
    let item = reader.map(node)?;
    reader.only(item, &["protocol", "port", "endPort"]);
    let protocol = reader.field(item, "protocol", protocol).unwrap_or(Some(Protocol::Tcp));
    let port = reader.field(item, "port", port);
    let end = item.find("endPort").filter(|node| !matches!(node.value, Value::Null));
    let port = match (port, end) {
        (None, None) => Some(PortMatch::Every),
        (None, Some(end)) => {
            refuse_end(reader, item, end, "may not be specified when `port` is not specified");
            None
        }
        (Some(port), None) => port,
        (Some(Some(PortMatch::Range { first, .. })), Some(end)) => {
            let last = reader.field(item, "endPort", port_number).flatten()?;
            if last < first {
                refuse_end(reader, item, end, "must be greater than or equal to `port`");
            }
            Some(PortMatch::Range { first, last: last.max(first) })
        }
        (Some(port), Some(end)) => {
            if matches!(item.find("port").map(|node| &node.value), Some(Value::Text(_))) {
                refuse_end(reader, item, end, "may not be specified when `port` is non-numeric");
            }
            port
        }
    };
    Some(PortSpec { protocol: protocol?, port: port? })
}

fn refuse_end<'a>(reader: &mut Reader<'a>, item: &'a Map, end: &Node, detail: &'static str) {
    let value = shown(&end.value);
    reader
        .field(item, "endPort", |reader, _| reader.report(Problem::Invalid { value, detail, remedy: None }));
}

/// Reads `port`: a number, or the name of a port. A number in quotes is a name, and no valid one.
fn port<'a>(reader: &mut Reader<'a>, node: &'a Node) -> Option<PortMatch> {
    match &node.value {
        Value::Int(_) => {
            let first = port_number(reader, node)?;
            Some(PortMatch::Range { first, last: first })
        }
        Value::Text(name) => {
            let wrong = syntax::port_name(name);
            let remedy = name
                .parse::<u16>()
                .ok()
                .map(|number| format!("write {number} without quotes for the number"));
            for detail in &wrong {
                let remedy = remedy.clone();
                reader.report(Problem::Invalid { value: format!("{name:?}"), detail, remedy });
            }
            wrong.is_empty().then(|| PortMatch::Named(name.clone()))
        }
        _ => {
            reader.report_type("a number or the name of a port", node);
            None
        }
    }
}

/// Reads one item of `from` or `to`. An empty one is refused: it would be the one place where
/// nothing means nothing.
fn peer<'a>(reader: &mut Reader<'a>, node: &'a Node) -> Option<Peer> {
    let item = reader.map(node)?;
    reader.only(item, &["podSelector", "namespaceSelector", "ipBlock"]);
    let pods = reader.field(item, "podSelector", selector);
    let namespaces = reader.field(item, "namespaceSelector", selector);
    let block = reader.field(item, "ipBlock", ip_block);
    match (pods, namespaces, block) {
        (None, None, None) => {
            reader.report(Problem::Required { detail: "must specify a peer" });
            None
        }
        (None, None, Some(block)) => block.map(Peer::Block),
        (_, _, Some(_)) => {
            reader.report(Problem::Forbidden { detail: "may not specify both ipBlock and another peer" });
            None
        }
        (pods, namespaces, None) => Some(Peer::Pods(PodPeer {
            namespaces: namespaces.map_or(NamespaceScope::Own, NamespaceScope::Matching),
            pods: pods.unwrap_or_default(),
        })),
    }
}

/// Reads `ipBlock`.
fn ip_block<'a>(reader: &mut Reader<'a>, node: &'a Node) -> Option<IpBlock> {
    let block = reader.map(node)?;
    reader.only(block, &["cidr", "except"]);
    let whole =
        block.find("cidr").is_some_and(|node| !matches!(&node.value, Value::Text(text) if text.is_empty()));
    let outer = if whole { reader.field(block, "cidr", cidr) } else { None };
    if outer.is_none() {
        reader.report_at("cidr", Problem::Required { detail: "must be specified" });
    }
    let except = reader.list(block, "except", |reader, node| {
        let except = cidr(reader, node)?;
        let outer = outer.flatten()?;
        if IpBlock::new(outer, &[except]).is_err() {
            let detail = "must be a strict subset of `cidr`";
            reader.report(Problem::Invalid { value: shown(&node.value), detail, remedy: None });
            return None;
        }
        Some(except)
    });
    IpBlock::new(outer??, &except).ok()
}

fn cidr<'a>(reader: &mut Reader<'a>, node: &'a Node) -> Option<ipnet::IpNet> {
    let text = reader.text(node)?;
    match syntax::cidr(text, reader.strictness) {
        Ok(net) => Some(net),
        Err(syntax::BadSyntax { detail, remedy }) => {
            reader.report(Problem::Invalid { value: format!("{text:?}"), detail, remedy });
            None
        }
    }
}

/// Reads a label selector.
pub(super) fn selector<'a>(reader: &mut Reader<'a>, node: &'a Node) -> Selector {
    let Some(map) = reader.map(node) else { return Selector::everything() };
    reader.only(map, &["matchLabels", "matchExpressions"]);
    let equal: Labels = reader.field(map, "matchLabels", labels).unwrap_or_default();
    let mut requirements = reader.list(map, "matchExpressions", requirement);
    requirements.extend(
        equal.into_iter().map(|(key, value)| Requirement { key, operator: Operator::In([value].into()) }),
    );
    Selector::new(requirements)
}

/// Reads one item of `matchExpressions`.
fn requirement<'a>(reader: &mut Reader<'a>, node: &'a Node) -> Option<Requirement> {
    let item = reader.map(node)?;
    reader.only(item, &["key", "operator", "values"]);
    let operator = reader.field(item, "operator", Reader::text).flatten().unwrap_or_default();
    let values = reader
        .list(item, "values", |reader, node| super::object::checked_text(reader, node, syntax::label_value));
    let given =
        item.find("values").is_some_and(|node| matches!(&node.value, Value::List(list) if !list.is_empty()));
    let operator = match (operator, given) {
        ("In", true) => Some(Operator::In(values.into_iter().collect())),
        ("NotIn", true) => Some(Operator::NotIn(values.into_iter().collect())),
        ("In" | "NotIn", false) => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            reader.report_at("values", Problem::Required { detail });
            None
        }
        ("Exists", false) => Some(Operator::Exists),
        ("DoesNotExist", false) => Some(Operator::DoesNotExist),
        ("Exists" | "DoesNotExist", true) => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            reader.report_at("values", Problem::Forbidden { detail });
            None
        }
        (other, _) => {
            let value = format!("{other:?}");
            let remedy = Some("write In, NotIn, Exists or DoesNotExist".to_owned());
            let detail = "not a valid selector operator";
            reader.report_at("operator", Problem::Invalid { value, detail, remedy });
            None
        }
    };
    let key = reader
        .field(item, "key", |reader, node| super::object::checked_text(reader, node, syntax::label_key));
    if key.is_none() {
        reader.report_at("key", Problem::Required { detail: "must be specified" });
    }
    Some(Requirement { key: key??, operator: operator? })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Int(number) => number.to_string(),
        other => other.describe(),
    }
}
