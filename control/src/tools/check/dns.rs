//! DNS that was forgotten.

use std::collections::BTreeMap;

use podgate_flowtable::IpProtocol;

use super::super::{Ask, words};
use super::context::{Site, sites};
use super::{Code, Context, Finding, Level};
use crate::model::{
    NetworkPolicy, ObjectKey, Peer, Peers, Pod, PortMatch, PortSpec, Ports, Protocol, Selector,
};

const DNS: u16 = 53;

/// PG001, PG002.
pub(super) fn check(context: &Context<'_>, findings: &mut Vec<Finding>) {
    cut_off(context, findings);
    for site in context.sites() {
        for (at, spec) in site.ports().iter().enumerate() {
            if is_dns_over_udp(spec) && !has_tcp(context, site) {
                let message = format!(
                    "{} allows DNS over UDP and not over TCP: long answers will fail",
                    site.policy.key
                );
                let help = "add `protocol: TCP, port: 53` beside it: truncated answers are asked for again over TCP \
                            (RFC 7766)";
                let kind = (Code::DNS_WITHOUT_TCP, Level::Warning);
                findings.push(context.about(site.policy, &site.port_field(at), kind, message, help));
            }
        }
    }
}

/// Port 53 and hardly more: wide ranges are about something else.
fn is_dns_over_udp(spec: &PortSpec) -> bool {
    const WIDE: u16 = 100;
    match spec.port {
        PortMatch::Range { first, last } => {
            spec.protocol == Protocol::Udp && (first..=last).contains(&DNS) && last - first < WIDE
        }
        PortMatch::Every | PortMatch::Named(_) => false,
    }
}

/// Whether this rule, or another one for the same pods and peers, allows DNS over TCP.
fn has_tcp(context: &Context<'_>, site: Site<'_>) -> bool {
    let policies = covering(context, site.policy);
    let rules = policies.flat_map(sites).filter(|other| other.egress == site.egress);
    rules
        .filter(|other| other.rule.peers == Peers::Any || other.rule.peers == site.rule.peers)
        .any(|other| allows(&other.rule.ports, Protocol::Tcp, context))
}

/// Policies that select every pod that `policy` selects, as far as their selectors tell.
fn covering<'a>(context: &Context<'a>, policy: &NetworkPolicy) -> impl Iterator<Item = &'a NetworkPolicy> {
    context.policies().filter(move |other| {
        other.key.namespace == policy.key.namespace
            && (other.pod_selector == Selector::everything() || other.pod_selector == policy.pod_selector)
    })
}

/// Whether a rule's ports include DNS; a named one does if some pod calls port 53 so.
fn allows(ports: &Ports, protocol: Protocol, context: &Context<'_>) -> bool {
    let Ports::AnyOf(specs) = ports else { return true };
    specs.iter().filter(|spec| spec.protocol == protocol).any(|spec| match &spec.port {
        PortMatch::Every => true,
        PortMatch::Range { first, last } => (*first..=*last).contains(&DNS),
        PortMatch::Named(name) => {
            let mut ports = context.cluster().pods().values().flat_map(|pod| &pod.ports);
            name.contains("dns") || ports.any(|port| port.name.as_ref() == Some(name) && port.port == DNS)
        }
    })
}

/// Finds policies whose pods cannot ask DNS.
fn cut_off(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let servers = servers(context);
    let mut victims: BTreeMap<&ObjectKey, Vec<&ObjectKey>> = BTreeMap::new();
    for pod in context.cluster().pods().values().filter(|pod| pod.is_endpoint()) {
        let isolating: Vec<&NetworkPolicy> = context
            .policies()
            .filter(|policy| policy.key.namespace == pod.key.namespace && policy.rules(true).is_some())
            .filter(|policy| policy.pod_selector.matches(&pod.labels))
            .collect();
        // The one that selects the most is the one that denies; the others mostly allow.
        let broadest = isolating.iter().max_by_key(|policy| context.selected(policy).len());
        if let Some(broadest) = broadest
            && !may_ask(context, pod, &isolating, &servers)
        {
            victims.entry(&broadest.key).or_default().push(&pod.key);
        }
    }
    for policy in context.policies().filter(|policy| policy.rules(true).is_some()) {
        if let Some(pods) = victims.get(&policy.key) {
            findings.push(without_dns(context, policy, &words::some(pods, "pod"), &servers));
        } else if context.matched(policy).is_empty() {
            // Nobody is known to suffer yet; whoever comes will.
            let all: Vec<&NetworkPolicy> = covering(context, policy).collect();
            if !all.iter().flat_map(|policy| sites(policy)).any(|site| reaches_dns(context, site)) {
                findings.push(without_dns(context, policy, &words::pods(&policy.pod_selector), &servers));
            }
        }
    }
}

fn without_dns(context: &Context<'_>, policy: &NetworkPolicy, whose: &str, servers: &[&Pod]) -> Finding {
    let field =
        if context.is_written(policy, "spec.policyTypes") { "spec.policyTypes" } else { "spec.egress" };
    let message = format!("{} isolates egress of {whose}, and no rule allows DNS", policy.key);
    let to = match servers {
        [] => "the cluster's DNS pods".to_owned(),
        [first, ..] => words::some(&[&first.key], "pod"),
    };
    let help = format!("allow egress to {to} on port 53, UDP and TCP, for every pod that looks up names");
    context.about(policy, field, (Code::EGRESS_WITHOUT_DNS, Level::Warning), message, help)
}

/// Whether the table lets a pod ask one of the servers, or a rule lets it ask one that is not
/// known: outside, or anywhere if none is known.
fn may_ask(context: &Context<'_>, pod: &Pod, isolating: &[&NetworkPolicy], servers: &[&Pod]) -> bool {
    let asks = servers.iter().any(|server| {
        let pairs = pod.addresses.iter().flat_map(|from| server.addresses.iter().map(move |to| (*from, *to)));
        pairs.filter(|(from, to)| from.is_ipv4() == to.is_ipv4()).any(|(from, to)| {
            ports_of(server)
                .into_iter()
                .any(|port| context.judge.allows(Ask { from, to, protocol: IpProtocol::UDP, port }))
        })
    });
    let to_unknown = |site: Site<'_>| {
        let blocks = site.peers().iter().any(|peer| matches!(peer, Peer::Block(_)));
        (servers.is_empty() || blocks) && reaches_dns(context, site)
    };
    asks || isolating.iter().flat_map(|policy| sites(policy)).any(to_unknown)
}

fn reaches_dns(context: &Context<'_>, site: Site<'_>) -> bool {
    site.egress && allows(&site.rule.ports, Protocol::Udp, context)
}

/// Pods that answer DNS: by the label that cluster add-ons give them, or by a port of that number.
fn servers<'a>(context: &Context<'a>) -> Vec<&'a Pod> {
    let pods = context.cluster().pods().values().map(AsRef::as_ref).filter(|pod: &&Pod| pod.is_endpoint());
    let is_server = |pod: &&Pod| {
        let labelled = pod.labels.get("k8s-app").is_some_and(|app| app == "kube-dns");
        labelled || pod.ports.iter().any(|port| port.protocol == Protocol::Udp && port.port == DNS)
    };
    pods.filter(is_server).collect()
}

/// The UDP ports on which a server is asked.
fn ports_of(server: &Pod) -> Vec<u16> {
    let udp = server.ports.iter().filter(|port| port.protocol == Protocol::Udp).map(|port| port.port);
    let ports: Vec<u16> = udp.collect();
    if ports.is_empty() { vec![DNS] } else { ports }
}
