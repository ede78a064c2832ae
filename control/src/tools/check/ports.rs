//! Ports that nobody has.

use super::super::explain::{declared, in_front};
use super::super::words;
use super::context::Site;
use super::{Code, Context, Finding, Level};
use crate::model::{Peer, Peers, Pod, PortMatch, PortSpec};

/// PG010, PG011, PG012.
pub(super) fn check(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for site in context.sites() {
        let Some(pods) = destinations(context, site).filter(|pods| !pods.is_empty()) else { continue };
        for (at, spec) in site.ports().iter().enumerate() {
            let finding = match &spec.port {
                PortMatch::Every => None,
                PortMatch::Range { first, last } => numbered(context, site, at, spec, (*first, *last), &pods),
                PortMatch::Named(name) => named(context, site, at, spec, name, &pods),
            };
            findings.extend(finding);
        }
    }
}

/// The pods whose ports a rule is about; `None` if it is about others too.
fn destinations<'a>(context: &Context<'a>, site: Site<'_>) -> Option<Vec<&'a Pod>> {
    if !site.egress {
        return Some(context.selected(site.policy));
    }
    let Peers::AnyOf(peers) = &site.rule.peers else { return None };
    let mut pods = Vec::new();
    for peer in peers {
        let Peer::Pods(peer) = peer else { return None };
        pods.extend(context.peer_pods(peer, &site.policy.key.namespace));
    }
    Some(pods)
}

fn numbered(
    context: &Context<'_>,
    site: Site<'_>,
    at: usize,
    spec: &PortSpec,
    (first, last): (u16, u16),
    pods: &[&Pod],
) -> Option<Finding> {
    // A declaration is for information only: who declares nothing may listen anywhere.
    let is_silent = pods.iter().any(|pod| pod.ports.is_empty());
    let service =
        pods.iter().find_map(|pod| in_front(context.cluster(), &pod.key, spec.protocol, first..=last));
    if is_silent && (service.is_none() || first != last) {
        return None;
    }
    let mut ports = pods.iter().flat_map(|pod| &pod.ports);
    if ports.any(|port| port.protocol == spec.protocol && (first..=last).contains(&port.port)) {
        return None;
    }
    let which = if site.egress { "the pods it is about" } else { "the pods it selects" };
    let message = format!("{} allows {}, which none of {which} declares", site.policy.key, words::port(spec));
    let example = pods[0];
    let declares = match &service {
        Some(leads) => leads.to_string(),
        None => format!("{} declares {}", example.key, declared(example)),
    };
    let help = format!("{declares}; write the port of the pod (targetPort), not that of a Service");
    let kind = (Code::PORT_NOT_DECLARED, Level::Warning);
    Some(context.about(site.policy, &site.port_field(at), kind, message, help))
}

fn named(
    context: &Context<'_>,
    site: Site<'_>,
    at: usize,
    spec: &PortSpec,
    name: &str,
    pods: &[&Pod],
) -> Option<Finding> {
    let has = |pod: &&&Pod| {
        let mut ports = pod.ports.iter();
        ports.any(|port| port.name.as_deref() == Some(name) && port.protocol == spec.protocol)
    };
    let without: Vec<&Pod> = pods.iter().filter(|pod| !has(pod)).copied().collect();
    let first = without.first()?;
    let (key, port) = (&site.policy.key, words::port(spec));
    let keys: Vec<_> = without.iter().map(|pod| &pod.key).collect();
    let declares = format!("{} declares {}", first.key, declared(first));
    if without.len() == pods.len() {
        let which = if site.egress { "it is about" } else { "it selects" };
        let message = format!("{key} allows port {port}, and no pod that {which} has a port of that name");
        let help = format!("{declares}; name and protocol must both agree");
        let kind = (Code::NAMED_PORT_UNKNOWN, Level::Error);
        return Some(context.about(site.policy, &site.port_field(at), kind, message, help));
    }
    if site.egress {
        // One name for the ports of many is meant for those that have it.
        return None;
    }
    let lack = if without.len() == 1 { "has" } else { "have" };
    let message =
        format!("{key} allows port {port}, but {} {lack} no port of that name", words::some(&keys, "pod"));
    let help = format!("{declares}; there the rule allows nothing");
    let kind = (Code::NAMED_PORT_MISSING, Level::Warning);
    Some(context.about(site.policy, &site.port_field(at), kind, message, help))
}
