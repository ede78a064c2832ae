//! Why a rule does not match.

use serde::Serialize;

use super::super::{Spot, words};
use super::port::policy_protocol;
use super::{Case, End, PortQuery};
use crate::model::{
    NamespaceScope, NetworkPolicy, Peer, Peers, PodPeer, PortMatch, PortSpec, Ports, Protocol, Rule,
};

/// A policy that isolates an end, and what each of its rules says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PolicyReport {
    /// `namespace/name`.
    pub policy: String,
    /// File and line.
    pub spot: Option<Spot>,
    /// Its rules in this direction.
    pub rules: Vec<RuleReport>,
}

/// What a rule says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleReport {
    /// `ingress[0]`.
    pub rule: String,
    /// File and line.
    pub spot: Option<Spot>,
    /// Why it does not match; nothing if it does.
    pub misses: Vec<Miss>,
}

/// What stands in the way of a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Miss {
    /// The field, seen from the rule: `from[1]`, `ports`.
    pub field: String,
    /// In words.
    pub words: String,
}

/// What every policy that isolates the subject says.
pub(super) fn policies(case: &Case<'_>, egress: bool) -> Vec<PolicyReport> {
    isolating(case, egress).map(|policy| report(case, policy, egress)).collect()
}

/// The policies that isolate the subject in this direction.
pub(super) fn isolating<'a>(case: &'a Case<'_>, egress: bool) -> impl Iterator<Item = &'a NetworkPolicy> {
    let subject = if egress { case.from } else { case.to }.pod(&case.survey.cluster);
    let policies = case.survey.cluster.policies().values().map(AsRef::as_ref);
    policies.filter(move |policy| {
        subject.is_some_and(|pod| {
            policy.key.namespace == pod.key.namespace
                && policy.rules(egress).is_some()
                && policy.pod_selector.matches(&pod.labels)
        })
    })
}

fn report(case: &Case<'_>, policy: &NetworkPolicy, egress: bool) -> PolicyReport {
    let section = if egress { "egress" } else { "ingress" };
    let rules = policy.rules(egress).unwrap_or_default().iter().enumerate();
    let rules = rules.map(|(at, rule)| RuleReport {
        rule: format!("{section}[{at}]"),
        spot: case.survey.policy_spot(&policy.key, &format!("spec.{section}[{at}]")),
        misses: misses(case, policy, rule, egress),
    });
    PolicyReport {
        policy: policy.key.to_string(),
        spot: case.survey.policy_spot(&policy.key, "metadata.name"),
        rules: rules.collect(),
    }
}

/// Everything that keeps a rule from allowing the connection; nothing if it allows it.
fn misses(case: &Case<'_>, policy: &NetworkPolicy, rule: &Rule, egress: bool) -> Vec<Miss> {
    let mut misses = Vec::new();
    if let Peers::AnyOf(items) = &rule.peers {
        let other = if egress { case.to } else { case.from };
        // One that matches is enough, whatever the others say.
        let told: Option<Vec<String>> =
            items.iter().map(|item| peer_miss(case, policy, item, other)).collect();
        let way = if egress { "to" } else { "from" };
        let fields = told.into_iter().flatten().enumerate();
        misses.extend(fields.map(|(at, words)| Miss { field: format!("{way}[{at}]"), words }));
    }
    if let Ports::AnyOf(items) = &rule.ports
        && let Some(words) = port_miss(case, items)
    {
        misses.push(Miss { field: "ports".to_owned(), words });
    }
    misses
}

fn peer_miss(case: &Case<'_>, policy: &NetworkPolicy, peer: &Peer, other: &End) -> Option<String> {
    match peer {
        Peer::Block(block) if block.contains(other.address) => None,
        Peer::Block(block) => {
            let address = other.address;
            let cidr = block.cidr();
            Some(match block.except().iter().find(|except| except.contains(&address)) {
                Some(except) => format!("{address} is in {except}, which is taken out of {cidr}"),
                None if cidr.addr().is_ipv4() != address.is_ipv4() => {
                    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                    format!("{address} is {family}, which {cidr} does not cover")
                }
                None => format!("{address} is not in {cidr}"),
            })
        }
        Peer::Pods(wanted) => pod_miss(case, policy, wanted, other),
    }
}

fn pod_miss(case: &Case<'_>, policy: &NetworkPolicy, wanted: &PodPeer, other: &End) -> Option<String> {
    let cluster = &case.survey.cluster;
    let Some(pod) = other.pod(cluster) else {
        let what = match &other.name {
            Some(name) => format!("{name} is a node"),
            None => format!("{} is no pod", other.address),
        };
        return Some(format!("{what}, and selectors match pods only"));
    };
    let theirs = &pod.key.namespace;
    match &wanted.namespaces {
        NamespaceScope::Own if *theirs != policy.key.namespace => {
            return Some(format!(
                "pod {} is in namespace {theirs}; without a namespaceSelector only pods of {} are meant",
                pod.key, policy.key.namespace
            ));
        }
        NamespaceScope::Own => {}
        NamespaceScope::Matching(selector) => {
            let labels = cluster.namespaces().get(theirs)?.labels();
            let told = words::mismatch(&format!("namespace {theirs}"), selector, labels);
            if told.is_some() {
                return told;
            }
        }
    }
    words::mismatch(&format!("pod {}", pod.key), &wanted.pods, &pod.labels)
}

fn port_miss(case: &Case<'_>, items: &[PortSpec]) -> Option<String> {
    let Some(protocol) = policy_protocol(case.protocol) else {
        return Some(format!(
            "{} has no ports, and only a rule without ports allows it",
            words::protocol(case.protocol)
        ));
    };
    let mut told = Vec::new();
    for spec in items {
        let has = spec.protocol == protocol
            && match &spec.port {
                PortMatch::Every => true,
                PortMatch::Range { first, last } => (*first..=*last).contains(&case.port),
                PortMatch::Named(name) => numbers(case, name, spec.protocol).contains(&case.port),
            };
        if has {
            return None;
        }
        told.push(format!("{}{}", words::port(spec), named(case, spec)));
    }
    Some(format!("port {}/{protocol} is not in {}", case.port, told.join(", ")))
}

/// What a named port stands for at the destination: ` (port 8080 of shop/api)`.
pub(super) fn named(case: &Case<'_>, spec: &PortSpec) -> String {
    let PortMatch::Named(name) = &spec.port else { return String::new() };
    let to = case.to.title();
    match &numbers(case, name, spec.protocol)[..] {
        [] => format!(" (no such port on {to})"),
        [port] => format!(" (port {port} of {to})"),
        ports => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!(" (ports {} of {to})", ports.join(", "))
        }
    }
}

fn numbers(case: &Case<'_>, name: &str, protocol: Protocol) -> Vec<u16> {
    let query = PortQuery::Name(Some(protocol), name.to_owned());
    let ports = query.at(case.to.pod(&case.survey.cluster), case.to.address.is_ipv4());
    ports.into_iter().map(|(_, port)| port).collect()
}
