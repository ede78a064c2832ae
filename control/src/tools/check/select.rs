//! Selectors that match nothing, or what policy cannot hold.

use super::super::words;
use super::context::{Site, alternatives};
use super::{Code, Context, Finding, Level};
use crate::model::{NamespaceScope, NetworkPolicy, Peer, Pod, PodPeer, Selector};
use crate::source::is_similar;

/// PG005: peers in namespaces that there are not.
pub(super) fn check_namespaces(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for (site, at, peer) in pod_peers(context) {
        let NamespaceScope::Matching(selector) = &peer.namespaces else { continue };
        let own = &site.policy.key.namespace;
        if !context.namespaces(&peer.namespaces, own).is_empty() {
            continue;
        }
        let level = match words::name_of(selector) {
            // Every cluster has these, and hardly any directory.
            Some("default" | "kube-node-lease" | "kube-public" | "kube-system") => continue,
            Some(name) if !is_misspelt(context, name) => Level::Info,
            _ => Level::Warning,
        };
        let field = format!("{}.namespaceSelector", site.peer_field(at));
        let message = format!("no namespace matches: there is none with {}", words::selector(selector));
        let labels = context.cluster().namespaces().values().map(|namespace| namespace.labels());
        let mut help =
            alternatives(selector, labels).unwrap_or_else(|| "no namespace has all of them".to_owned());
        let implied: Vec<&str> = context.cluster().implied_namespaces().collect();
        if !implied.is_empty() {
            help.push_str(&format!("; there is no manifest of {}", words::some(&implied, "namespace")));
        }
        if level == Level::Info {
            let told = "if it is kept elsewhere, all is well; give it too, with its pods, to have it checked";
            told.clone_into(&mut help);
        }
        let kind = (Code::PEER_NO_NAMESPACE, level);
        findings.push(context.about(site.policy, &field, kind, message, help));
    }
}

/// Whether a namespace among the files has nearly that name.
fn is_misspelt(context: &Context<'_>, name: &str) -> bool {
    context.cluster().namespaces().keys().any(|known| is_similar(known, name))
}

/// PG003, PG004, PG007.
pub(super) fn check_pods(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for policy in context.policies() {
        let matched = context.matched(policy);
        if matched.is_empty() && policy.pod_selector != Selector::everything() {
            findings.push(selects_no_pod(context, policy));
        }
        let on_host: Vec<&Pod> = matched.into_iter().filter(|pod| pod.host_network).collect();
        if !on_host.is_empty() {
            findings.push(host_network(context, policy, &on_host));
        }
    }
    for (site, at, peer) in pod_peers(context) {
        let own = &site.policy.key.namespace;
        let namespaces = context.namespaces(&peer.namespaces, own);
        if namespaces.is_empty() || !context.peer_pods(peer, own).is_empty() {
            continue;
        }
        let item = site.peer_field(at);
        let pods = format!("{item}.podSelector");
        let field = if context.is_written(site.policy, &pods) { pods } else { item };
        let message = format!(
            "no pod matches: there are no {}",
            words::pod_peer(peer, own).replace("every pod", "pods")
        );
        let labels =
            namespaces.iter().flat_map(|namespace| context.pods_of(namespace.name())).map(|pod| &pod.labels);
        let mut help =
            alternatives(&peer.pods, labels).unwrap_or_else(|| "no pod there has all of them".to_owned());
        if peer.namespaces == NamespaceScope::Own && elsewhere(context, &peer.pods) {
            help = format!(
                "without a namespaceSelector only pods of {own} are meant, and such pods are in others"
            );
        }
        let kind = (Code::PEER_NO_POD, Level::Warning);
        findings.push(context.about(site.policy, &field, kind, message, help));
    }
}

fn pod_peers<'a>(context: &Context<'a>) -> impl Iterator<Item = (Site<'a>, usize, &'a PodPeer)> {
    context.sites().flat_map(|site| {
        let peers = site.peers().iter().enumerate();
        peers.filter_map(move |(at, peer)| match peer {
            Peer::Pods(peer) => Some((site, at, peer)),
            Peer::Block(_) => None,
        })
    })
}

fn selects_no_pod(context: &Context<'_>, policy: &NetworkPolicy) -> Finding {
    let (key, namespace) = (&policy.key, &policy.key.namespace);
    let pods = context.pods_of(namespace);
    let help = if pods.is_empty() {
        format!("there are no pods in namespace {namespace} at all")
    } else {
        let labels = pods.iter().map(|pod| &pod.labels);
        alternatives(&policy.pod_selector, labels)
            .unwrap_or_else(|| "no pod there has all of them".to_owned())
    };
    let words = words::selector(&policy.pod_selector);
    let message = format!("{key} selects no pod: none in namespace {namespace} has {words}");
    context.about(policy, "spec.podSelector", (Code::SELECTS_NO_POD, Level::Warning), message, help)
}

fn host_network(context: &Context<'_>, policy: &NetworkPolicy, pods: &[&Pod]) -> Finding {
    let keys: Vec<_> = pods.iter().map(|pod| &pod.key).collect();
    let (names, are) = (words::some(&keys, "pod"), if pods.len() == 1 { "is" } else { "are" });
    let message = format!(
        "{} selects {names}, which {are} on the node's network: it is not enforced there",
        policy.key
    );
    let help =
        "policy sees such pods as their node; guard them by other means, or select by a label they lack";
    context.about(policy, "spec.podSelector", (Code::HOST_NETWORK, Level::Warning), message, help)
}

/// Whether any namespace has a pod like that.
fn elsewhere(context: &Context<'_>, selector: &Selector) -> bool {
    let pods = context.cluster().pods().values();
    pods.filter(|pod| pod.is_endpoint()).any(|pod| selector.matches(&pod.labels))
}
