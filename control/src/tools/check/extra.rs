//! Policies that add nothing: without them, everything would be the same.

use std::net::IpAddr;

use super::super::party::{self, two_of_each};
use super::super::{Judge, Reacher, outside};
use super::context::sites;
use super::{Code, Context, Finding, Level};
use crate::compile::CompileError;
use crate::model::{Cluster, NetworkPolicy, ObjectKey, Peer, Pod, Selector};

/// Tables are compiled for each policy in question; beyond so many pods in all, it takes too long.
const MAX_PODS: usize = 1_000_000;

/// Findings that say why a policy may add nothing.
const TOLD: [Code; 5] = [
    Code::PEER_NO_POD,
    Code::PEER_NO_NAMESPACE,
    Code::NAMED_PORT_UNKNOWN,
    Code::SECTION_IGNORED,
    Code::EMPTY_SECTION,
];

/// PG017. Says what it left out.
pub(super) fn check(
    context: &Context<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Option<String>, CompileError> {
    let mut rest = context.cluster().clone();
    // The last one first: of two that are alike, the later one is the one too many.
    // Those that do nothing for a reason that has been told already.
    let is_told = |policy: &NetworkPolicy| {
        let title = format!("NetworkPolicy {}", policy.key);
        findings.iter().any(|finding| TOLD.contains(&finding.code) && finding.object.as_ref() == Some(&title))
            || is_about_elsewhere(context, policy)
    };
    let candidates = context.policies().filter(|policy| !is_told(policy) && is_candidate(context, policy));
    let candidates: Vec<&NetworkPolicy> = candidates.collect();
    let mut budget = MAX_PODS;
    for (at, policy) in candidates.iter().enumerate().rev() {
        let Some(left) = budget.checked_sub(rest.pods().len()) else {
            return Ok(Some(format!("{} policies may add nothing; there are too many pods to tell", at + 1)));
        };
        budget = left;
        if adds_nothing(&rest, policy)? {
            rest.remove_policy(&policy.key);
            let message = format!(
                "{} adds nothing: other policies isolate the same pods and allow the same",
                policy.key
            );
            let help = "remove it, or see whether its selector or rules are what was meant";
            let kind = (Code::ADDS_NOTHING, Level::Info);
            findings.push(context.about(policy, "metadata.name", kind, message, help));
        }
    }
    Ok(None)
}

/// Whether some peer of it is in a namespace that is not among the files.
fn is_about_elsewhere(context: &Context<'_>, policy: &NetworkPolicy) -> bool {
    sites(policy).flat_map(|site| site.peers()).any(|peer| match peer {
        Peer::Pods(peer) => context.namespaces(&peer.namespaces, &policy.key.namespace).is_empty(),
        Peer::Block(_) => false,
    })
}

/// Whether others isolate all its pods in the same directions; if not, it isolates some. What
/// selects every pod is for pods to come as well, and only another such policy can replace it; a
/// default deny is what everything else rests on.
fn is_candidate(context: &Context<'_>, policy: &NetworkPolicy) -> bool {
    let is_wide = policy.pod_selector == Selector::everything();
    let others = || context.policies().filter(|other| other.key != policy.key);
    let mut directions = [false, true].into_iter().filter(|egress| policy.rules(*egress).is_some());
    let pods = context.selected(policy);
    let is_default_deny = is_wide && sites(policy).next().is_none();
    !pods.is_empty()
        && !is_default_deny
        && directions.all(|egress| {
            let replacing = others().filter(|other| {
                other.key.namespace == policy.key.namespace
                    && other.rules(egress).is_some()
                    && (!is_wide || other.pod_selector == Selector::everything())
            });
            let replacing: Vec<&NetworkPolicy> = replacing.collect();
            pods.iter().all(|pod| replacing.iter().any(|other| other.pod_selector.matches(&pod.labels)))
        })
}

/// Whether all verdicts of the pods that a policy selects are the same without it. Each direction
/// is compared alone: what the other one denies would hide a difference.
pub fn adds_nothing(cluster: &Cluster, policy: &NetworkPolicy) -> Result<bool, CompileError> {
    let pods = cluster.pods().values().filter(|pod| pod.key.namespace == policy.key.namespace);
    let selected = pods.filter(|pod| pod.is_endpoint() && policy.pod_selector.matches(&pod.labels));
    let pods: Vec<&Pod> = selected.map(AsRef::as_ref).collect();
    for egress in [false, true] {
        if policy.rules(egress).is_none() {
            continue;
        }
        let with = one_direction(cluster, &policy.key, egress);
        let mut without = with.clone();
        without.remove_policy(&policy.key);
        let (with, without) = (Judge::new(&with)?, Judge::new(&without)?);
        if !same(&with, &without, &pods, egress) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn one_direction(cluster: &Cluster, key: &ObjectKey, egress: bool) -> Cluster {
    let mut alone = cluster.clone();
    for policy in cluster.policies().values() {
        if policy.key.namespace == key.namespace {
            let mut policy = NetworkPolicy::clone(policy);
            policy.types.ingress &= !egress;
            policy.types.egress &= egress;
            alone.put_policy(policy);
        } else {
            alone.remove_policy(&policy.key);
        }
    }
    alone
}

/// Whether both tables say the same of every connection of `pods` in one direction.
fn same(with: &Judge, without: &Judge, pods: &[&Pod], egress: bool) -> bool {
    let kind = |addresses: &Vec<IpAddr>| (party::kind(with, addresses), party::kind(without, addresses));
    let subjects = two_of_each(pods.iter().map(|pod| pod.addresses.clone()), kind).concat();
    let others = two_of_each(everyone(with, without), kind).concat();
    let (before, after) = (Reacher::new(with), Reacher::new(without));
    subjects.iter().all(|subject| {
        let mut of_family = others.iter().filter(|other| other.is_ipv4() == subject.is_ipv4());
        of_family.all(|other| {
            let (from, to) = if egress { (*subject, *other) } else { (*other, *subject) };
            before.reach(from, to) == after.reach(from, to)
        })
    })
}

/// The addresses of every pod and node, and one of each span outside.
fn everyone(with: &Judge, without: &Judge) -> impl Iterator<Item = Vec<IpAddr>> {
    let cluster = with.cluster();
    let pods = cluster.pods().values().map(|pod| pod.addresses.clone());
    let nodes = cluster.nodes().values().map(|node| node.addresses.clone());
    let zones = outside::zones(&[cluster], &[with, without]);
    pods.chain(nodes).chain(zones.into_iter().map(|zone| vec![zone.sample]))
}
