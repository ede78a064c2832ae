//! Selectors, peers and ports in words.

use podgate_flowtable::IpProtocol;

use crate::model::{
    IpBlock, Labels, NAMESPACE_NAME_LABEL, NamespaceScope, Operator, Peer, Peers, PodPeer, PortMatch,
    PortSpec, Ports, Requirement, Selector,
};

/// `app=db, tier in (a, b)`; empty for the selector of everything.
pub(super) fn selector(selector: &Selector) -> String {
    let all: Vec<String> = selector.requirements().iter().map(requirement).collect();
    all.join(", ")
}

fn requirement(requirement: &Requirement) -> String {
    let key = &requirement.key;
    match &requirement.operator {
        Operator::In(values) if values.len() == 1 => format!("{key}={}", list(values)),
        Operator::In(values) => format!("{key} in ({})", list(values)),
        Operator::NotIn(values) => format!("{key} not in ({})", list(values)),
        Operator::Exists => format!("a label {key}"),
        Operator::DoesNotExist => format!("no label {key}"),
    }
}

/// `pods with app=db`.
pub(super) fn pods(selected: &Selector) -> String {
    match selector(selected) {
        words if words.is_empty() => "every pod".to_owned(),
        words => format!("pods with {words}"),
    }
}

/// `in namespace shop`, `in namespaces with team=web`; `own` is the policy's.
pub(super) fn scope(scope: &NamespaceScope, own: &str) -> String {
    match scope {
        NamespaceScope::Own => format!("in namespace {own}"),
        NamespaceScope::Matching(selected) => match name_of(selected) {
            Some(name) => format!("in namespace {name}"),
            None if selected.requirements().is_empty() => "in every namespace".to_owned(),
            None => format!("in namespaces with {}", selector(selected)),
        },
    }
}

/// The namespace that a selector asks for by name alone.
pub(super) fn name_of(selector: &Selector) -> Option<&str> {
    let [requirement] = selector.requirements() else { return None };
    match &requirement.operator {
        Operator::In(values) if values.len() == 1 && requirement.key == NAMESPACE_NAME_LABEL => {
            values.first().map(String::as_str)
        }
        _ => None,
    }
}

/// One item of `from` or `to`.
pub(super) fn peer(peer: &Peer, own: &str) -> String {
    match peer {
        Peer::Pods(peer) => pod_peer(peer, own),
        Peer::Block(block) => self::block(block),
    }
}

/// Pods by labels.
pub(super) fn pod_peer(peer: &PodPeer, own: &str) -> String {
    format!("{} {}", pods(&peer.pods), scope(&peer.namespaces, own))
}

/// `10.0.0.0/8 except 10.1.0.0/16`.
pub(super) fn block(block: &IpBlock) -> String {
    let except: Vec<String> = block.except().iter().map(ToString::to_string).collect();
    let except = if except.is_empty() { String::new() } else { format!(" except {}", except.join(", ")) };
    format!("{}{except}", block.cidr())
}

/// All of `from` or `to`.
pub(super) fn peers(peers: &Peers, own: &str) -> String {
    match peers {
        Peers::Any => "everyone".to_owned(),
        Peers::AnyOf(items) => items.iter().map(|item| peer(item, own)).collect::<Vec<_>>().join(", or "),
    }
}

/// All of `ports`.
pub(super) fn ports(ports: &Ports) -> String {
    match ports {
        Ports::Every => "every port".to_owned(),
        Ports::AnyOf(items) => items.iter().map(port).collect::<Vec<_>>().join(", "),
    }
}

/// One item of `ports`.
pub(super) fn port(spec: &PortSpec) -> String {
    let protocol = spec.protocol;
    match &spec.port {
        PortMatch::Every => format!("every {protocol} port"),
        PortMatch::Range { first, last } if first == last => format!("{first}/{protocol}"),
        PortMatch::Range { first, last } => format!("{first}-{last}/{protocol}"),
        PortMatch::Named(name) => format!("{name}/{protocol}"),
    }
}

/// A protocol's name, or its number.
pub(super) fn protocol(protocol: IpProtocol) -> String {
    match protocol {
        IpProtocol::TCP => "TCP".to_owned(),
        IpProtocol::UDP => "UDP".to_owned(),
        IpProtocol::SCTP => "SCTP".to_owned(),
        IpProtocol::ICMP => "ICMP".to_owned(),
        IpProtocol::ICMPV6 => "ICMPv6".to_owned(),
        other => format!("IP protocol {}", other.0),
    }
}

/// Why a selector does not match: the first requirement that `labels` do not meet. `whose` is
/// `pod x/a` or `namespace x`.
pub(super) fn mismatch(whose: &str, selector: &Selector, labels: &Labels) -> Option<String> {
    let requirement = selector.requirements().iter().find(|requirement| !requirement.matches(labels))?;
    let key = &requirement.key;
    let value = labels.get(key);
    Some(match (&requirement.operator, value) {
        (Operator::In(values), None) if values.len() == 1 => {
            format!("{whose} lacks label {key}={}", list(values))
        }
        (Operator::In(values), None) => format!("{whose} lacks label {key}, one of ({})", list(values)),
        (Operator::In(values), Some(value)) if values.len() == 1 => {
            format!("{whose} has {key}={value}, not {key}={}", list(values))
        }
        (Operator::In(values), Some(value)) => {
            format!("{whose} has {key}={value}, which is not in ({})", list(values))
        }
        (Operator::Exists, _) => format!("{whose} lacks label {key}"),
        (Operator::NotIn(_) | Operator::DoesNotExist, value) => {
            format!("{whose} has {key}={}, which is ruled out", value.map_or("", String::as_str))
        }
    })
}

/// `one`, `one and two`, `one, two and 3 more`.
pub(super) fn some<T: ToString>(items: &[T], what: &str) -> String {
    match items {
        [] => format!("no {what}"),
        [one] => one.to_string(),
        [one, two] => format!("{} and {}", one.to_string(), two.to_string()),
        [one, two, three] => format!("{}, {} and {}", one.to_string(), two.to_string(), three.to_string()),
        [one, two, rest @ ..] => format!("{}, {} and {} more", one.to_string(), two.to_string(), rest.len()),
    }
}

fn list(values: &std::collections::BTreeSet<String>) -> String {
    let quoted = |value: &String| if value.is_empty() { "\"\"".to_owned() } else { value.clone() };
    values.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector_of(operator: Operator) -> Selector {
        Selector::new(vec![Requirement { key: "k".to_owned(), operator }])
    }

    #[test]
    fn every_mismatch_is_told_and_no_match_is() {
        let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let labels = [Labels::new(), Labels::from([("k".to_owned(), "w".to_owned())])];
        let told = |operator: Operator| {
            labels.each_ref().map(|labels| mismatch("pod x/a", &selector_of(operator.clone()), labels))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told(Operator::In(set(&["v"]))),
            [some("pod x/a lacks label k=v"), some("pod x/a has k=w, not k=v")]
        );
        assert_eq!(
            told(Operator::In(set(&["u", "v"]))),
            [some("pod x/a lacks label k, one of (u, v)"), some("pod x/a has k=w, which is not in (u, v)")]
        );
        assert_eq!(told(Operator::Exists), [some("pod x/a lacks label k"), None]);
        assert_eq!(told(Operator::DoesNotExist), [None, some("pod x/a has k=w, which is ruled out")]);
        assert_eq!(told(Operator::NotIn(set(&["w"]))), [None, some("pod x/a has k=w, which is ruled out")]);
        assert_eq!(told(Operator::In(set(&["w"]))), [some("pod x/a lacks label k=w"), None]);
    }

    #[test]
    fn a_namespace_asked_for_by_name_is_called_by_it() {
        let by_name = Selector::new(vec![Requirement {
            key: NAMESPACE_NAME_LABEL.to_owned(),
            operator: Operator::In(["shop".to_owned()].into()),
        }]);
        let peer = PodPeer { namespaces: NamespaceScope::Matching(by_name), pods: Selector::everything() };
        assert_eq!(pod_peer(&peer, "x"), "every pod in namespace shop");
    }
}
