//! Rules and policies as YAML, to be pasted.

use crate::model::{
    NamespaceScope, NetworkPolicy, Operator, Peer, Peers, PodPeer, PortMatch, PortSpec, Ports, Requirement,
    Rule, Selector,
};

/// Lines, each with how deep it is indented.
#[derive(Default)]
struct Lines(Vec<(usize, String)>);

/// One item of `ingress` or `egress`.
pub(super) fn rule(rule: &Rule, egress: bool) -> String {
    let mut lines = Lines::default();
    lines.rule(0, rule, egress);
    lines.text()
}

/// A whole manifest.
pub(super) fn policy(policy: &NetworkPolicy) -> String {
    let mut lines = Lines::default();
    lines.add(0, "apiVersion: networking.k8s.io/v1");
    lines.add(0, "kind: NetworkPolicy");
    lines.add(0, "metadata:");
    lines.add(1, &format!("name: {}", scalar(&policy.key.name)));
    lines.add(1, &format!("namespace: {}", scalar(&policy.key.namespace)));
    lines.add(0, "spec:");
    lines.selector(1, "podSelector", &policy.pod_selector);
    lines.add(1, "policyTypes:");
    for (name, egress) in [("Ingress", false), ("Egress", true)] {
        if policy.rules(egress).is_some() {
            lines.add(2, &format!("- {name}"));
        }
    }
    for (name, egress) in [("ingress", false), ("egress", true)] {
        let rules = policy.rules(egress).unwrap_or_default();
        if !rules.is_empty() {
            lines.add(1, &format!("{name}:"));
            for rule in rules {
                lines.rule(2, rule, egress);
            }
        }
    }
    lines.text()
}

impl Lines {
    fn add(&mut self, depth: usize, text: &str) {
        self.0.push((depth * 2, text.to_owned()));
    }

    /// Makes what was added since `from` an item of a list: its first line gets the dash.
    fn dash(&mut self, from: usize) {
        if let Some((indent, text)) = self.0.get_mut(from) {
            *indent -= 2;
            text.insert_str(0, "- ");
        }
    }

    fn rule(&mut self, depth: usize, rule: &Rule, egress: bool) {
        let from = self.0.len();
        if let Peers::AnyOf(peers) = &rule.peers {
            self.add(depth + 1, if egress { "to:" } else { "from:" });
            for peer in peers {
                self.peer(depth + 2, peer);
            }
        }
        if let Ports::AnyOf(ports) = &rule.ports {
            self.add(depth + 1, "ports:");
            for port in ports {
                self.port(depth + 2, port);
            }
        }
        if self.0.len() == from {
            self.add(depth + 1, "{}");
        }
        self.dash(from);
    }

    fn peer(&mut self, depth: usize, peer: &Peer) {
        let from = self.0.len();
        match peer {
            Peer::Pods(PodPeer { namespaces, pods }) => {
                if let NamespaceScope::Matching(selector) = namespaces {
                    self.selector(depth + 1, "namespaceSelector", selector);
                }
                if *namespaces == NamespaceScope::Own || *pods != Selector::everything() {
                    self.selector(depth + 1, "podSelector", pods);
                }
            }
            Peer::Block(block) => {
                self.add(depth + 1, "ipBlock:");
                self.add(depth + 2, &format!("cidr: {}", scalar(&block.cidr().to_string())));
                if !block.except().is_empty() {
                    self.add(depth + 2, "except:");
                    for net in block.except() {
                        self.add(depth + 3, &format!("- {}", scalar(&net.to_string())));
                    }
                }
            }
        }
        self.dash(from);
    }

    fn port(&mut self, depth: usize, spec: &PortSpec) {
        let from = self.0.len();
        self.add(depth + 1, &format!("protocol: {}", spec.protocol));
        match &spec.port {
            PortMatch::Every => {}
            PortMatch::Range { first, last } => {
                self.add(depth + 1, &format!("port: {first}"));
                if last != first {
                    self.add(depth + 1, &format!("endPort: {last}"));
                }
            }
            PortMatch::Named(name) => self.add(depth + 1, &format!("port: {}", scalar(name))),
        }
        self.dash(from);
    }

    fn selector(&mut self, depth: usize, key: &str, selector: &Selector) {
        if selector.requirements().is_empty() {
            return self.add(depth, &format!("{key}: {{}}"));
        }
        self.add(depth, &format!("{key}:"));
        let (equal, other): (Vec<_>, Vec<_>) = selector.requirements().iter().partition(
            |requirement| matches!(&requirement.operator, Operator::In(values) if values.len() == 1),
        );
        if !equal.is_empty() {
            self.add(depth + 1, "matchLabels:");
        }
        for Requirement { key, operator } in equal {
            if let Operator::In(values) = operator {
                let value = values.first().map_or("", String::as_str);
                self.add(depth + 2, &format!("{}: {}", scalar(key), scalar(value)));
            }
        }
        if !other.is_empty() {
            self.add(depth + 1, "matchExpressions:");
        }
        for Requirement { key, operator } in other {
            let (name, values) = match operator {
                Operator::In(values) => ("In", Some(values)),
                Operator::NotIn(values) => ("NotIn", Some(values)),
                Operator::Exists => ("Exists", None),
                Operator::DoesNotExist => ("DoesNotExist", None),
            };
            let values = values.map_or_else(String::new, |values| {
                let values: Vec<String> = values.iter().map(|value| scalar(value)).collect();
                format!(", values: [{}]", values.join(", "))
            });
            self.add(depth + 2, &format!("- {{key: {}, operator: {name}{values}}}", scalar(key)));
        }
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (indent, line) in self.0 {
            text.push_str(&format!("{:indent$}{line}\n", ""));
        }
        text
    }
}

/// In quotes, unless every reader takes it for the string it is.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "null", "nan"];
    let is_plain = text.len() > 1
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    // A CIDR cannot be taken for a number.
    let is_cidr = text.parse::<ipnet::Ipv4Net>().is_ok();
    if is_plain || is_cidr { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::source::{Object, Strictness, read_manifests};

    fn read(text: &str) -> NetworkPolicy {
        let mut reading = read_manifests(text, Path::new("policy"), Strictness::New);
        assert_eq!(reading.errors, [], "{text}");
        match reading.manifests.pop().map(|manifest| manifest.object) {
            Some(Object::NetworkPolicy(policy)) => Arc::unwrap_or_clone(policy),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_policy_is_read_as_it_was_written() {
        let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: 'yes', namespace: '1e3'}\n\
                    spec:\n  podSelector: {matchLabels: {a: 'true', b: ''}, matchExpressions: [{key: c, operator: In, \
                    values: ['1', y]}, {key: d, operator: NotIn, values: [x]}, {key: e, operator: Exists}]}\n  \
                    policyTypes: [Ingress, Egress]\n  ingress:\n  - {}\n  - from:\n    - podSelector: {}\n    \
                    - namespaceSelector: {}\n    - namespaceSelector: {matchLabels: {t: x}}\n      podSelector: \
                    {matchLabels: {app: z}}\n    ports:\n    - {}\n    - port: http\n      protocol: UDP\n    \
                    - {port: 1, endPort: 9, protocol: SCTP}\n  egress:\n  - to:\n    - ipBlock: {cidr: '::/0', except: \
                    ['fd00::/8']}\n    - ipBlock: {cidr: 10.0.0.0/8}\n";
        let once = read(text);
        assert_eq!(read(&policy(&once)), once);
    }
}
